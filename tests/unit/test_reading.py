"""How one device comes to be read in shorter reads, and what a reading in parts is worth."""

import copy
from pathlib import Path
from typing import Any

import pytest

from hw.devices import DeviceMap, parse_map
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code, Exchange, Patience, Reply
from loadctl.events import Event
from loadctl.reading import ILLEGAL_ADDRESS, REFUSALS, PARTS_ns, Reading
from loadctl.status import status_of
from tests.support import sim_sites
from tests.support.builders import shipped_map, shipped_maps
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig
from tests.support.talk_bench import GOOD, Bench, well

REFUSED, LOST = Code.REFUSED, Code.NO_ANSWER
WELL_ns = 20 * MS_ns


def quick_meter() -> DeviceMap:
    """The reference meter, which wants no gap."""
    return shipped_map("reference-meter")


def reply(code: Code, at_ns: int = 0, payload: bytes = b"") -> Reply:
    return Reply(code, payload, 0, at_ns, at_ns + WELL_ns)


def refuse(reading: Reading, times: int, exception_code: int = ILLEGAL_ADDRESS) -> list[bool]:
    return [reading.refused(reading.next_step(), exception_code) for _ in range(times)]


# one device


def test_reading_changes_its_way_after_three_refusals_in_a_row() -> None:
    reading = Reading(quick_meter(), 1)
    assert refuse(reading, REFUSALS - 1) == [False] * (REFUSALS - 1)
    reading.took(reading.next_step(), reply(GOOD, payload=bytes(40)))
    assert refuse(reading, REFUSALS) == [False, False, True]
    assert (reading.way_i, reading.is_usual, len(reading.steps)) == (1, False, 1)
    assert refuse(reading, REFUSALS) == [False, False, True]
    assert (reading.way_i, len(reading.steps)) == (2, 3)


def test_reading_of_which_only_a_later_block_is_refused_changes_its_way_too() -> None:
    reading = Reading(shipped_map("mennekes-amtron-compact2"), 1)
    first, second = reading.steps[:2]
    changes = []
    for k in range(REFUSALS):
        assert reading.took(first, reply(GOOD, k * S_ns, bytes(2))) is None
        assert reading.took(second, reply(REFUSED, k * S_ns)) is None
        changes.append(reading.refused(second, ILLEGAL_ADDRESS))
    assert changes == [False] * (REFUSALS - 1) + [True]


def test_reading_stays_in_its_last_way() -> None:
    reading = Reading(quick_meter(), 1)
    refuse(reading, 100)
    assert reading.way_i == len(reading.ways) - 1


@pytest.mark.parametrize("exception_code", [1, 4, 5, 6, 8, 11])
def test_reading_other_exceptions_are_no_reason_for_shorter_reads(exception_code: int) -> None:
    reading = Reading(quick_meter(), 1)
    assert not any(refuse(reading, 10, exception_code))


def test_reading_in_parts_is_whole_when_all_are_there() -> None:
    reading = Reading(quick_meter(), 1)
    refuse(reading, 2 * REFUSALS)
    names = []
    for at_ns in (0, WELL_ns, 2 * WELL_ns):
        step = reading.next_step()
        names.append(step.what)
        payloads = reading.took(step, reply(GOOD, at_ns, bytes(4)))
        assert reading.is_begun == (at_ns < 2 * WELL_ns)
    assert payloads is not None
    assert list(payloads) == names == ["current_1_A", "current_2_A", "current_3_A"]


@pytest.mark.parametrize(
    ("third_at_ns", "is_whole"), [(PARTS_ns - WELL_ns, True), (PARTS_ns - WELL_ns + 1, False)]
)
def test_reading_parts_that_lie_too_far_apart_are_no_reading(
    third_at_ns: int, is_whole: bool
) -> None:
    reading = Reading(quick_meter(), 1)
    refuse(reading, 2 * REFUSALS)
    for at_ns in (0, WELL_ns):
        reading.took(reading.next_step(), reply(GOOD, at_ns, bytes(4)))
    payloads = reading.took(reading.next_step(), reply(GOOD, third_at_ns, bytes(4)))
    assert (payloads is not None) == is_whole
    if not is_whole:
        assert reading.next_step().what == "current_1_A"


def test_reading_begins_anew_after_a_part_that_failed() -> None:
    reading = Reading(quick_meter(), 1)
    refuse(reading, 2 * REFUSALS)
    reading.took(reading.next_step(), reply(GOOD, 0, bytes(4)))
    reading.took(reading.next_step(), reply(Code.NOT_SENT))
    assert reading.next_step().what == "current_2_A"
    reading.took(reading.next_step(), reply(LOST))
    assert reading.next_step().what == "current_1_A"


def test_reading_never_takes_a_way_whose_parts_a_gap_keeps_too_far_apart() -> None:
    sdm630 = Reading(shipped_map("eastron-sdm630"), 1)
    assert [len(way.blocks) for way in sdm630.ways] == [1, 1]


# on a bus


def no_longer_than(n_registers: int) -> Any:
    def answer(exchange: Exchange) -> tuple[Code, bytes]:
        is_long = exchange.address == 1 and exchange.count > n_registers
        return (REFUSED, b"") if is_long else well(exchange)

    return answer


def singly(path: Path, **changes: Any) -> Bench:
    """One meter that knows single values only, and one charger; the fallback is behind them."""
    bench = Bench(path, 1, n_meters=1, **changes)
    bench.wire.answer = no_longer_than(2)
    for _ in range(2 * REFUSALS):
        bench.talk.begin()
        bench.talk.read()
        bench.talk.meter_results.clear()
    bench.wire.sent.clear()
    return bench


