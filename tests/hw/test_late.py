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
