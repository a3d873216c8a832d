"""The gap that one device needs is spent on the others: in every phase, and from phase to phase."""

from pathlib import Path

from hw.wire import Code, Exchange, Patience
from loadctl.arming import Stage
from loadctl.talk import FAR_ns
from tests.support.scan_rig import MS_ns
from tests.support.talk_bench import GOOD, Bench, GAP_ns, charger_map, well

GAPPED = charger_map(patience=Patience(10 * MS_ns, 80 * MS_ns, GAP_ns, False))
KICK = Exchange(11, 6, 900, 1, b"\x00\x01")


def armed_bench(path: Path, n_chargers: int) -> Bench:
    bench = Bench(path, n_chargers, used=GAPPED)
    for station in bench.chargers:
        station.arming.stage = Stage.ARMED
        station.arming.audited_at_ns = FAR_ns
    return bench


def test_talk_read_goes_on_to_status_blocks_while_a_meter_is_in_its_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2, n_meters=1)
    bench.talk.free_at_ns[1] = bench.wire.now + 30 * MS_ns
    bench.talk.read()
    assert bench.addresses() == [11, 12, 1]


def test_talk_read_fills_a_gap_with_the_next_status_which_then_needs_no_turn(
    tmp_path: Path,
) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.talk.n_status_per_scan = 1
    bench.talk.free_at_ns[11] = bench.wire.now + 45 * MS_ns
    bench.talk.read()
    assert bench.addresses() == [12, 11]  # a second one, 12 + 13, would not be over in time
    bench.talk.begin()
    bench.talk.read()
    assert bench.addresses()[2:] == [13]


def test_talk_takes_wait_for_a_gap_with_status_blocks_that_end_in_time(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 8)
    bench.talk.n_status_per_scan = 1
    bench.talk.read()
    bench.talk.orders.append(bench.order(0, 6_000))
    before_ns = bench.wire.now
    bench.talk.take()
    assert bench.addresses()[0] == bench.addresses()[-1] == 11
    assert len(bench.addresses()) >= 5
    written_at_ns = bench.talk.write_results[0].at_ns
    assert written_at_ns == before_ns + GAP_ns + bench.wire.takes_ns  # not a moment later


