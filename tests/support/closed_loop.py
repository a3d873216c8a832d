"""The scan's conversation with the core in virtual time, over a plant that loses messages.

The same order of calls as the scan: read, step, take, look, confirm, give. Every loss is drawn from
the story's own `random.Random`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_sites import GOOD, NO_ANSWER, NS_PER_S, REFUSED, RUN, PERIOD_ns, attached
from tests.support.plant_model import Plant

MS = 1_000_000
READ_ns, STATUS_ns, STEP_ns, TAKE_ns = 10 * MS, 40 * MS, 100 * MS, 110 * MS
LOOK_ns, CONFIRM_ns, GIVE_ns, REFRESH_ns = 210 * MS, 300 * MS, 310 * MS, 400 * MS
REFRESH_EVERY = 8  # scans


@dataclass
class Losses:
    """Chances that a request or its reply is lost, or that a box refuses."""

    request: float = 0.0
    reply: float = 0.0
    refusal: float = 0.0
    meter: float = 0.0


class Loop:
    def __init__(
        self, tables: Tables, rng: random.Random, losses: Losses, most_delay_ns: int = 12 * NS_PER_S
    ) -> None:
        self.tables = tables
        self.rng = rng
        self.losses = losses
        self.plant = Plant(tables, rng, most_delay_ns)
        self.core: Core = attached(tables)
        self.core.set_mode(RUN)
        self.now_ns = 100 * NS_PER_S
        for box in self.plant.boxes:
            box.fed_at_ns = self.now_ns
        self.n_per_scan = max(1, -(-len(tables.chargers) // 4))
        self.next_status = 0
        self.scan_i = 0

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * NS_PER_S / PERIOD_ns)):
            self.scan()

    def scan(self) -> None:
        t_ns = self.now_ns
        self._read(t_ns)
        assert self.core.step(t_ns + STEP_ns) == 0
        sent = self._take(t_ns + TAKE_ns)
        self._look(t_ns + LOOK_ns)
        assert self.core.confirm(t_ns + CONFIRM_ns) == 0
        sent |= self._give(t_ns + GIVE_ns)
        self._refresh(t_ns + REFRESH_ns, sent)
        self.now_ns += PERIOD_ns
        self.scan_i += 1

    def setpoints_mA(self) -> list[int]:
        return [self.core.charger(i)["setpoint_mA"] for i in range(len(self.tables.chargers))]

    def _read(self, t_ns: int) -> None:
        for m in range(len(self.tables.meters)):
            c = next(c for c, row in enumerate(self.tables.circuits) if row.meter == m)
            lag_ns = self.rng.randint(0, self.tables.meters[m].lag_ns)
            at_ns = t_ns + READ_ns + m * MS
            if self.rng.random() < self.losses.meter:
                self.core.meter_read(m, NO_ANSWER, None, None, None, at_ns)
            else:
                value_mA = self.plant.read_meter(c, at_ns - lag_ns)
                self.core.meter_read(m, GOOD, value_mA, None, None, at_ns)
        for k in range(self.n_per_scan):
            self._status(self.next_status, t_ns + STATUS_ns + k * MS)
            self.next_status = (self.next_status + 1) % len(self.tables.chargers)

    def _status(self, i: int, at_ns: int) -> None:
        row, box = self.tables.chargers[i], self.plant.boxes[i]
        charger = self.core.charger(i)
        if row.is_isolated or charger["is_silent"]:
            return
        box.advance(at_ns)
        code = self._exchange(i)
        if code != NO_ANSWER:
            box.fed_at_ns = at_ns
        if code != GOOD:
            self.core.charger_status(i, code, None, None, None, at_ns)
            return
        draw_mA = box.draw_mA(at_ns)
        current_mA = (draw_mA,) * len(row.phases) + (0,) * (3 - len(row.phases))
        self.core.charger_status(
            i, GOOD, box.state, current_mA if row.has_measured_current else None, box.setpoint_mA,
            at_ns,
        )  # fmt: skip
        if not charger["is_armed"]:
            self.core.charger_armed(i, True, box.setpoint_mA)

    def _exchange(self, i: int) -> int:
        """How an exchange with box i ends, for all but what a lost reply has done."""
        if self.plant.boxes[i].is_dead or self.rng.random() < self.losses.request:
            return NO_ANSWER
        if self.rng.random() < self.losses.refusal:
            return REFUSED
        return GOOD

    def _write(self, i: int, setpoint_mA: int, at_ns: int) -> int:
        code = self._exchange(i)
        if code == GOOD:
            self.plant.write(i, setpoint_mA, at_ns)
            if self.rng.random() < self.losses.reply:
                return NO_ANSWER
        return code

    def _take(self, at_ns: int) -> set[int]:
        sent = set()
        for i, setpoint_mA in self.core.takes():
            self.core.take_done(i, self._write(i, setpoint_mA, at_ns), at_ns)
            sent.add(i)
            at_ns += MS
        silent = [i for i, _ in enumerate(self.tables.chargers) if self._is_probed(i, sent)]
        if silent:
            i = silent[self.scan_i % len(silent)]
            self._probe(i, at_ns)
            sent.add(i)
        return sent

    def _is_probed(self, i: int, sent: set[int]) -> bool:
        return bool(self.core.charger(i)["is_silent"]) and i not in sent

    def _probe(self, i: int, at_ns: int) -> None:
        """One never armed is asked for its setpoint; any other gets it written."""
        if self.core.charger(i)["is_armed"]:
            code = self._write(i, self.core.probe_mA(i), at_ns)
            self.core.probe_done(i, code, at_ns)
        elif self._exchange(i) == GOOD:
            self.plant.boxes[i].advance(at_ns)
            self.plant.boxes[i].fed_at_ns = at_ns
            self.core.charger_armed(i, True, self.plant.boxes[i].setpoint_mA)

    def _look(self, at_ns: int) -> None:
        for i in self.core.looks()[: self.n_per_scan * 4]:
            self._status(i, at_ns)
            at_ns += MS

    def _give(self, at_ns: int) -> set[int]:
        sent = set()
        for i, setpoint_mA in self.core.gives():
            self.core.give_done(i, self._write(i, setpoint_mA, at_ns), at_ns)
            sent.add(i)
            at_ns += MS
        return sent

    def _refresh(self, at_ns: int, sent: set[int]) -> None:
        for i in range(len(self.tables.chargers)):
            charger = self.core.charger(i)
            is_due = self.scan_i % REFRESH_EVERY == i % REFRESH_EVERY
            if is_due and i not in sent and charger["is_armed"] and not charger["is_silent"]:
                code = self._write(i, charger["setpoint_mA"], at_ns)
                self.core.refreshed(i, code, at_ns)
