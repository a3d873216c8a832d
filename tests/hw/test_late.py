"""What a late reply could be taken for, rule by rule."""

from hw.late import LateReplies
from hw.wire import READ_HOLDING, READ_INPUT, WRITE_MANY, WRITE_ONE, Exchange

LATE_ns = 1_000
A = Exchange(1, READ_INPUT, 0, 3)
B = Exchange(1, READ_INPUT, 10, 3)
OTHER_COUNT = Exchange(1, READ_INPUT, 10, 4)
OTHER_FUNCTION = Exchange(1, READ_HOLDING, 10, 3)
SET_1 = Exchange(1, WRITE_MANY, 5, 2, b"\x00\x01\x00\x00")
SET_2 = Exchange(1, WRITE_MANY, 5, 2, b"\x00\x02\x00\x00")
SET_ONE_1 = Exchange(1, WRITE_ONE, 5, 1, b"\x00\x01")
SET_ONE_2 = Exchange(1, WRITE_ONE, 5, 1, b"\x00\x02")
LONGER = Exchange(1, READ_INPUT, 0, 5)
PAIR = Exchange(1, READ_INPUT, 0, 3, alternate=LONGER)


def test_late_nothing_open_is_never_ambiguous() -> None:
    late = LateReplies(LATE_ns)
    for exchange in (A, B, SET_1, SET_2, SET_ONE_1):
        assert not late.is_ambiguous(exchange, 0)
        late.answered(exchange, 0)
        assert not late.is_ambiguous(exchange, 0)


def test_late_read_of_another_register_is_ambiguous_for_exactly_late_ns() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(A, 50)
    assert late.is_ambiguous(B, 50)
    assert late.is_ambiguous(B, 1_049)
    assert not late.is_ambiguous(B, 1_050)


def test_late_read_of_another_count_or_function_is_told_apart_by_its_reply() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(A, 0)
    assert not late.is_ambiguous(OTHER_COUNT, 1)
    assert not late.is_ambiguous(OTHER_FUNCTION, 1)
    assert not late.is_ambiguous(SET_1, 1)


def test_late_only_register_of_its_shape_may_be_read_again_at_once() -> None:
    late = LateReplies(LATE_ns)
    assert not late.is_ambiguous(A, 0)
    late.unanswered(A, 0)
    assert not late.is_ambiguous(A, 1)


def test_late_register_that_shares_its_shape_rests_too() -> None:
    late = LateReplies(LATE_ns)
    assert not late.is_ambiguous(A, 0)
    assert not late.is_ambiguous(B, 0)
    late.unanswered(A, 0)
    assert late.is_ambiguous(A, 999)
    assert not late.is_ambiguous(A, 1_000)


def test_late_reply_taken_for_the_same_register_leaves_its_own_open() -> None:
    late = LateReplies(LATE_ns)
    late.is_ambiguous(A, 0)
    late.unanswered(A, 0)
    late.answered(A, 500)
    assert late.is_ambiguous(B, 1_499)
    assert not late.is_ambiguous(B, 1_500)


def test_late_good_reply_of_another_shape_ends_nothing() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(A, 0)
    late.answered(SET_ONE_1, 10)
    assert late.is_ambiguous(B, 11)


def test_late_write_of_other_values_with_function_16_is_ambiguous() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(SET_1, 0)
    assert late.is_ambiguous(SET_2, 999)
    assert not late.is_ambiguous(SET_1, 999)
    assert not late.is_ambiguous(SET_2, 1_000)


def test_late_write_repeated_while_ambiguous_is_trusted_when_the_first_is_over() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(SET_1, 0)
    late.unanswered(SET_2, 600)
    assert late.is_ambiguous(SET_2, 999)
    assert not late.is_ambiguous(SET_2, 1_000)
    assert late.is_ambiguous(SET_1, 1_599)


def test_late_write_with_function_6_names_its_value_in_the_reply() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(SET_ONE_1, 0)
    assert not late.is_ambiguous(SET_ONE_2, 1)


