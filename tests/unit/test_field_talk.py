"""One bus on a scripted wire: the order of exchanges, and what is made of each outcome."""

from dataclasses import replace
from pathlib import Path

import pytest

from hw.wire import Code, Exchange, Patience
from loadctl.arming import AUDIT_ns, Stage
from loadctl.events import Event
from loadctl.stations import ChargerStation
from loadctl.talk import BusTalk
from tests.support.builders import make_charger
from tests.support.scan_rig import MS_ns, S_ns
from tests.support.talk_bench import (
    BAD,
    BUS,
    GOOD,
    LINE,
    LOST,
    Bench,
    GAP_ns,
    charger_map,
    well,
)

# order


def test_talk_orders_go_out_in_their_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 3)
    bench.talk.orders += [bench.order(i, 6_000) for i in (2, 0, 1)]
    bench.talk.send()
    assert bench.addresses() == [13, 11, 12]
    assert [(r.who, r.code) for r in bench.talk.write_results] == [(2, GOOD), (0, GOOD), (1, GOOD)]
    assert bench.talk.orders == []


def test_talk_gap_of_one_device_is_spent_on_the_others(tmp_path: Path) -> None:
    patience = Patience(10 * MS_ns, 80 * MS_ns, GAP_ns, False)
    bench = Bench(tmp_path, 3, used=charger_map(patience=patience))
    bench.talk.n_status_per_scan = 1
    bench.talk.read()  # status of 11
    bench.talk.orders += [bench.order(i, 6_000) for i in range(3)]
    bench.talk.send()
    assert bench.addresses() == [11, 12, 13, 11]


def test_talk_devices_that_are_all_in_their_gap_go_in_the_order_of_its_end(tmp_path: Path) -> None:
    patience = Patience(10 * MS_ns, 80 * MS_ns, GAP_ns, False)
    bench = Bench(tmp_path, 3, used=charger_map(patience=patience))
    bench.talk.read()
    bench.talk.orders += [bench.order(i, 6_000) for i in (1, 0, 2)]
    bench.talk.send()
    assert bench.addresses() == [11, 12, 13, 11, 12, 13]


def test_talk_status_rotation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 3)
    bench.talk.n_status_per_scan = 2
    for _ in range(3):
        bench.talk.begin()
        bench.talk.read()
    assert bench.addresses() == [11, 12, 13, 11, 12, 13]


def test_talk_look_reads_what_was_asked_first_then_arms_then_reads_the_rest(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 3)
    bench.chargers[0].arming.stage = Stage.ARMED
    bench.chargers[2].arming.stage = Stage.ARMED
    bench.talk.looks.append(bench.chargers[2])
    bench.talk.look()
    kinds = [(e.address, e.function) for e in bench.wire.sent]
    assert kinds[0] == (13, 4)
    assert {address for address, function in kinds[1:-2]} == {12}
    assert {function for _, function in kinds[1:-2]} == {3, 6}
    assert kinds[-2:] == [(11, 4), (12, 4)]
    assert bench.talk.status_results[0].who == 2


def armed_bench(path: Path, n_chargers: int) -> Bench:
    bench = Bench(path, n_chargers)
    for station in bench.chargers:
        station.arming.stage = Stage.ARMED
    bench.wire.now = AUDIT_ns
    return bench


def test_talk_look_audits_one_setting_in_a_scan_before_the_further_status_blocks(
    tmp_path: Path,
) -> None:
    bench = armed_bench(tmp_path, 2)
    bench.chargers[0].arming.audited_at_ns = 5
    for address in (12, 11, 12, 11):
        bench.wire.sent.clear()
        bench.talk.begin()
        bench.talk.look()
        first, *rest = bench.wire.sent
        assert (first.address, first.function) == (address, 3)
        assert [e.function for e in rest] == [4, 4]
        bench.wire.now += AUDIT_ns // 2 - 60 * MS_ns


def test_talk_audit_that_finds_something_else_marks_the_charger(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 1)
    bench.talk.look()  # the scripted box holds zeros
    assert bench.chargers[0].has_forgotten is True
    assert [(r.who, r.code) for r in bench.talk.answer_results] == [(0, GOOD)]


