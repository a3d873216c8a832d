"""The core in any conversation: whatever is read, and whatever becomes of what is written.

A plant of boxes and cars, meters that die and lie, and exchanges that end in every way, in an order
that hypothesis thinks of. After each call everything holds that `core_checks` knows; as long as no
meter has lied, no raise goes out without room in truth either; and the whole conversation, told to
another core, makes the same bytes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from loadctl.tables import Phases, Tables, Tuning
from tests.support.closed_loop import (
    MS,
    CONFIRM_ns,
    GIVE_ns,
    LOOK_ns,
    Loop,
    Losses,
    READ_ns,
    REFRESH_ns,
    STATUS_ns,
    STEP_ns,
    TAKE_ns,
)
from tests.support.core_book import Book
from tests.support.core_checks import check_confirm, check_reserves, check_step
from tests.support.core_sites import (
    BAD_FRAME,
    FAILSAFE,
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NOT_SENT,
    NS_PER_S,
    REFUSED,
    RUN,
    START,
    STOP,
    PERIOD_ns,
)
from tests.support.stories import story_site

# How an exchange ends: its code, and whether the box has heard it.
ENDS = {
    "good": (GOOD, True),
    "request lost": (NO_ANSWER, False),
    "reply lost": (NO_ANSWER, True),
    "reply broken": (BAD_FRAME, True),
    "request broken": (BAD_FRAME, False),
    "refused": (REFUSED, False),
    "not sent": (NOT_SENT, False),
    "implausible": (IMPLAUSIBLE, True),
}
# What is not sent for long is told to the core as silence.
LASTING = ("good", "good", "request lost", "reply lost", "reply broken", "refused")
METER_CODES = (NO_ANSWER, BAD_FRAME, REFUSED, NOT_SENT, IMPLAUSIBLE)
STATES = ("A", "B", "C", "C", "C", "E", "F")
# Between 4 and 6 A a car that takes little by itself cannot be told from one that has obeyed.
WANTED_mA = (0, 500, 3_000, 6_000, 10_000, 16_000, 32_000, 63_000)
LIES_mA = (0, 1, 5_999, 16_000, 31_999, 63_000, 100_000, 400_000)
_VALUES = {
    "raise_delay_ns": (0, 15 * NS_PER_S),
    "raise_every_ns": (0, 5 * NS_PER_S, 60 * NS_PER_S),
    "ramp_mA_per_s": (100, 2_000, 100_000),
    "soft_start_ns": (0, 40 * NS_PER_S),
    "deadband_mA": (0, 500, 5_000),
    "trim_ns": (0, 60 * NS_PER_S),
    "min_on_ns": (0, 300 * NS_PER_S),
    "min_off_ns": (0, 300 * NS_PER_S),
    "admit_margin_mA": (0, 1_000, 6_000),
    "rotate_ns": (5 * NS_PER_S, 1_800 * NS_PER_S),
    "meter_stale_ns": (NS_PER_S, 3 * NS_PER_S, 30 * NS_PER_S),
    "car_follow_ns": (6 * NS_PER_S, 30 * NS_PER_S),
    "peak_hold_ns": (15 * NS_PER_S, 60 * NS_PER_S),
}
TUNINGS = [(name, value) for name, values in _VALUES.items() for value in values]


class Conversation(Loop):
    """The scan's conversation with the core, through a book; how exchanges end is told to it."""

    def __init__(self, tables: Tables, rng: random.Random, most_delay_ns: int) -> None:
        super().__init__(tables, rng, Losses(), most_delay_ns)
        self.book = Book(tables)
        self.core: Any = self.book
        self.core.set_mode(RUN)
        self.ends: list[str] = []  # of the next exchanges, in their order
        self.box_ends = ["good"] * len(tables.chargers)
        self.meter_ends: list[int | Phases] = [GOOD] * len(tables.meters)  # code, or a lie
        self.has_lied = False

    def scan(self) -> None:
        t_ns = self.now_ns
        self._read(t_ns)
        assert self.core.step(t_ns + STEP_ns) == 0
        check_reserves(self.book)
        check_step(self.book)
        sent = self._take(t_ns + TAKE_ns)
        check_reserves(self.book)
        self._look(t_ns + LOOK_ns)
        assert self.core.confirm(t_ns + CONFIRM_ns) == 0
        check_reserves(self.book)
        check_confirm(self.book)
        sent |= self._give(t_ns + GIVE_ns)
        self._refresh(t_ns + REFRESH_ns, sent)
        check_reserves(self.book)
        self.book.scan_is_over()
        self.now_ns += PERIOD_ns
        self.scan_i += 1

    def pause(self, seconds: float) -> None:
        """No scan for a while; the guard feeds those that answer."""
        self.now_ns += round(seconds * NS_PER_S)
        for i, box in enumerate(self.plant.boxes):
            if not self.book.chargers[i].is_silent:
                box.fed_at_ns = self.now_ns

    def reboot(self, i: int) -> None:
        """The box has forgotten everything, and was caught at it."""
        box = self.plant.boxes[i]
        box.due.clear()
        box.setpoint_mA = box.obeyed_mA = self.tables.chargers[i].rated_mA
        self.core.charger_armed(i, False, None)

    def _read_meter(self, m: int, c: int, at_ns: int) -> None:
        end = self.meter_ends[m]
        if isinstance(end, int) and end != GOOD:
            self.core.meter_read(m, end, None, None, None, at_ns)
            return
        true_mA = self.plant.read_meter(
            c, at_ns - self.rng.randint(0, self.tables.meters[m].lag_ns)
        )
        self.core.meter_read(m, GOOD, true_mA if isinstance(end, int) else end, None, None, at_ns)

    def _read(self, t_ns: int) -> None:
        for c, row in enumerate(self.tables.circuits):
            if row.meter >= 0:
                self._read_meter(row.meter, c, t_ns + READ_ns + row.meter * MS)
        for k in range(self.n_per_scan):
            self._status(self.next_status, t_ns + STATUS_ns + k * MS)
            self.next_status = (self.next_status + 1) % len(self.tables.chargers)

    def _end(self, i: int) -> tuple[int, bool]:
        return ENDS[self.ends.pop(0) if self.ends else self.box_ends[i]]

    def _status(self, i: int, at_ns: int) -> None:
        row, box, charger = self.tables.chargers[i], self.plant.boxes[i], self.core.charger(i)
        if row.is_isolated or charger["is_silent"]:
            return
        box.advance(at_ns)
        code, is_heard = self._end(i)
        if is_heard:
            box.fed_at_ns = at_ns
        if code != GOOD:
            self.core.charger_status(i, code, None, None, None, at_ns)
            return
        draws_mA = [box.draw_mA(at_ns) if p in box.phases else 0 for p in row.phases] + [0, 0]
        current_mA = tuple(draws_mA[:3]) if row.has_measured_current else None
        self.core.charger_status(i, GOOD, box.state, current_mA, box.setpoint_mA, at_ns)
        if not charger["is_armed"]:
            self.core.charger_armed(i, True, box.setpoint_mA)

    def _is_probed(self, i: int, sent: set[int]) -> bool:
        return super()._is_probed(i, sent) and i not in self.core.starving()

    def _exchange(self, i: int) -> int:
        return self._end(i)[0]

    def _write(self, i: int, setpoint_mA: int, at_ns: int) -> int:
        code, is_heard = self._end(i)
        if is_heard:
            self.plant.write(i, setpoint_mA, at_ns)
        return code