def test_talk_decrease_is_never_kept_waiting_for_a_status(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.talk.orders += [bench.order(i, 6_000) for i in range(3)]
    bench.talk.take()
    assert [e.function for e in bench.wire.sent] == [6, 6, 6]


def test_talk_spare_status_leaves_no_gap_open_at_the_give_point(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 8)
    bench.talk.deadline_ns = bench.talk.give_at_ns = 220 * MS_ns
    bench.talk.look()
    assert 1 <= len(bench.wire.sent) < 8
    assert bench.wire.now + GAP_ns <= bench.talk.give_at_ns


def test_talk_spare_status_may_end_at_the_give_point_where_nobody_needs_a_gap(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, 8)
    for station in bench.chargers:
        station.arming.stage = Stage.ARMED
        station.arming.audited_at_ns = FAR_ns
    bench.talk.deadline_ns = bench.talk.give_at_ns = 100 * MS_ns
    bench.talk.look()
    assert bench.wire.now > bench.talk.give_at_ns - 30 * MS_ns


def test_talk_looks_in_their_gap_let_further_status_blocks_go_first(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.talk.free_at_ns[11] = bench.wire.now + 45 * MS_ns
    bench.talk.looks.append(bench.chargers[0])
    bench.talk.look()
    assert bench.addresses() == [12, 11, 13]


def test_talk_gives_and_refreshes_go_out_as_gaps_end(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 4)
    bench.talk.free_at_ns[11] = bench.wire.now + 50 * MS_ns
    bench.talk.free_at_ns[13] = bench.wire.now + 30 * MS_ns
    bench.talk.orders += [bench.order(i, 9_000) for i in (0, 1)]
    bench.talk.refreshes += [bench.order(i, 9_000) for i in (2, 3)]
    bench.talk.give()
    assert bench.addresses() == [12, 14, 13, 11]
    assert [r.who for r in bench.talk.write_results] == [1, 0]
    assert [r.who for r in bench.talk.refresh_results] == [3, 2]


def test_talk_kick_waits_for_its_gap_while_others_are_given_something(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.chargers[0].kick = KICK
    bench.talk.orders += [bench.order(i, 9_000) for i in range(3)]
    bench.talk.give()
    assert bench.addresses() == [11, 12, 13, 11]
    assert bench.wire.sent[-1] == KICK
    assert bench.wire.now == 40 * MS_ns + GAP_ns  # 11 was free 100 ms after its raise


def test_talk_kick_of_a_decrease_goes_with_the_takes_where_it_need_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    bench.chargers[0].kick = KICK
    bench.talk.orders += [bench.order(i, 6_000) for i in range(2)]
    bench.talk.take()
    assert [(e.address, e.register) for e in bench.wire.sent] == [(11, 100), (12, 100), (11, 900)]


def test_talk_kick_fills_a_gap_before_any_status(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.chargers[2].kick = Exchange(13, 6, 900, 1, b"\x00\x01")
    bench.chargers[2].wants_kick = True
    bench.talk.free_at_ns[11] = bench.wire.now + 45 * MS_ns
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.take()
    assert bench.addresses() == [13, 11]


def test_talk_kick_that_cannot_be_sent_is_tried_once_and_left_for_later(tmp_path: Path) -> None:
    """On a port that is gone the answer comes at once: nothing may spin until the phase ends."""
    bench = armed_bench(tmp_path, 2)
    bench.chargers[1].kick = KICK
    bench.chargers[1].wants_kick = True
    bench.wire.answer = lambda exchange: (Code.NOT_SENT, b"")
    bench.talk.take()
    assert len(bench.wire.sent) == 1
    assert bench.chargers[1].wants_kick


def test_talk_bring_down_sends_its_orders_and_nothing_else(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 3)
    bench.chargers[0].kick = KICK
    bench.talk.free_at_ns[11] = bench.wire.now + 90 * MS_ns
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.send()
    assert bench.addresses() == [11]
    assert bench.talk.status_results == []


def test_talk_arming_spends_the_gaps_of_its_walk_on_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 3, used=GAPPED)
    bench.chargers[1].arming.stage = bench.chargers[2].arming.stage = Stage.ARMED
    for station in bench.chargers[1:]:
        station.arming.audited_at_ns = FAR_ns
    bench.wire.answer = lambda exchange: (GOOD, well(exchange)[1])
    bench.talk.look()
    assert bench.addresses()[:4] == [11, 12, 13, 11]


def test_talk_audit_is_not_kept_waiting_by_those_that_are_armed(tmp_path: Path) -> None:
    bench = armed_bench(tmp_path, 2)
    bench.chargers[1].arming.audited_at_ns = -FAR_ns
    bench.talk.free_at_ns[11] = bench.wire.now + 60 * MS_ns
    bench.talk.look()
    assert [(e.address, e.function) for e in bench.wire.sent] == [(12, 3)]


def test_talk_time_of_a_gap_on_the_bus_is_counted_for_everybody(tmp_path: Path) -> None:
    """30 ms of silence before each message to anybody: what fits a gap of 50 ms otherwise, does
    not."""
    wide = charger_map(patience=Patience(10 * MS_ns, 80 * MS_ns, 30 * MS_ns, True))
    bench = Bench(tmp_path, 2, used=wide)
    for station in bench.chargers:
        station.arming.stage = Stage.ARMED
        station.arming.audited_at_ns = FAR_ns
    bench.talk.free_at_ns[11] = bench.wire.now + 50 * MS_ns
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.take()
    assert bench.addresses() == [11]


def test_talk_device_that_fails_in_somebodys_gap_is_silent_and_asked_no_more(
    tmp_path: Path,
) -> None:
    bench = armed_bench(tmp_path, 2)
    bench.wire.answer = lambda e: (Code.NO_ANSWER, b"") if e.address == 12 else well(e)
    bench.talk.free_at_ns[11] = bench.wire.now + 90 * MS_ns
    bench.talk.orders.append(bench.order(0, 6_000))
    bench.talk.take()
    assert bench.addresses() == [12, 11]
    assert bench.chargers[1].is_silent
