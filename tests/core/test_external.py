"""Limits from outside: what counts, until when, in which mode, and who says so."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from loadctl.law.external import External
from loadctl.law.reason import Reason

from loadctl.errors import CoreFault
from loadctl.tables import Tables
from tests.support import reference
from tests.support.core_bench import Bench
from tests.support.core_sites import (
    FAILSAFE,
    NS_PER_S,
    RUN,
    START,
    attached,
    charger,
    circuit,
    meter,
    random_site,
    site,
)

LOSS_A = {"takes_external": True, "loss_mA": (16000, 16000, 16000)}
FREE: dict[str, Any] = {"limit_mA": None, "power_W": None, "until_ns": None}
# The sum of two three-phase chargers of 6 A at 230 V is 8.28 kW.
TWO_MINIMA_W = 8280


def garage(n: int = 4, mode: int = RUN, setpoint_mA: int = 0, **main: Any) -> Bench:
    """Chargers of 6 to 16 A under a metered 100 A circuit that takes limits from outside."""
    changes = {"is_dynamic": True, "meter": 0, "background_mA": 20000, **LOSS_A, **main}
    rows = [charger(f"c{i}") for i in range(n)]
    tunings = {"raise_delay_ns": 0, "soft_start_ns": 0, "stagger_ns": 0, "min_off_ns": 0}
    tables = site([circuit("main", 100000, **changes)], rows, [meter("grid")], **tunings)
    return Bench(tables, setpoint_mA, mode)


def tell(bench: Bench, circuit_i: int = 0, **changes: Any) -> None:
    words = FREE | changes
    bench.core.external_limit(
        circuit_i, words["limit_mA"], words["power_W"], words["until_ns"], bench.now_ns
    )


def busy(background_mA: int = 4000, **changes: Any) -> Bench:
    """A garage whose source said that there is no limit, at rest with every car at 16 A."""
    bench = garage(**changes)
    tell(bench)
    bench.settle_in(background_mA, 90)
    assert min(bench.setpoints_mA) >= 15500
    return bench


def hold(bench: Bench, background_mA: int, seconds: float) -> None:
    for k in range(int(seconds * 2)):
        bench.draws_mA = bench.setpoints_mA
        load_mA = background_mA + sum(bench.draws_mA)
        bench.loads_mA = [(load_mA, load_mA, load_mA - k % 2)]
        bench.scan()


def test_zero_stops_everyone_in_the_scan_that_hears_it() -> None:
    bench = busy()
    tell(bench, limit_mA=(0, 0, 0))
    bench.scan()
    assert bench.setpoints_mA == [0, 0, 0, 0]
    assert bench.circuit(0)["limit_mA"] == [0, 0, 0]
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_LIMIT


def test_zero_kilowatts_stop_everyone_where_the_site_file_has_no_power_limit() -> None:
    bench = busy()
    assert bench.circuit(0)["has_power_limit"] == 0
    tell(bench, power_W=0)
    bench.scan()
    assert bench.setpoints_mA == [0, 0, 0, 0]


def test_current_leaves_room_for_the_building_on_each_phase() -> None:
    bench = busy()
    tell(bench, limit_mA=(40000, 30000, 50000))
    hold(bench, 4000, 1)
    assert sum(bench.setpoints_mA) == 26000
    row = bench.charger(0)
    assert (row["reason"], row["binding_kind"]) == (Reason.FULL_FROM_OUTSIDE, 1)
    assert bench.circuit(0)["external_kinds"] == 0b111


def test_power_counts_the_building_too() -> None:
    bench = busy()
    tell(bench, power_W=20700)  # 90 A over the phases, 12 of them the building's
    hold(bench, 4000, 1)
    assert sum(bench.setpoints_mA) == 26000
    row = bench.charger(3)
    assert (row["reason"], row["binding_kind"]) == (Reason.FULL_FROM_OUTSIDE, 3)


@pytest.mark.parametrize(("counts_export", "room_mA"), [(False, 30000), (True, 40000)])
def test_export_makes_room_under_power_only_where_the_circuit_counts_it(
    counts_export: bool, room_mA: int
) -> None:
    bench = garage(counts_export=counts_export)
    tell(bench, power_W=20700)
    load_mA = -10000
    for k in range(180):
        bench.draws_mA = bench.setpoints_mA
        net_mA = load_mA + sum(bench.draws_mA)
        power_W = (net_mA * 230 // 1000,) * 3
        amount_mA = (abs(net_mA), abs(net_mA), abs(net_mA) + k % 2)
        bench.loads_mA = [None]
        bench.core.meter_read(0, 1, amount_mA, power_W, None, bench.now_ns + 10_000_000)
        bench.scan()
    assert room_mA - 500 <= sum(bench.setpoints_mA) <= room_mA


def test_limit_above_that_of_the_site_file_changes_nothing() -> None:
    bench = garage(limit_W=30000)
    tell(bench, limit_mA=(200000, 90000, 100000), power_W=50000)
    bench.scan()
    found = bench.circuit(0)
    assert found["limit_mA"] == [100000, 90000, 100000]
    assert found["power_limit_mA"] == 30000 * 1_000_000 // 230_000
    assert found["external_kinds"] == 0b010


def test_a_command_replaces_all_of_the_one_before() -> None:
    bench = garage()
    tell(bench, limit_mA=(10000, 10000, 10000))
    tell(bench, power_W=20000)
    bench.scan()
    assert bench.circuit(0)["limit_mA"] == [100000] * 3
    tell(bench)
    bench.scan()
    assert bench.circuit(0)["external_kinds"] == 0
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_FREE


def test_command_that_ran_out_falls_to_the_configured_value() -> None:
    bench = busy()
    until_ns = bench.now_ns + 10 * NS_PER_S
    tell(bench, limit_mA=(0, 0, 0), until_ns=until_ns)
    hold(bench, 0, 9.5)
    assert bench.core.step(until_ns - 1) == 0
    assert bench.circuit(0)["limit_mA"] == [0, 0, 0]
    assert bench.core.step(until_ns) == 0
    assert bench.circuit(0)["limit_mA"] == [16000, 16000, 16000]
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_EXPIRED
    bench.now_ns = until_ns
    hold(bench, 0, 150)
    assert sum(bench.setpoints_mA) == 16000


def test_lifted_limit_is_raised_again_under_the_usual_rules() -> None:
    bench = busy()
    tell(bench, limit_mA=(0, 0, 0))
    hold(bench, 4000, 60)
    tell(bench)
    bench.scan()
    assert bench.setpoints_mA == [0, 0, 0, 0]  # 30 s of room before a paused one returns
    hold(bench, 4000, 120)
    assert min(bench.setpoints_mA) >= 15500


@pytest.mark.parametrize("mode", [START, RUN, FAILSAFE])
def test_source_never_heard_is_what_the_site_file_says_in_every_mode(mode: int) -> None:
    bench = garage(mode=mode)
    bench.scan()
    assert bench.circuit(0)["limit_mA"] == [16000, 16000, 16000]
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_LOST


def test_before_the_first_step_the_block_shows_what_counts() -> None:
    core = attached(garage().tables)
    assert core.circuit(0)["limit_mA"] == [16000, 16000, 16000]


def test_source_that_falls_silent_is_lost_after_its_time() -> None:
    bench = garage(loss_after_ns=60 * NS_PER_S)
    tell(bench, limit_mA=(50000, 50000, 50000))
    since_ns = bench.now_ns
    assert bench.core.step(since_ns + 60 * NS_PER_S - 1) == 0
    assert bench.circuit(0)["limit_mA"] == [50000] * 3
    assert bench.core.step(since_ns + 60 * NS_PER_S) == 0
    assert bench.circuit(0)["limit_mA"] == [16000] * 3
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_LOST


def test_command_with_an_end_holds_until_then_when_its_source_is_lost() -> None:
    """An order of 0 for two hours is not over because the line to who gave it is cut."""
    bench = garage(loss_after_ns=60 * NS_PER_S)
    until_ns = bench.now_ns + 7200 * NS_PER_S
    tell(bench, limit_mA=(0, 20000, 16000), until_ns=until_ns)
    for at_ns, limit_mA in (
        (bench.now_ns, [0, 20000, 16000]),
        (until_ns - 1, [0, 16000, 16000]),
        (until_ns, [16000, 16000, 16000]),
    ):
        assert bench.core.step(at_ns) == 0
        assert bench.circuit(0)["limit_mA"] == limit_mA


def test_lost_source_of_a_circuit_without_limit_counts_at_once_when_it_is_heard_again() -> None:
    bench = garage(loss_after_ns=60 * NS_PER_S)
    tell(bench)
    assert bench.core.step(bench.now_ns + 90 * NS_PER_S) == 0
    assert bench.circuit(0)["external_state"] == External.EXTERNAL_LOST
    bench.now_ns += 91 * NS_PER_S
    tell(bench)
    bench.scan()
    assert bench.circuit(0)["limit_mA"] == [100000] * 3


def test_loss_may_be_in_kilowatts() -> None:
    bench = garage(loss_mA=None, loss_W=11040)
    bench.scan()
    assert bench.circuit(0)["limit_mA"] == [100000] * 3
    assert bench.circuit(0)["power_limit_mA"] == 48000
    assert bench.circuit(0)["external_kinds"] == 0b1000


def test_circuit_that_takes_none_says_so() -> None:
    core = attached(site([circuit("main", 100000)], [charger("a")]))
    assert core.step(1) == 0
    assert core.circuit(0)["external_state"] == External.EXTERNAL_NONE


def test_sub_circuit_alone_is_limited() -> None:
    main = circuit("main", 100000)
    sub = circuit("sub", 63000, parent=0, **LOSS_A)
    rows = [charger("a", 0), charger("b", 1), charger("c", 1)]
    bench = Bench(site([main, sub], rows), setpoint_mA=6000)
    tell(bench, 1)
    bench.draws_mA = [6000] * 3
    bench.run(30)
    assert min(bench.setpoints_mA) >= 6000
    tell(bench, 1, limit_mA=(7000, 7000, 7000))
    bench.scan()
    assert bench.setpoints_mA[0] >= 6000
    assert bench.setpoints_mA[1:] == [7000, 0]
    row = bench.charger(2)
    assert (row["reason"], row["binding_circuit"]) == (Reason.NO_ROOM_FROM_OUTSIDE, 1)
    assert bench.charger(0)["reason"] not in {Reason.FULL_FROM_OUTSIDE, Reason.NO_ROOM_FROM_OUTSIDE}


# Outside RUN


def test_failsafe_mode_keeps_within_the_limit_by_worst_background() -> None:
    """40 A less 20 A declared leave room for three of four failsafe currents."""
    bench = busy()
    tell(bench, limit_mA=(40000, 40000, 40000))
    bench.core.set_mode(FAILSAFE)
    hold(bench, 4000, 1)
    assert bench.core.failsafe_mA() == [6000, 6000, 6000, 0]
    assert bench.setpoints_mA == [6000, 6000, 6000, 0]


@pytest.mark.parametrize("mode", [START, FAILSAFE])
def test_zero_stops_everyone_outside_run_too(mode: int) -> None:
    bench = garage(mode=mode, setpoint_mA=16000)
    tell(bench)
    hold(bench, 4000, 1)
    assert bench.setpoints_mA == [6000] * 4
    tell(bench, power_W=0)
    bench.scan()
    assert bench.setpoints_mA == [0] * 4
    assert bench.core.failsafe_mA() == [0] * 4


def test_failsafe_mode_raises_nobody_when_the_limit_is_lifted() -> None:
    bench = busy()
    tell(bench, limit_mA=(0, 0, 0))
    bench.core.set_mode(FAILSAFE)
    hold(bench, 4000, 1)
    tell(bench)
    hold(bench, 4000, 30)
    assert bench.core.failsafe_mA() == [6000] * 4
    assert bench.setpoints_mA == [0] * 4


def test_silent_charger_is_probed_within_the_limit() -> None:
    bench = busy()
    bench.probed = {1}
    bench.core.charger_answered(1, 2, bench.now_ns)
    assert bench.scan().probes == {1: 6000}
    bench.core.charger_answered(1, 2, bench.now_ns)
    tell(bench, limit_mA=(0, 0, 0))
    assert bench.scan().probes == {1: 0}


def test_charger_found_under_a_limit_of_zero_is_not_raised_to_its_failsafe_current() -> None:
    bench = garage(mode=START)
    tell(bench, limit_mA=(0, 0, 0))
    bench.scan()
    bench.core.charger_armed(0, True, 16000)
    bench.scan()
    assert bench.setpoints_mA[0] == 0


# EnWG 14a: power of the chargers alone


def quarter(n: int, guaranteed_W: int, **changes: Any) -> Bench:
    loss = {"loss_mA": None, "loss_W": 4200}
    return busy(n=n, guaranteed_W=guaranteed_W, **{**loss, **changes})


def test_charger_power_leaves_the_building_alone() -> None:
    bench = quarter(4, 0)
    tell(bench, power_W=2 * TWO_MINIMA_W)
    hold(bench, 50000, 1)
    assert bench.setpoints_mA == [6000] * 4
    assert bench.circuit(0)["external_kinds"] == 1 << 10
    assert bench.circuit(0)["has_power_limit"] == 0
    assert bench.charger(0)["reason"] == Reason.FULL_FROM_OUTSIDE
    assert bench.charger(0)["binding_kind"] == 10


def test_commanded_power_counts_at_least_as_the_guaranteed_minimum() -> None:
    bench = quarter(4, TWO_MINIMA_W)
    tell(bench, power_W=0)
    hold(bench, 4000, 1)
    assert sorted(bench.setpoints_mA) == [0, 0, 6000, 6000]
    found = bench.circuit(0)
    assert (found["charger_power_limit_mA"], found["external_is_lifted"]) == (36000, 1)
    tell(bench, power_W=TWO_MINIMA_W + 1)
    bench.scan()
    found = bench.circuit(0)
    assert (found["charger_power_limit_mA"], found["external_is_lifted"]) == (36004, 0)


def test_the_value_at_loss_is_not_lifted_to_the_guaranteed_minimum() -> None:
    bench = garage(guaranteed_W=TWO_MINIMA_W, loss_mA=None, loss_W=4200)
    bench.scan()
    assert bench.circuit(0)["charger_power_limit_mA"] == 4200 * 1000 // 230


def test_current_is_no_power_and_is_not_lifted() -> None:
    bench = quarter(4, TWO_MINIMA_W)
    tell(bench, limit_mA=(0, 0, 0))
    bench.scan()
    assert bench.setpoints_mA == [0] * 4


def test_charger_power_bounds_what_is_given() -> None:
    """From standing still nobody is raised beyond it, whatever the circuit has room for."""
    bench = garage(guaranteed_W=0, loss_mA=None, loss_W=0)
    tell(bench, power_W=3 * 6900)
    most_mA = 0
    for k in range(400):
        bench.draws_mA = bench.setpoints_mA
        bench.loads_mA = [sum(bench.draws_mA)]
        bench.scan()
        if k > 60:  # until then they may draw what they are rated for
            most_mA = max(most_mA, sum(bench.core.reserves_mA()))
    assert 29500 <= sum(bench.setpoints_mA) <= most_mA <= 30000


def test_charger_that_does_not_follow_takes_its_share_of_charger_power() -> None:
    bench = quarter(2, 0)
    bench.draws_mA = [16000, 16000]
    tell(bench, power_W=3 * 22 * 230)
    for _ in range(60):
        bench.draws_mA = [16000, bench.setpoints_mA[1]]
        bench.loads_mA = [4000 + sum(bench.draws_mA)]
        bench.scan()
    assert bench.setpoints_mA[1] == 6000


def test_failsafe_targets_keep_within_charger_power() -> None:
    bench = quarter(4, 0)
    tell(bench, power_W=TWO_MINIMA_W)
    bench.scan()
    assert bench.core.failsafe_mA() == [6000, 6000, 0, 0]


# The border


@pytest.mark.parametrize(
    ("circuit_i", "limit_mA", "power_W", "text"),
    [
        (0, (-1, 0, 0), None, "external limit of circuit.main: -1 is not within 0 to 10000000"),
        (0, (0, 0, 10_000_001), None, "external limit of circuit.main: 10000001 is not within"),
        (0, None, -1, "external limit of circuit.main: -1 is not within 0 to 10000000"),
        (0, None, 10_000_001, "external limit of circuit.main: 10000001 is not within"),
        (1, None, 0, "external limit of circuit.sub: the circuit takes none"),
        (2, None, 0, "circuit index: 2 is not within 0 to 1"),
        (-1, None, 0, "circuit index: -1 is not within 0 to 1"),
    ],
)
def test_command_out_of_bounds_is_refused_and_changes_nothing(
    circuit_i: int, limit_mA: Any, power_W: Any, text: str
) -> None:
    core = attached(
        site([circuit("main", 32000, **LOSS_A), circuit("sub", 32000, 0)], [charger("a")])
    )
    with pytest.raises(CoreFault, match=f"^{text}"):
        core.external_limit(circuit_i, limit_mA, power_W, None, 1)
    assert core.step(2) == 0
    assert core.circuit(0)["external_is_heard"] == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"takes_external": True}, "circuit.a: takes limits from outside, and nothing counts"),
        ({"guaranteed_W": 1}, "circuit.a.guaranteed_W: the circuit takes no limits from outside"),
        ({"loss_mA": (0, -1, 0)}, "circuit.a.loss_mA: -1 is not within 0 to 10000000"),
        ({"loss_W": -1}, "circuit.a.loss_W: -1 is not within 0 to 10000000"),
        ({"loss_after_ns": 0}, "circuit.a.loss_after_ns: 0 is not within 1 to"),
    ],
)
def test_row_out_of_bounds_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(CoreFault, match=f"^{text}"):
        attached(site([circuit("a", 32000, **changes)], []))


# Against the reference


def limited(rng: random.Random, tables: Tables) -> Tables:
    """Some circuits take limits from outside; some of those as power of chargers alone."""
    circuits = []
    for row in tables.circuits:
        if rng.random() < 0.4:
            row = replace(
                row,
                takes_external=True,
                loss_mA=tuple(rng.choice((0, 6000, 17000, 40000)) for _ in range(3)),
                loss_W=rng.choice((None, 0, 4140, 9000, 30000)),
                guaranteed_W=rng.choice((None, None, 0, 4200, 7560, 10500)),
            )
        circuits.append(row)
    return replace(tables, circuits=tuple(circuits))


def command(rng: random.Random) -> reference.Outside:
    limit_mA = tuple(rng.choice((0, 5999, 6000, 12000, 33000)) for _ in range(3))
    return reference.Outside(
        rng.choice((None, limit_mA)), rng.choice((None, 0, 1379, 4140, 8280, 20000))
    )


@pytest.mark.parametrize("first_seed", range(0, 1000, 250))
def test_random_site_under_limits_from_outside_equals_reference(first_seed: int) -> None:
    found = []
    for seed in range(first_seed, first_seed + 250):
        rng = random.Random(f"outside {seed}")
        tables = limited(rng, random_site(rng))
        told = {
            c: command(rng)
            for c, row in enumerate(tables.circuits)
            if row.takes_external and rng.random() < 0.7
        }
        core = attached(tables)
        for c, words in told.items():
            core.external_limit(c, words.limit_mA, words.power_W, None, 0)
        wants = [True] * len(tables.chargers)
        assert core.settle(wants) == 0
        kernel_mA = [core.charger(i)["grant_mA"] for i in range(len(wants))]
        limits = reference.limits_of(tables, outside=told)
        if kernel_mA != reference.allocate_mA(tables, wants, limits):
            found.append(seed)
    assert found == []
