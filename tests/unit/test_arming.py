"""The arming walk of one charger, exchange by exchange."""

import pytest

from hw.devices import ArmingStep
from hw.wire import Code, Exchange
from loadctl.arming import Arming, AUDIT_ns, RETRY_ns, Stage

READ_1, WRITE_1 = Exchange(11, 3, 102, 1), Exchange(11, 6, 102, 1, b"\x00\x3c")
READ_2, WRITE_2 = Exchange(11, 3, 101, 1), Exchange(11, 6, 101, 1, b"\x00\x1e")
SETPOINT = Exchange(11, 3, 100, 1)
STEPS = [
    ArmingStep("fallback_A", READ_1, b"\x00\x3c", WRITE_1),
    ArmingStep("watchdog_s", READ_2, b"\x00\x1e", WRITE_2),
]
CHECK_ONLY = [ArmingStep("mode", READ_1, b"\x00\x01", None)]
WRONG = b"\xff\xff"
GOOD_FAILED = (Code.NO_ANSWER, Code.BAD_FRAME)


def walked(arming: Arming, *answers: tuple[Code, bytes]) -> list[Exchange | None]:
    """What was sent before each answer, and what would be sent next."""
    sent = []
    for code, payload in answers:
        sent.append(arming.exchange(0))
        arming.done(code, payload, 0)
    return [*sent, arming.exchange(0)]


def good(payload: bytes = b"") -> tuple[Code, bytes]:
    return Code.GOOD, payload


def test_arming_registers_that_are_right_are_not_written() -> None:
    arming = Arming(STEPS, SETPOINT)
    answers = [good(b"\x00\x3c"), good(b"\x00\x1e"), good(b"\x00\x50")]
    assert walked(arming, *answers) == [READ_1, READ_2, SETPOINT, None]
    assert arming.is_armed is True
    assert arming.setpoint_payload == b"\x00\x50"


def test_arming_register_that_differs_is_written_once_and_read_back() -> None:
    arming = Arming(STEPS, SETPOINT)
    answers = [good(WRONG), good(), good(b"\x00\x3c"), good(b"\x00\x1e")]
    assert walked(arming, *answers) == [READ_1, WRITE_1, READ_1, READ_2, SETPOINT]
    assert arming.is_armed is False


def test_arming_register_that_does_not_take_its_value_fails_without_a_second_write() -> None:
    arming = Arming(STEPS, SETPOINT)
    assert walked(arming, good(WRONG), good(), good(WRONG)) == [READ_1, WRITE_1, READ_1, SETPOINT]
    assert arming.stage is Stage.FAILED


def test_arming_register_that_can_only_be_checked_fails_when_it_differs() -> None:
    arming = Arming(CHECK_ONLY, SETPOINT)
    assert walked(arming, good(WRONG)) == [READ_1, SETPOINT]
    assert arming.stage is Stage.FAILED
    arming = Arming(CHECK_ONLY, SETPOINT)
    assert walked(arming, good(b"\x00\x01")) == [READ_1, SETPOINT]


@pytest.mark.parametrize("n_done", [0, 1, 2, 3])
def test_arming_refusal_at_any_stage_fails(n_done: int) -> None:
    answers = [good(WRONG), good(), good(b"\x00\x3c")][:n_done]
    arming = Arming(STEPS[:1], SETPOINT)
    sent = walked(arming, *answers, (Code.REFUSED, b""))
    assert arming.stage is Stage.FAILED
    assert sent[-1] == (SETPOINT if n_done < 3 else None)  # that itself was refused


@pytest.mark.parametrize(
    ("answer", "payload"),
    [(good(b"\x00\x50"), b"\x00\x50"), *(((code, b"\x01"), None) for code in (2, 3, 4))],
)
def test_arming_that_failed_asks_once_for_the_setpoint(
    answer: tuple[int, bytes], payload: bytes | None
) -> None:
    arming = Arming(CHECK_ONLY, SETPOINT)
    sent = walked(arming, good(WRONG), (Code.NOT_SENT, b""), (Code(answer[0]), answer[1]))
    assert sent == [READ_1, SETPOINT, SETPOINT, None]
    assert (arming.setpoint_payload, arming.asks_setpoint) == (payload, False)
    assert (arming.stage, arming.n_failed) == (Stage.FAILED, 1)
    arming.exchange(RETRY_ns)
    assert arming.setpoint_payload is None  # of another time


def test_arming_that_failed_asks_nothing_once_it_is_silent_and_keeps_its_pause() -> None:
    arming = Arming(CHECK_ONLY, SETPOINT)
    walked(arming, good(WRONG))
    arming.lost()
    assert arming.exchange(0) is None
    assert arming.stage is Stage.FAILED
    arming = Arming(STEPS, SETPOINT)
    walked(arming, good(b"\x00\x3c"))
    arming.lost()
    assert arming.exchange(0) == READ_1