def test_talk_reads_the_rest_of_a_reading_where_no_timeout_would_be_missed(tmp_path: Path) -> None:
    bench = singly(tmp_path)
    bench.talk.begin()
    bench.talk.read_free_at_ns = bench.wire.now + 500 * MS_ns
    bench.talk.read()
    assert [e.register for e in bench.wire.sent if e.address == 1] == [0, 2, 4]
    assert bench.addresses()[:2] == [1, 11]  # the status block is not kept waiting by parts
    assert [(r.who, r.code) for r in bench.talk.meter_results] == [(0, GOOD)]


def test_talk_spreads_a_reading_over_phases_and_scans_where_there_is_no_room(
    tmp_path: Path,
) -> None:
    bench = singly(tmp_path)
    for _ in range(3):
        bench.talk.begin()
        bench.talk.read_free_at_ns = bench.wire.now
        bench.talk.read()
    assert [e.register for e in bench.wire.sent if e.address == 1] == [0, 2, 4]
    assert len(bench.talk.meter_results) == 1


def test_talk_reads_no_meter_but_in_the_read_phase(tmp_path: Path) -> None:
    """A value that was read after the step would be taken for one of the next scan."""
    bench = singly(tmp_path)
    bench.talk.begin()
    bench.talk.read_free_at_ns = bench.wire.now
    bench.talk.read()
    bench.wire.sent.clear()
    bench.talk.deadline_ns = bench.wire.now + S_ns
    bench.talk.look()
    assert 1 not in bench.addresses()
    assert bench.talk.meter_results == []


def test_talk_reads_on_part_by_part_as_far_as_each_surely_ends_in_time(tmp_path: Path) -> None:
    bench = singly(tmp_path)
    bench.talk.begin()
    part_ns = 33 * MS_ns  # silence, 17 characters and turnaround: 21.8 ms; taken are 20
    bench.talk.read_free_at_ns = bench.wire.now + 2 * WELL_ns + part_ns
    bench.talk.read()
    assert [e.register for e in bench.wire.sent if e.address == 1] == [0, 2]


def test_talk_part_of_a_reading_that_fails_is_the_failure_of_the_device(tmp_path: Path) -> None:
    bench = singly(tmp_path)
    bench.wire.answer = lambda e: (LOST, b"") if e.address == 1 else well(e)
    bench.talk.begin()
    bench.talk.read()
    assert [r.code for r in bench.talk.meter_results] == [LOST]


def test_talk_tells_of_a_device_that_refuses_its_block(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0, n_meters=1)
    bench.wire.answer = no_longer_than(2)
    bench.wire.exception_code = 3
    for _ in range(2 * REFUSALS):
        bench.talk.begin()
        bench.talk.read()
    told = [e for e in bench.snapshot()["events"] if e["kind"] == Event.SHORTER_READS]
    assert [(e["who"], e["first"], e["second"]) for e in told] == [(0, 3, 1), (0, 3, 3)]


# in a whole site


def site_that_refuses(path: Path, meter_max: int, charger_max: int) -> VirtualRig:
    visits = (Visit("bay1", 0), Visit("bay2", 0))
    scenario = Scenario(loads={"main": Load("constant", (5_000,) * 3)}, visits=visits)
    rig = VirtualRig(sim_sites.metered_site(2), scenario, path)
    rig.site.lines[0].devices[1].block_max = meter_max  # type: ignore[attr-defined]
    for address in (11, 12):
        rig.site.lines[0].devices[address].block_max = charger_max  # type: ignore[attr-defined]
    return rig


@pytest.mark.parametrize(("meter_max", "charger_max"), [(6, 4), (2, 1)])
def test_site_of_devices_that_refuse_their_blocks_charges_as_any_other(
    tmp_path: Path, meter_max: int, charger_max: int
) -> None:
    rig = site_that_refuses(tmp_path, meter_max, charger_max)
    rig.run_for(100 * S_ns)
    assert rig.snapshot()["scan"]["missed"] == 0
    assert rig.setpoints_mA() == [13_500, 13_500]
    assert rig.site.violations() == []
    found = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns())
    assert found["meters"]["grid"]["quality"] == "good"
    assert found["meters"]["grid"]["age_ms"] < 1000
    assert found["meters"]["grid"]["reads"].endswith("for it refuses a block")
    assert found["chargers"]["bay1"]["reads"].endswith("for it refuses a block")
    words = "grid refuses to be read in one block (exception 2)"
    assert any(words in event["text"] for event in found["events"])


def test_site_says_in_how_many_reads_a_well_device_is_read(tmp_path: Path) -> None:
    rig = VirtualRig(sim_sites.metered_site(2), Scenario(), tmp_path)
    rig.run_for(2 * S_ns)
    found = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns())
    assert found["meters"]["grid"]["reads"] == found["chargers"]["bay1"]["reads"] == "1 read"


def test_talk_two_blocks_of_one_meter_let_others_speak_in_the_gap_between(tmp_path: Path) -> None:
    raw = copy.deepcopy(shipped_maps()["reference-meter"])
    raw["blocks"] = {
        "first": {"read": 4, "address": 0, "count": 12, "confidence": "H"},
        "second": {"read": 4, "address": 18, "count": 2, "confidence": "H"},
    }
    for phase in (1, 2, 3):
        del raw["registers"][f"power_{phase}_W"]
    raw["timing"]["gap_ms"] = 60
    two = parse_map(raw, "two blocks")
    assert two.patience == Patience(10 * MS_ns, 80 * MS_ns, 60 * MS_ns, False)
    bench = Bench(tmp_path, 2, n_meters=1, meter=two)
    bench.wire.answer = lambda e: (GOOD, bytes(2 * e.count)) if e.address == 1 else well(e)
    bench.talk.read()
    assert bench.addresses() == [1, 11, 12, 1]
    assert bench.wire.idle_ns == 20 * MS_ns
