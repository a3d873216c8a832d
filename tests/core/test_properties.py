"""What is true of every scan, whatever is read and whatever becomes of what is written."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_sites import (
    BAD_FRAME,
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NOT_SENT,
    NS_PER_S,
    PHASE_MAPS,
    REFUSED,
    attached,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.reference import limits_of, used

CODES = (GOOD, GOOD, GOOD, NO_ANSWER, BAD_FRAME, REFUSED, NOT_SENT, IMPLAUSIBLE)
CURRENTS_mA = st.sampled_from((0, 1, 500, 5999, 6000, 6001, 10000, 16000, 31999, 32000, 70000))
TERMINALS_mA = st.tuples(CURRENTS_mA, CURRENTS_mA, CURRENTS_mA)


@st.composite
def sites(draw: st.DrawFn) -> Tables:
    limits_mA = st.sampled_from((0, 5999, 6000, 12000, 18001, 32000, 63000))
    circuits = [
        circuit(
            "main",
            draw(st.tuples(limits_mA, limits_mA, limits_mA)),
            is_dynamic=draw(st.booleans()),
            meter=0,
            limit_W=draw(st.sampled_from((None, 4140, 11040, 30000))),
            unbalance_mA=draw(st.sampled_from((None, 0, 6000, 20000))),
            margin_mA=draw(st.sampled_from((0, 1000))),
            background_mA=draw(st.sampled_from((0, 6000))),
            counts_export=draw(st.booleans()),
        ),
        circuit("sub", draw(limits_mA), 0),
    ]
    chargers = [
        charger(
            f"x{i}",
            draw(st.integers(0, 1)),
            phases=draw(st.sampled_from(PHASE_MAPS)),
            step_mA=draw(st.sampled_from((100, 1000))),
            priority=draw(st.integers(0, 1)),
            weight=draw(st.integers(1, 3)),
            failsafe_mA=draw(st.sampled_from((0, 6000))),
            fallback_mA=draw(st.sampled_from((0, 6000, 16000))),
            never_pause=draw(st.booleans()),
            has_measured_current=draw(st.booleans()),
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    return site(circuits, chargers, [meter("grid")], stagger_ns=0, soft_start_ns=0)


class Driver:
    """Runs scans with anything that hypothesis thinks of, and checks what must hold in each."""

    def __init__(self, tables: Tables, data: st.DataObject) -> None:
        self.tables, self.data = tables, data
        self.core: Core = attached(tables)
        self.core.set_mode(data.draw(st.sampled_from((0, 1, 1, 1, 1, 2, 3))))
        self.now_ns = 100 * NS_PER_S

    def code(self) -> int:
        return self.data.draw(st.sampled_from(CODES))

    def scan(self) -> None:
        draw, core = self.data.draw, self.core
        code = self.code()
        values = draw(TERMINALS_mA) if code == GOOD else None
        power = draw(st.sampled_from((None, (-1000, 0, 1000)))) if code == GOOD else None
        core.meter_read(0, code, values, power, None, self.now_ns)
        for i in range(len(self.tables.chargers)):
            self.status(i)
        assert core.step(self.now_ns + 10) == 0
        self.check()
        for i, setpoint_mA in core.takes():
            assert setpoint_mA <= core.charger(i)["setpoint_mA"]
            core.take_done(i, self.code(), self.now_ns + 20)
        for i in core.looks():
            self.status(i)
        assert core.confirm(self.now_ns + 30) == 0
        self.check()
        self.check_gives()
        for i, _ in core.gives():
            core.give_done(i, self.code(), self.now_ns + 40)
        self.now_ns += draw(st.sampled_from((NS_PER_S // 2, 5 * NS_PER_S, 60 * NS_PER_S)))

    def status(self, i: int) -> None:
        draw, core = self.data.draw, self.core
        row = core.charger(i)
        if row["is_silent"]:
            core.probe_done(i, self.code(), self.now_ns + 5)
            return
        code = self.code()
        if code == GOOD:
            core.charger_status(
                i,
                GOOD,
                draw(st.sampled_from("ABCCCDEF")),
                draw(TERMINALS_mA),
                None,
                self.now_ns + 5,
            )
        else:
            core.charger_status(i, code, None, None, None, self.now_ns + 5)
        if not row["is_armed"]:
            core.charger_armed(i, True, draw(st.sampled_from((None, 0, 6000, 16000))))

    def check(self) -> None:
        for i, table in enumerate(self.tables.chargers):
            row = self.core.charger(i)
            grant_mA = row["grant_mA"]
            assert grant_mA == 0 or table.min_mA <= grant_mA <= table.max_mA
            assert grant_mA % table.step_mA == 0
            assert row["reserve_mA"] >= row["setpoint_mA"]
            assert row["reserve_mA"] >= row["ceiling_mA"]
            if row["is_silent"]:
                assert row["reserve_mA"] >= table.fallback_mA
            if not row["is_armed"]:
                assert row["reserve_mA"] >= table.rated_mA

    def check_gives(self) -> None:
        """With all gives in force, reserves and background fit every limit above each of them."""
        core = self.core
        reserves_mA = dict(enumerate(core.reserves_mA()))
        gives = dict(core.gives())
        after_mA = {i: max(reserves_mA[i], gives.get(i, 0)) for i in reserves_mA}
        for limit in limits_of(self.tables, core.backgrounds_high_mA()):
            if set(limit.counts) & set(gives):
                assert used(limit, after_mA) <= limit.cap_mA
        for i in gives:
            row = core.charger(i)
            assert row["is_armed"]
            assert not row["is_silent"]
            assert row["is_acknowledged"]
            assert core.site()["mode"] == 1


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(sites(), st.data())
def test_every_scan_keeps_its_promises(tables: Tables, data: st.DataObject) -> None:
    driver = Driver(tables, data)
    for _ in range(data.draw(st.integers(1, 12))):
        driver.scan()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(sites(), st.data())
def test_failsafe_mode_never_raises(tables: Tables, data: st.DataObject) -> None:
    driver = Driver(tables, data)
    for _ in range(4):
        driver.scan()
    driver.core.set_mode(2)
    for _ in range(4):
        driver.scan()
        for i, table in enumerate(tables.chargers):
            row = driver.core.charger(i)
            if row["is_armed"] and not row["is_silent"] and row["is_acknowledged"]:
                assert row["grant_mA"] <= table.failsafe_mA