def test_talk_audit_leaves_silent_ones_and_those_in_their_gap_alone(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 2)
    bench.chargers[0].is_silent = True
    bench.talk.free_at_ns[12] = bench.wire.now + 1
    bench.talk.look()
    assert bench.wire.sent == []


def test_talk_audit_that_is_lost_is_a_silence(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 1)
    bench.wire.answer = lambda exchange: (LOST, b"")
    bench.talk.look()
    assert [e.function for e in bench.wire.sent] == [3]
    assert bench.chargers[0].is_silent is True
    assert bench.chargers[0].has_forgotten is False


def test_talk_charger_in_doubt_is_not_armed_before_its_setpoint_was_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    bench.chargers[0].sent_mA = 6_000
    bench.chargers[0].doubted()
    bench.talk.look()
    assert {e.function for e in bench.wire.sent} == {4}
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.send()
    bench.talk.look()
    assert 3 in {e.function for e in bench.wire.sent}


def test_station_that_is_starved_is_quiet(tmp_path: Path) -> None:
    station = Bench(tmp_path, 1).chargers[0]
    station.is_starved = True
    assert station.is_quiet is True


def test_talk_isolated_charger_is_never_talked_to(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    row = replace(bench.chargers[0].row, is_isolated=True)
    station = ChargerStation(0, 0, row, charger_map(), BUS)
    stations = [station, bench.chargers[1]]
    talk = BusTalk(bench.wire, LINE, 2, [], stations, bench.image, bench.guarded)
    talk.deadline_ns = 10**12
    for phase in (talk.read, talk.take, talk.look, talk.give):
        phase()
    assert set(bench.addresses()) == {12}


# deadlines


def test_talk_phase_ends_at_its_deadline_and_the_rest_is_not_sent(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 4)
    bench.talk.deadline_ns = 50 * MS_ns
    bench.talk.orders += [bench.order(i, 6_000) for i in range(4)]
    bench.talk.send()
    codes = [result.code for result in bench.talk.write_results]
    assert codes == [GOOD, GOOD, Code.NOT_SENT, Code.NOT_SENT]
    assert bench.wire.now == 40 * MS_ns
    assert [s.sent_mA for s in bench.chargers] == [6_000, 6_000, None, None]
    assert [s.is_silent for s in bench.chargers] == [False] * 4


def test_talk_meter_that_was_not_asked_keeps_its_quality(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0, n_meters=1)
    bench.talk.meters[0].code = GOOD
    bench.talk.deadline_ns = 0
    bench.talk.read()
    assert bench.talk.meter_results == []
    assert bench.talk.meters[0].code is GOOD
    assert bench.device(0)["n_not_sent"] == 1


# what an outcome means


@pytest.mark.parametrize("code", [LOST, BAD])
def test_talk_charger_that_fails_once_is_left_alone_for_the_rest_of_the_scan(
    tmp_path: Path, code: Code
) -> None:
    bench = Bench(tmp_path, 1)
    bench.wire.answer = lambda exchange: (code, b"")
    bench.talk.looks.append(bench.chargers[0])
    bench.talk.read()
    bench.talk.look()
    assert len(bench.wire.sent) == 1
    assert bench.chargers[0].is_silent is True
    assert [result.code for result in bench.talk.status_results] == [code]


def test_talk_refusal_is_an_answer_and_no_silence(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    bench.wire.answer = lambda exchange: (Code.REFUSED, b"")
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.send()
    assert bench.chargers[0].is_silent is False
    assert bench.chargers[0].is_acknowledged is False
    assert bench.device(0)["exception_code"] == 2


def test_talk_values_that_cannot_be_true_are_implausible(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, n_meters=1)
    bench.wire.answer = lambda exchange: (GOOD, b"\xff" * 2 * exchange.count)
    bench.talk.read()
    assert [(r.code, r.values) for r in bench.talk.meter_results] == [(Code.IMPLAUSIBLE, None)]
    assert [(r.code, r.values) for r in bench.talk.status_results] == [(Code.IMPLAUSIBLE, None)]
    assert bench.chargers[0].is_silent is False
    assert (bench.device(0)["n_implausible"], bench.device(1)["n_implausible"]) == (1, 1)


def test_talk_meter_value_is_stamped_after_and_status_before_its_exchange(tmp_path: Path) -> None:
    """So that a draw counts as later than a meter value only when all of it was."""
    bench = Bench(tmp_path, 1, n_meters=1)
    bench.talk.read()
    assert bench.talk.meter_results[0].at_ns == 20 * MS_ns
    assert bench.talk.status_results[0].at_ns == 20 * MS_ns
    assert bench.wire.now == 40 * MS_ns


def test_talk_decrease_counts_when_sent_and_a_raise_when_acknowledged(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    station = bench.chargers[0]
    for setpoint_mA, code, sent_mA in (
        (10_000, GOOD, 10_000),
        (6_000, Code.REFUSED, 6_000),
        (8_000, Code.REFUSED, 6_000),
        (8_000, GOOD, 8_000),
    ):
        bench.wire.answer = lambda exchange, code=code: (code, b"")  # type: ignore[misc]
        bench.talk.orders.append(bench.order(0, setpoint_mA))
        bench.talk.send()
        assert station.sent_mA == sent_mA


@pytest.mark.parametrize(
    ("setpoint_mA", "code", "before_frame", "after_frame"),
    [
        (8_000, GOOD, [8_000], [8_000]),
        (8_000, LOST, [8_000], []),
        (8_000, Code.REFUSED, [8_000], []),
        (12_000, GOOD, [], [12_000]),
        (12_000, LOST, [], []),
        (12_000, Code.REFUSED, [], []),
        (10_000, GOOD, [], [10_000]),
    ],
)
def test_talk_guard_is_told_decreases_before_their_frame_and_raises_after_their_answer(
    tmp_path: Path, setpoint_mA: int, code: Code, before_frame: list[int], after_frame: list[int]
) -> None:
    bench = Bench(tmp_path, 1)
    bench.chargers[0].sent_mA = 10_000
    told_at_frame: list[list[tuple[int, int]]] = []

    def answer(exchange: Exchange) -> tuple[Code, bytes]:
        told_at_frame.append(list(bench.guarded.tells))
        return code, b""

    bench.wire.answer = answer
    bench.talk.orders.append(bench.order(0, setpoint_mA))
    bench.talk.send()
    assert told_at_frame == [[(0, mA) for mA in before_frame]]
    assert bench.guarded.tells == [(0, mA) for mA in before_frame + after_frame]


def test_talk_guard_is_told_what_the_charger_still_has_when_a_decrease_never_left(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 1)
    bench.chargers[0].sent_mA = 10_000
    bench.talk.deadline_ns = 0
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.send()
    assert bench.guarded.told == {0: 10_000}


@pytest.mark.parametrize("code", [LOST, BAD])
def test_talk_arming_exchange_that_is_lost_is_a_silence(tmp_path: Path, code: Code) -> None:
    bench = Bench(tmp_path, 1)
    bench.wire.answer = lambda exchange: (code, b"")
    bench.talk.look()
    assert len(bench.wire.sent) == 1
    assert bench.chargers[0].is_silent is True
    assert [(r.who, r.code) for r in bench.talk.answer_results] == [(0, code)]


@pytest.mark.parametrize(
    ("watchdog_ns", "refresh_ns"),
    [(30 * S_ns, 10 * S_ns), (15 * S_ns, 5 * S_ns), (600 * S_ns, 10 * S_ns), (None, 10 * S_ns)],
)
def test_station_refreshes_within_a_third_of_its_watchdog_and_at_least_every_ten_seconds(
    watchdog_ns: int | None, refresh_ns: int
) -> None:
    row = make_charger("x", watchdog_ns=watchdog_ns)
    station = ChargerStation(0, 0, row, charger_map(), BUS)
    assert station.refresh_ns == refresh_ns
    station.wrote(6_000, GOOD, 0)
    station.is_written = False
    assert station.is_due(refresh_ns // 2 - 1) is False
    assert station.is_due(refresh_ns // 2) is True


# probes, kicks


def test_talk_probe_of_an_armed_charger_ends_its_silence_only_when_acknowledged(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 1)
    station = bench.chargers[0]
    station.was_armed, station.is_silent, station.sent_mA = True, True, 10_000
    station.arming.stage = Stage.ARMED
    for code in (LOST, BAD, Code.REFUSED):
        bench.wire.answer = lambda exchange, code=code: (code, b"")  # type: ignore[misc]
        bench.talk.probe_order = bench.order(0, 6_000)
        bench.talk.probe()
        assert station.is_silent is True
    bench.wire.answer = well
    bench.talk.probe_order = bench.order(0, 6_000)
    bench.talk.probe()
    assert station.is_silent is False
    assert station.arming.stage is Stage.CHECK  # armed anew before anything is raised
    assert len(bench.wire.sent) == 4


def silent_after_an_echo(path: Path, n_chargers: int) -> Bench:
    """All silent, so that nobody is read; what is acknowledged does not count."""
    bench = Bench(path, n_chargers)
    for station in bench.chargers:
        station.was_armed, station.is_silent, station.sent_mA = True, True, 10_000
        station.arming.stage = Stage.ARMED
    bench.wire.hears_itself = True

    def answer(exchange: Exchange) -> tuple[Code, bytes]:
        return (BAD, b"") if exchange.is_write and bench.wire.hears_itself else well(exchange)

    bench.wire.answer = answer
    return bench


def test_talk_probe_after_one_in_vain_reads_first_so_that_its_acknowledgement_counts(
    tmp_path: Path,
) -> None:
    bench = silent_after_an_echo(tmp_path, 1)
    answer = bench.wire.answer

    def read_clears(exchange: Exchange) -> tuple[Code, bytes]:
        bench.wire.hears_itself = bench.wire.hears_itself and exchange.is_write
        return answer(exchange)

    bench.wire.answer = read_clears
    for _ in range(2):
        bench.talk.probe_order = bench.order(0, 6_000)
        bench.talk.probe()
    assert [exchange.is_write for exchange in bench.wire.sent] == [True, False, True]
    assert bench.chargers[0].is_silent is False


def test_talk_probe_behind_an_adapter_that_always_echoes_still_writes_every_other_time(
    tmp_path: Path,
) -> None:
    bench = silent_after_an_echo(tmp_path, 2)
    for _ in range(3):
        for i in range(2):
            bench.talk.probe_order = bench.order(i, 6_000)
            bench.talk.probe()
    sent = [(exchange.address, exchange.is_write) for exchange in bench.wire.sent]
    reads, writes = [(11, False), (12, False)], [(11, True), (12, True)]
    assert sent == [*writes, *reads, *writes]
    codes = [result.code for result in bench.talk.refresh_results]
    assert codes == [BAD] * 2 + [Code.NOT_SENT] * 2 + [BAD] * 2
    assert [station.is_silent for station in bench.chargers] == [True, True]


@pytest.mark.parametrize("fed_by", ["any", "reads"])
def test_talk_probe_reads_no_silent_charger_whose_watchdog_that_would_feed(
    tmp_path: Path, fed_by: str
) -> None:
    bench = silent_after_an_echo(tmp_path, 1)
    station = bench.chargers[0]
    station.row = replace(station.row, watchdog_fed_by=fed_by)
    for _ in range(4):
        bench.talk.probe_order = bench.order(0, 6_000)
        bench.talk.probe()
    assert [exchange.is_write for exchange in bench.wire.sent] == [True] * 4


def test_talk_probe_is_no_part_of_the_takes_that_other_buses_wait_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    bench.chargers[0].is_silent = True
    bench.talk.probe_order = bench.order(0, 6_000)
    bench.talk.orders.append(bench.order(1, 6_000))
    bench.talk.take()
    assert bench.addresses() == [12]
    bench.talk.look()
    assert bench.addresses()[:2] == [12, 11]


def test_talk_charger_that_fell_silent_just_after_it_was_armed_is_probed_on(
    tmp_path: Path,
) -> None:
    """Nobody was told yet that it was armed, so its probes are the arming: it begins again."""
    bench = Bench(tmp_path, 1)
    station = bench.chargers[0]
    station.arming.stage = Stage.ARMED
    station.heard(LOST)
    bench.talk.probe_station = station
    bench.talk.probe()
    assert len(bench.wire.sent) == 1
    assert station.is_silent is False


def test_talk_silence_does_not_shorten_the_pause_after_a_failed_arming(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    station = bench.chargers[0]
    station.arming.done(Code.REFUSED, b"", 0)
    station.heard(LOST)
    assert station.arming.stage is Stage.FAILED


def test_talk_kick_follows_an_acknowledged_setpoint_and_comes_last(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    kick = Exchange(11, 6, 900, 1, b"\x00\x01")
    bench.chargers[0].kick = kick
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.refreshes.append(bench.order(1, 6_000))
    bench.talk.give()
    assert [e.address for e in bench.wire.sent] == [11, 12, 11]
    assert bench.wire.sent[-1] == kick
    bench.talk.give()
    assert len(bench.wire.sent) == 3  # once for each setpoint


def test_talk_kick_does_not_follow_a_setpoint_that_was_not_acknowledged(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    bench.chargers[0].kick = Exchange(11, 6, 900, 1, b"\x00\x01")
    bench.wire.answer = lambda exchange: (Code.REFUSED, b"")
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.give()
    assert len(bench.wire.sent) == 1


def test_talk_kick_that_found_no_room_waits_for_the_next_scan(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    bench.chargers[0].kick = Exchange(11, 6, 900, 1, b"\x00\x01")
    bench.talk.deadline_ns = 30 * MS_ns
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.give()
    assert len(bench.wire.sent) == 1
    bench.talk.deadline_ns = 10**12
    bench.talk.give()
    assert bench.wire.sent[-1].register == 900


# measured against the plan


def test_talk_reply_slower_than_the_plan_is_counted_and_its_record_is_an_event(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 1)
    station = bench.chargers[0]
    exchange = station.setpoint(6_000)
    planned_ns = 2 * LINE.bytes_ns(8) + 10 * MS_ns
    bench.talk._measure(station, exchange, planned_ns + MS_ns, 5)
    assert bench.snapshot()["scan"]["slow_replies"] == 0
    for more_ns in (2 * MS_ns, 3 * MS_ns, 2 * MS_ns):
        bench.talk._measure(station, exchange, planned_ns + more_ns, 5)
    seen = bench.snapshot()
    assert seen["scan"]["slow_replies"] == 3
    assert [event["first"] - planned_ns // 1000 for event in seen["events"]] == [2_000, 3_000]


@pytest.mark.parametrize(("count", "slow_replies"), [(20, 1), (22, 0)])
def test_talk_longer_read_of_a_meter_is_measured_as_what_it_is(
    tmp_path: Path, count: int, slow_replies: int
) -> None:
    """2.3 ms more on the wire, of which 1 ms is nobody's."""
    bench = Bench(tmp_path, 0, n_meters=1)
    took_ns = LINE.bytes_ns(8) + LINE.bytes_ns(5 + 2 * 22) + 10 * MS_ns
    bench.wire.takes_ns = took_ns
    bench.wire.answer = lambda exchange: (GOOD, bytes(2 * count))
    bench.talk.read()
    assert bench.snapshot()["scan"]["slow_replies"] == slow_replies


def test_talk_silent_charger_takes_no_turn_in_the_status_rotation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 3)
    bench.chargers[1].is_silent = True
    bench.talk.n_status_per_scan = 2
    for _ in range(2):
        bench.talk.begin()
        bench.talk.read()
    assert bench.addresses() == [11, 13, 11, 13]


def test_talk_tells_of_an_echo_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, n_meters=1)
    bench.wire.answer = lambda exchange: (BAD, b"")
    bench.wire.hears_itself = True
    for _ in range(2):
        bench.talk.begin()
        bench.talk.read()
    told = [e for e in bench.snapshot()["events"] if e["kind"] == Event.ECHO]
    assert [e["who"] for e in told] == [0]


def test_talk_says_nothing_of_an_echo_on_a_bus_without(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, n_meters=1)
    bench.talk.read()
    assert [e for e in bench.snapshot()["events"] if e["kind"] == Event.ECHO] == []
