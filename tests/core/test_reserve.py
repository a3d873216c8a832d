"""Reserve and proof: what may still be drawn, and when a lower setpoint is believed."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl._core import Core
from tests.support.core_sites import (
    BAD_FRAME,
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NOT_SENT,
    NS_PER_S,
    REFUSED,
    RUN,
    attached,
    charger,
    circuit,
    site,
)

HOLD_s, CAR_s = 5, 6
FOLLOW_s = HOLD_s + CAR_s


class One:
    """One charger on a static circuit whose limit the test may lower through the declared row."""

    def __init__(self, limit_mA: int = 100000, **changes: Any) -> None:
        row = charger("a", max_mA=32000, rated_mA=40000, fallback_mA=8000, **changes)
        quick = {"soft_start_ns": 0, "raise_every_ns": 0, "stagger_ns": 0, "trim_ns": 0}
        self.core: Core = attached(site([circuit("main", limit_mA)], [row], **quick))
        self.core.set_mode(RUN)
        self.at_s = 100.0

    @property
    def at_ns(self) -> int:
        return int(self.at_s * NS_PER_S)

    def __getitem__(self, name: str) -> int:
        return self.core.charger(0)[name]

    def arm(self, setpoint_mA: int | None = 0) -> None:
        self.core.charger_armed(0, True, setpoint_mA)

    def sample(self, draw_mA: int, state: str = "C") -> None:
        self.core.charger_status(0, GOOD, state, (draw_mA,) * 3, None, self.at_ns)

    def step(self, code: int = GOOD) -> None:
        """One step with its take or give sent; the setpoint is then what the core wanted."""
        assert self.core.step(self.at_ns) == 0
        for i, _ in self.core.takes():
            self.core.take_done(i, code, self.at_ns)
        assert self.core.confirm(self.at_ns) == 0
        for i, _ in self.core.gives():
            self.core.give_done(i, code, self.at_ns)

    def rise(self) -> None:
        """Armed, proven, at 32 A, drawing it."""
        self.arm(0)
        self.sample(0)
        for _ in range(40):
            self.step()
            self.at_s += 1
            self.sample(self["setpoint_mA"])
        assert (self["setpoint_mA"], self["reserve_mA"]) == (32000, 32000)

    def pause(self, code: int = GOOD) -> None:
        """The car reports a fault: the setpoint goes to 0."""
        self.core.charger_status(0, GOOD, "F", (32000,) * 3, None, self.at_ns)
        self.step(code)


def test_reserve_before_arming_is_the_rating() -> None:
    assert One()["reserve_mA"] == 40000


def test_reserve_of_isolated_charger_is_zero() -> None:
    one = One(is_isolated=True)
    one.step()
    assert one["reserve_mA"] == 0


def test_reserve_after_arming_stays_at_the_rating_until_the_first_proof() -> None:
    one = One()
    one.arm(6000)
    one.sample(6000)
    one.step()
    assert (one["setpoint_mA"], one["reserve_mA"]) == (6000, 40000)


@pytest.mark.parametrize(
    ("read_mA", "failsafe_mA", "first_mA"),
    [(16000, 6000, 6000), (5000, 6000, 0), (0, 6000, 0), (None, 6000, 0), (16000, 0, 0)],
)
def test_arming_first_write_is_the_lower_of_what_was_read_and_failsafe(
    read_mA: int | None, failsafe_mA: int, first_mA: int
) -> None:
    one = One(failsafe_mA=failsafe_mA)
    one.arm(read_mA)
    assert one.core.step(one.at_ns) == 0
    assert one.core.takes() == [(0, first_mA)]


def test_arming_again_of_one_that_is_well_changes_nothing() -> None:
    one = One()
    one.rise()
    one.arm(6000)
    assert (one["setpoint_mA"], one["reserve_mA"]) == (32000, 32000)


def test_take_keeps_the_reserve_until_proof() -> None:
    one = One()
    one.rise()
    one.pause()
    assert (one["setpoint_mA"], one["reserve_mA"], one["is_unproven"]) == (0, 32000, 1)


def shrink() -> One:
    """Brought from 32 A to 20 A by a silent neighbour that may draw 12 A."""
    rows = [
        charger("a", max_mA=32000, rated_mA=32000),
        charger("b", max_mA=12000, fallback_mA=12000, rated_mA=12000),
    ]
    quick = {"soft_start_ns": 0, "raise_every_ns": 0, "stagger_ns": 0, "trim_ns": 0}
    one = One()
    one.core = attached(site([circuit("main", 32000)], rows, **quick))
    one.core.set_mode(RUN)
    one.arm(0)
    one.core.charger_armed(1, True, 0)
    one.sample(0)
    for _ in range(60):
        one.core.charger_status(1, GOOD, "A", (0, 0, 0), None, one.at_ns)
        one.step()
        one.at_s += 1
        one.sample(one["setpoint_mA"])
    assert (one["setpoint_mA"], one["reserve_mA"]) == (32000, 32000)
    one.core.charger_answered(1, NO_ANSWER, one.at_ns)
    one.step()
    assert (one["setpoint_mA"], one["reserve_mA"]) == (20000, 32000)
    return one


def test_proof_draw_seen_above_and_then_at_the_setpoint_proves_at_once() -> None:
    one = shrink()
    one.at_s += 1
    one.sample(32000)
    assert one["reserve_mA"] == 32000
    one.at_s += 1
    one.sample(20000)
    assert (one["ceiling_mA"], one["is_unproven"]) == (20000, 0)


def test_proof_draw_that_falls_far_below_the_setpoint_proves_nothing_yet() -> None:
    """The car took less by itself; it may take more again before the box has told it not to."""
    one = shrink()
    one.at_s += 1
    one.sample(32000)
    one.at_s += 1
    one.sample(9000)
    assert one["is_unproven"] == 1


def test_proof_draw_at_the_setpoint_but_never_above_waits_for_time() -> None:
    one = shrink()
    one.at_s += 1
    one.sample(20000)
    assert one["is_unproven"] == 1


@pytest.mark.parametrize(("after_s", "is_unproven"), [(16.99, 1), (17.0, 0)])
def test_proof_low_draw_proves_after_hold_and_twice_the_cars_time(
    after_s: float, is_unproven: int
) -> None:
    one = shrink()
    one.at_s += after_s
    one.sample(3000)
    assert one["is_unproven"] == is_unproven


def test_proof_draw_within_pilot_tolerance_is_not_above() -> None:
    one = shrink()
    one.at_s += 1
    one.sample(20600)
    assert (one["has_seen_above"], one["is_overdue"]) == (0, 0)
    one.sample(20601)
    assert one["has_seen_above"] == 1


def test_proof_draw_above_after_the_follow_time_makes_it_overdue_until_proven() -> None:
    one = shrink()
    one.at_s += FOLLOW_s - 1
    one.sample(32000)
    assert one["is_overdue"] == 0
    one.at_s += 1
    one.sample(32000)
    assert one["is_overdue"] == 1
    one.sample(20000)
    assert (one["is_overdue"], one["ceiling_mA"]) == (0, 20000)


def test_proof_sample_of_the_time_before_the_acknowledgement_counts_for_nothing() -> None:
    one = shrink()
    one.at_s -= 0.1
    one.sample(32000)
    assert one["has_seen_above"] == 0


@pytest.mark.parametrize(("after_s", "is_unproven"), [(21.9, 1), (22.0, 0)])
def test_proof_unmeasured_takes_twice_the_follow_time(after_s: float, is_unproven: int) -> None:
    one = One(has_measured_current=False)
    one.arm(0)
    one.core.charger_status(0, GOOD, "A", None, None, one.at_ns)
    one.step()
    one.at_s += after_s
    one.step()
    assert one["is_unproven"] == is_unproven


def test_proof_is_not_by_time_while_the_last_sample_is_above_the_setpoint() -> None:
    """Raised while seen above, its time runs twice; then nothing is read any more."""
    one = One()
    one.arm(0)
    one.sample(32000)
    one.step()  # 0 acknowledged
    one.at_s += 0.5
    one.sample(32000)
    one.step()  # raised to the minimum, and still drawing what it did before
    assert one["setpoint_mA"] == 6000
    for _ in range(10):
        one.at_s += 0.5
        one.sample(32000)
        one.step(NOT_SENT)
    one.at_s += 10 * FOLLOW_s
    one.step(NOT_SENT)
    assert (one["is_unproven"], one["ceiling_mA"]) == (1, 40000)


def test_reserve_is_never_below_the_draw() -> None:
    one = One()
    one.rise()
    one.sample(32900)
    assert one["reserve_mA"] == 32900


def test_write_not_sent_changes_nothing() -> None:
    one = One()
    one.rise()
    one.pause(NOT_SENT)
    assert (one["setpoint_mA"], one["reserve_mA"]) == (32000, 32000)
    assert (one["is_acknowledged"], one["is_silent"]) == (1, 0)


def test_refused_take_counts_as_sent_and_is_sent_again() -> None:
    one = One()
    one.rise()
    one.pause(REFUSED)
    assert (one["setpoint_mA"], one["reserve_mA"]) == (0, 32000)
    assert (one["is_acknowledged"], one["is_silent"]) == (0, 0)
    one.at_s += 5
    one.sample(0, "F")
    assert one["reserve_mA"] == 32000
    one.core.step(one.at_ns)
    assert one.core.takes() == [(0, 0)]


@pytest.mark.parametrize("code", [NO_ANSWER, BAD_FRAME])
def test_unanswered_raise_keeps_the_setpoint_and_raises_the_reserve(code: int) -> None:
    one = One()
    one.arm(0)
    one.sample(0)
    one.step()
    one.at_s += 20
    one.sample(0)
    assert one["reserve_mA"] == 0
    one.step(code)
    assert (one["setpoint_mA"], one["is_silent"]) == (0, 1)
    assert one["reserve_mA"] == 8000


@pytest.mark.parametrize(
    ("code", "is_silent"),
    [(NO_ANSWER, 1), (BAD_FRAME, 1), (REFUSED, 0), (NOT_SENT, 0), (IMPLAUSIBLE, 0)],
)
def test_status_that_fails_silences_only_when_nothing_valid_came(code: int, is_silent: int) -> None:
    one = One()
    one.arm(0)
    one.core.charger_status(0, code, None, None, None, one.at_ns)
    assert one["is_silent"] == is_silent


def test_silent_charger_counts_at_least_its_fallback_and_gets_nothing() -> None:
    one = One()
    one.arm(0)
    one.sample(0)
    one.step()
    one.at_s += 20
    one.sample(0)
    one.core.charger_answered(0, NO_ANSWER, one.at_ns)
    one.step()
    assert one["reserve_mA"] == 8000
    assert one.core.gives() == []
    assert one.core.takes() == []


@pytest.mark.parametrize(("setpoint_mA", "probed_mA"), [(32000, 6000), (0, 0)])
def test_probe_is_the_lower_of_last_setpoint_and_failsafe(setpoint_mA: int, probed_mA: int) -> None:
    one = One()
    if setpoint_mA:
        one.rise()
    else:
        one.arm(0)
    one.core.charger_answered(0, NO_ANSWER, one.at_ns)
    one.step()
    assert one.core.probe_mA(0) == probed_mA


def test_probe_acknowledged_ends_silence_at_the_probes_setpoint() -> None:
    one = One()
    one.rise()
    one.core.charger_answered(0, NO_ANSWER, one.at_ns)
    one.step()
    one.core.charger_status(0, GOOD, "C", (0, 0, 0), None, one.at_ns)
    assert one["is_silent"] == 1
    one.core.probe_done(0, GOOD, one.at_ns)
    assert (one["is_silent"], one["setpoint_mA"], one["reserve_mA"]) == (0, 6000, 32000)


def test_probe_where_the_limit_does_not_hold_is_bounded_by_the_fallback() -> None:
    """Fallen to 0 by its own watchdog, a probe of 6 A would raise it."""
    rows = [charger("a", fallback_mA=0, rated_mA=20000), charger("b", rated_mA=20000)]
    core = attached(site([circuit("main", 10000)], rows))
    core.set_mode(RUN)
    core.charger_armed(0, True, 6000)
    core.charger_answered(0, NO_ANSWER, NS_PER_S)
    assert core.step(NS_PER_S) == 0
    assert core.probe_mA(0) == 0


def test_refresh_of_a_silent_charger_is_its_probe() -> None:
    one = One()
    one.rise()
    one.core.charger_answered(0, NO_ANSWER, one.at_ns)
    one.step()
    one.core.refreshed(0, GOOD, one.at_ns)
    assert (one["is_silent"], one["setpoint_mA"]) == (0, 6000)


def test_refresh_does_not_restart_the_proof() -> None:
    one = shrink()
    one.at_s += 16
    one.core.refreshed(0, GOOD, one.at_ns)
    one.at_s += 1
    one.sample(3000)
    assert one["is_unproven"] == 0


def test_disarmed_charger_counts_at_its_rating_again() -> None:
    one = One()
    one.rise()
    one.core.charger_armed(0, False, None)
    one.step()
    assert one["reserve_mA"] == 40000