def test_late_memory_does_not_grow_with_failures() -> None:
    late = LateReplies(LATE_ns)
    for at_ns in range(0, 100_000, 100):
        values = (at_ns % 7).to_bytes(4, "big")
        late.unanswered(Exchange(1, WRITE_MANY, 5, 2, values), at_ns)
    assert len(late._open) == 1
    assert len(next(iter(late._open.values()))) <= 7


def test_late_read_in_two_forms_is_sent_in_the_usual_one_while_nothing_is_open() -> None:
    late = LateReplies(LATE_ns)
    for now_ns in (0, 10, 20):
        assert late.told_apart(PAIR, now_ns) is PAIR
        late.answered(PAIR, now_ns)


def test_late_read_in_two_forms_takes_the_other_for_three_periods_after_a_loss() -> None:
    late = LateReplies(LATE_ns)  # two periods
    late.told_apart(PAIR, 0)
    late.unanswered(PAIR, 50)
    for now_ns in (50, 1_549):
        assert late.told_apart(PAIR, now_ns) is LONGER
        late.answered(LONGER, now_ns)
    assert late.told_apart(PAIR, 1_550) is PAIR


def test_late_read_with_something_open_of_both_forms_is_not_sent() -> None:
    late = LateReplies(LATE_ns)
    late.told_apart(PAIR, 0)
    late.unanswered(PAIR, 0)
    assert late.told_apart(PAIR, 500) is LONGER
    late.unanswered(LONGER, 500)
    assert late.told_apart(PAIR, 500) is None
    assert late.told_apart(PAIR, 1_499) is None
    assert late.told_apart(PAIR, 1_500) is PAIR
    late.unanswered(PAIR, 1_500)
    assert late.told_apart(PAIR, 1_999) is None
    assert late.told_apart(PAIR, 2_000) is LONGER


def test_late_refusal_while_the_other_form_is_open_leaves_its_own_answer_open() -> None:
    """It may be the answer to the first: it names no length."""
    late = LateReplies(LATE_ns)
    late.told_apart(PAIR, 0)
    late.unanswered(PAIR, 0)
    late.told_apart(PAIR, 500)
    late.refused(LONGER, 500)
    assert late.told_apart(PAIR, 1_499) is None
    assert late.told_apart(PAIR, 1_500) is PAIR


def test_late_refusal_with_nothing_open_leaves_nothing_open() -> None:
    late = LateReplies(LATE_ns)
    for now_ns in (0, 1, 2):
        assert late.told_apart(PAIR, now_ns) is PAIR
        late.refused(PAIR, now_ns)


def test_late_refusal_of_a_read_in_one_form_keeps_no_other_register_waiting() -> None:
    late = LateReplies(LATE_ns)
    late.told_apart(A, 0)
    late.unanswered(A, 0)
    late.refused(A, 900)
    assert late.told_apart(B, 999) is None
    assert late.told_apart(B, 1_000) is B


def test_late_refusal_of_another_read_of_the_device_leaves_nothing_open() -> None:
    late = LateReplies(LATE_ns)
    late.told_apart(PAIR, 0)
    late.unanswered(PAIR, 0)
    late.refused(OTHER_COUNT, 1)
    assert late.told_apart(Exchange(1, READ_INPUT, 20, 4), 2) is not None


def test_late_read_of_another_register_in_either_form_rests_the_pair_and_is_rested_by_it() -> None:
    for form, other in ((PAIR, B), (LONGER, Exchange(1, READ_INPUT, 10, 5))):
        late = LateReplies(LATE_ns)
        assert late.told_apart(other, 0) is other
        late.told_apart(PAIR, 0)
        late.unanswered(other, 0)
        assert late.told_apart(PAIR, 1) is (LONGER if form is PAIR else PAIR)
        late = LateReplies(LATE_ns)
        late.told_apart(PAIR, 0)
        late.unanswered(PAIR, 0)
        late.told_apart(PAIR, 0)
        late.unanswered(LONGER, 0)
        assert late.told_apart(other, 1_499) is None
        assert late.told_apart(other, 1_500) is other


def test_late_write_is_sent_whatever_is_open() -> None:
    late = LateReplies(LATE_ns)
    late.unanswered(SET_1, 0)
    assert late.told_apart(SET_2, 1) is SET_2