def test_arming_says_what_it_failed_at() -> None:
    refused = Arming(STEPS, SETPOINT)
    walked(refused, good(b"\x00\x3c"))
    refused.done(Code.REFUSED, b"", 0, 2)
    assert refused.failure == (1, 2, Code.REFUSED)
    differs = Arming(CHECK_ONLY, SETPOINT)
    walked(differs, good(WRONG))
    assert differs.failure == (0, 0, Code.GOOD)


@pytest.mark.parametrize("code", GOOD_FAILED)
def test_arming_lost_read_is_asked_again(code: Code) -> None:
    arming = Arming(STEPS, SETPOINT)
    assert walked(arming, (code, b""), good(b"\x00\x3c"), (code, b"")) == [
        READ_1,
        READ_1,
        READ_2,
        READ_2,
    ]


@pytest.mark.parametrize("code", GOOD_FAILED)
def test_arming_lost_write_is_checked_before_it_is_written_again(code: Code) -> None:
    arming = Arming(STEPS, SETPOINT)
    answers = [good(WRONG), (code, b""), good(b"\x00\x3c")]
    assert walked(arming, *answers) == [READ_1, WRITE_1, READ_1, READ_2]


def test_arming_frame_that_never_left_changes_nothing() -> None:
    arming = Arming(STEPS, SETPOINT)
    not_sent = (Code.NOT_SENT, b"")
    assert walked(arming, not_sent, good(WRONG), not_sent) == [READ_1, READ_1, WRITE_1, WRITE_1]


def test_arming_that_failed_begins_again_after_its_pause_and_not_before() -> None:
    arming = Arming(CHECK_ONLY, SETPOINT)
    arming.done(Code.GOOD, WRONG, 1_000)
    arming.done(Code.GOOD, b"\x00\x00", 1_000)
    assert arming.exchange(1_000 + RETRY_ns - 1) is None
    assert arming.exchange(1_000 + RETRY_ns) == READ_1


def test_arming_without_registers_reads_the_setpoint_only() -> None:
    assert walked(Arming([], SETPOINT), good(b"\x00\x00")) == [SETPOINT, None]


def test_arming_setpoint_that_cannot_be_read_is_left_out() -> None:
    arming = Arming(STEPS[:1], None)
    assert walked(arming, good(b"\x00\x3c")) == [READ_1, None]
    assert arming.is_armed is True
    assert arming.setpoint_payload is None
    assert Arming([], None).is_armed is True


def test_arming_restart_walks_the_whole_list_again() -> None:
    arming = Arming(STEPS, None)
    walked(arming, good(b"\x00\x3c"), good(b"\x00\x1e"))
    assert arming.is_armed is True
    arming.restart()
    assert arming.exchange(0) == READ_1


# audit


def audited_arming() -> Arming:
    """Two registers, armed at 0."""
    arming = Arming(STEPS, None)
    walked(arming, good(b"\x00\x3c"), good(b"\x00\x1e"))
    return arming


def test_arming_audit_reads_every_register_once_in_its_time() -> None:
    arming = audited_arming()
    reads = []
    for now_ns in range(0, 2 * AUDIT_ns + 1, AUDIT_ns // 8):
        if arming.is_audit_due(now_ns):
            reads.append((arming.audit(), now_ns))
            assert arming.audited(Code.GOOD, arming.steps[arming.audit_i % 2].expected, now_ns)
    half_ns = AUDIT_ns // 2
    assert reads == [
        (READ_1, half_ns),
        (READ_2, 2 * half_ns),
        (READ_1, 3 * half_ns),
        (READ_2, 4 * half_ns),
    ]


def test_arming_audit_finds_a_register_that_holds_something_else() -> None:
    arming = audited_arming()
    assert arming.audited(Code.GOOD, b"\x00\x3c", 5) is True
    assert arming.audited(Code.GOOD, b"\x00\x3c", 5) is False


@pytest.mark.parametrize("code", [*GOOD_FAILED, Code.NOT_SENT, Code.REFUSED])
def test_arming_audit_without_an_answer_says_nothing_and_is_tried_again(code: Code) -> None:
    arming = audited_arming()
    assert arming.audited(code, b"", AUDIT_ns) is True
    assert arming.audit() == READ_1
    assert arming.is_audit_due(AUDIT_ns) is True


def test_arming_audit_is_for_the_armed_only() -> None:
    arming = audited_arming()
    arming.restart()
    assert arming.is_audit_due(AUDIT_ns) is False
    assert Arming([], None).is_audit_due(AUDIT_ns) is False


def test_arming_walk_counts_as_an_audit() -> None:
    arming = Arming(STEPS[:1], None)
    arming.done(Code.GOOD, b"\x00\x3c", 7)
    assert arming.is_audit_due(7 + AUDIT_ns - 1) is False
    assert arming.is_audit_due(7 + AUDIT_ns) is True