def machine_site(seed: int) -> Tables:
    """A site of the stories; some fuses are warm before their limit is reached."""
    rng = random.Random(f"machine {seed}")
    tables = story_site(rng)
    circuits = tables.circuits
    if rng.random() < 0.2:
        circuits = tuple(
            replace(row, fuse_type="B", fuse_rated_mA=max(row.limit_mA) * 4 // 5)
            for row in circuits
        )
    if rng.random() < 0.3:
        main = replace(
            circuits[0],
            takes_external=True,
            loss_mA=rng.choice((None, (0, 0, 0), (32_000, 16_000, 32_000))),
            loss_W=rng.choice((4_200, 40_000)),
            loss_after_ns=rng.choice((None, 60 * NS_PER_S)),
            guaranteed_W=rng.choice((None, 4_200, 12_000)),
        )
        circuits = (main, *circuits[1:])
    return replace(tables, circuits=circuits)


class CoreMachine(RuleBasedStateMachine):
    loop: Conversation

    @initialize(
        seed=st.integers(0, 999),
        delay_s=st.sampled_from((0, 2, 12)),
        n_scans=st.sampled_from((0, 40, 120)),
    )
    def begin(self, seed: int, delay_s: int, n_scans: int) -> None:
        tables = machine_site(seed)
        self.loop = Conversation(tables, random.Random(seed), delay_s * NS_PER_S)
        for box in self.loop.plant.boxes:
            box.state, box.wanted_mA = "C", 32_000
        self.scans(n_scans)

    @rule(n=st.sampled_from((1, 2, 5, 20, 60)))
    def scans(self, n: int) -> None:
        for _ in range(n):
            self.loop.scan()

    @rule(ends=st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=8))
    def exchanges_end(self, ends: list[str]) -> None:
        self.loop.ends = ends
        self.loop.scan()

    @rule(i=st.integers(0, 6), end=st.sampled_from(LASTING), n=st.sampled_from((1, 3, 40)))
    def box_answers(self, i: int, end: str, n: int) -> None:
        i %= len(self.loop.box_ends)
        self.loop.box_ends[i] = end
        self.scans(n)
        self.loop.box_ends[i] = "good"

    @rule(i=st.integers(0, 6), end=st.sampled_from(LASTING))
    def box_answers_from_now_on(self, i: int, end: str) -> None:
        self.loop.box_ends[i % len(self.loop.box_ends)] = end

    @rule(m=st.integers(0, 1), end=st.sampled_from(METER_CODES), n=st.sampled_from((1, 3, 20)))
    def meter_answers(self, m: int, end: int, n: int) -> None:
        m %= len(self.loop.meter_ends)
        self.loop.meter_ends[m] = end
        self.scans(n)
        self.loop.meter_ends[m] = GOOD

    @rule(
        m=st.integers(0, 1),
        lie_mA=st.tuples(*[st.sampled_from(LIES_mA)] * 3),
        n=st.sampled_from((1, 3, 20)),
    )
    def meter_lies(self, m: int, lie_mA: Phases, n: int) -> None:
        m %= len(self.loop.meter_ends)
        self.loop.has_lied = True
        self.loop.meter_ends[m] = lie_mA
        self.scans(n)
        self.loop.meter_ends[m] = GOOD

    @rule(i=st.integers(0, 6), is_stubborn=st.booleans())
    def car_is_stubborn(self, i: int, is_stubborn: bool) -> None:
        """One that obeys no decrease; where nobody measures that, raises go out in good faith."""
        self.loop.has_lied = True
        box = self.loop.plant.boxes[i % len(self.loop.plant.boxes)]
        box.most_delay_ns = 10**15 if is_stubborn else 0
        if is_stubborn:
            box.state, box.wanted_mA = "C", 63_000

    @rule(i=st.integers(0, 6), state=st.sampled_from(STATES), wanted_mA=st.sampled_from(WANTED_mA))
    def car(self, i: int, state: str, wanted_mA: int) -> None:
        box = self.loop.plant.boxes[i % len(self.loop.plant.boxes)]
        box.state, box.wanted_mA = state, wanted_mA

    @rule(i=st.integers(0, 6), n_phases=st.integers(1, 3), n=st.sampled_from((1, 30, 200)))
    def another_car(self, i: int, n_phases: int, n: int) -> None:
        """One that may use fewer phases than the charger has; the core sees the other one go.

        Unbalance in truth has no bound until that is known: there each car uses all phases.
        """
        i %= len(self.loop.plant.boxes)
        box = self.loop.plant.boxes[i]
        box.state = "A"
        self.scans(10)
        if self.loop.core.charger(i)["unused_phases"]:
            self.loop.has_lied = True
        if all(row.unbalance_mA is None for row in self.loop.tables.circuits):
            box.phases = self.loop.tables.chargers[i].phases[:n_phases]
        box.state = "C"
        self.scans(n)

    @rule(
        limit_mA=st.none() | st.tuples(*[st.sampled_from((0, 6_000, 16_000, 32_000, 200_000))] * 3),
        power_W=st.sampled_from((None, 0, 4_200, 11_000, 100_000)),
        for_s=st.sampled_from((None, 1, 20)),
        n=st.sampled_from((1, 10)),
    )
    def limit_from_outside(
        self, limit_mA: Phases | None, power_W: int | None, for_s: int | None, n: int
    ) -> None:
        if self.loop.tables.circuits[0].takes_external:
            until_ns = None if for_s is None else self.loop.now_ns + for_s * NS_PER_S
            self.loop.core.external_limit(0, limit_mA, power_W, until_ns, self.loop.now_ns)
            self.scans(n)

    @rule(c=st.integers(0, 2), parts=st.tuples(*[st.integers(0, 4)] * 3))
    def building(self, c: int, parts: tuple[int, int, int]) -> None:
        """Up to what is declared."""
        c %= len(self.loop.tables.circuits)
        row = self.loop.tables.circuits[c]
        if row.is_dynamic:
            most_mA = max(row.background_mA[0] - (8_000 if c == 0 else 0), 0)
            a, b, d = (most_mA * part // 4 for part in parts)
            self.loop.plant.own_mA[c] = (a, b, d)

    @rule(i=st.integers(0, 6))
    def reboot(self, i: int) -> None:
        self.loop.reboot(i % len(self.loop.plant.boxes))

    @rule(mode=st.sampled_from((START, FAILSAFE, STOP)), n=st.sampled_from((0, 1, 10)))
    def mode(self, mode: int, n: int) -> None:
        self.loop.core.set_mode(mode)
        self.scans(n)
        self.loop.core.set_mode(RUN)

    @rule(name_value=st.sampled_from(TUNINGS))
    def tune(self, name_value: tuple[str, int]) -> None:
        name, value = name_value
        changed: Tuning = replace(self.loop.book.tuning, **{name: value})  # type: ignore[arg-type]
        self.loop.core.set_tuning(changed)

    @rule(seconds=st.sampled_from((0.05, 0.4, 3, 60, 3_600, 10_000_000)))
    def pause(self, seconds: float) -> None:
        self.loop.pause(seconds)

    @rule()
    def change_core(self) -> None:
        self.loop.book.change_core()

    @invariant()
    def nothing_went_out_without_room(self) -> None:
        if hasattr(self, "loop") and not self.loop.has_lied:
            assert self.loop.plant.violations == []

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            assert self.loop.book.told_again() == self.loop.book.block


COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def test_core_in_any_conversation() -> None:
    run_state_machine_as_test(
        CoreMachine,
        settings=settings(COMMON, max_examples=150, stateful_step_count=30, derandomize=True),
    )


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_core_in_thousands_of_conversations() -> None:
    run_state_machine_as_test(
        CoreMachine, settings=settings(COMMON, max_examples=5_000, stateful_step_count=60)
    )
