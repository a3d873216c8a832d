"""The guard's decisions, without a clock: facts and times in, decisions and states out."""

from typing import Any

import pytest

from loadctl.errors import EXIT_BUS
from loadctl.guard.watch import Do, Facts, Terms, Watch
from loadctl.guard.words import Cause, State
from loadctl.units import NS_PER_MS, NS_PER_S

PERIOD_ns = 500 * NS_PER_MS
TERMS = Terms(PERIOD_ns, missed_limit=3, stop_within_ns=3 * NS_PER_S, take_within_ns=2 * NS_PER_S)
LIMIT_ns = 3 * PERIOD_ns
BEGIN_ns = 1_000 * NS_PER_S
CALM = Facts(
    scan_beat=0,
    ready=0,
    has_process=True,
    exit_code=None,
    is_down=True,
    is_verified=True,
    is_parked=True,
    n_unanswered=0,
    must_stop=False,
)


def facts(**changes: Any) -> Facts:
    if changes.get("exit_code") is not None:
        changes.setdefault("has_process", False)
    return CALM._replace(**changes)


def begun(terms: Terms = TERMS) -> Watch:
    watch = Watch(terms, BEGIN_ns)
    assert watch.begin(BEGIN_ns) == [Do.START]
    return watch


def watching(terms: Terms = TERMS) -> Watch:
    """A scan that has the token since BEGIN_ns and has beaten once then."""
    watch = begun(terms)
    assert watch.update(facts(ready=1), BEGIN_ns) == [Do.TOKEN]
    assert watch.update(facts(ready=1, scan_beat=1), BEGIN_ns) == []
    assert (watch.state, watch.cause) == (State.WATCHING, Cause.NONE)
    return watch


def dead(watch: Watch, at_ns: int) -> None:
    """The scan ends, and the failsafe setpoints are written."""
    assert watch.update(facts(exit_code=-9), at_ns) == [Do.TAKE]
    assert watch.update(facts(exit_code=-9, is_down=True), at_ns) == []


def test_watch_scan_that_is_not_ready_yet_is_waited_for() -> None:
    watch = begun()
    assert watch.update(facts(), BEGIN_ns + TERMS.ready_within_ns - 1) == []
    assert watch.state is State.STARTING


def test_watch_scan_that_is_ready_from_an_earlier_start_gets_no_token() -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    assert watch.update(facts(exit_code=-9, ready=1), BEGIN_ns) == [Do.START]
    assert watch.update(facts(ready=1), BEGIN_ns + 1) == []
    assert watch.update(facts(ready=2), BEGIN_ns + 2) == [Do.PARK]


def test_watch_first_scan_not_ready_in_time_is_killed_and_the_buses_are_taken() -> None:
    watch = begun()
    assert watch.update(facts(), BEGIN_ns + TERMS.ready_within_ns) == [Do.KILL, Do.TAKE]
    assert (watch.state, watch.cause) == (State.TAKEOVER, Cause.NOT_READY)


def test_watch_first_scan_that_ends_before_it_was_ready_needs_no_kill() -> None:
    watch = begun()
    assert watch.update(facts(exit_code=1), BEGIN_ns + 1) == [Do.TAKE]
    assert (watch.state, watch.cause) == (State.TAKEOVER, Cause.SCAN_ENDED)


def test_watch_heartbeat_unchanged_for_missed_limit_periods_is_a_takeover_and_not_before() -> None:
    watch = watching()
    assert watch.update(facts(scan_beat=1), BEGIN_ns + LIMIT_ns - 1) == []
    assert watch.update(facts(scan_beat=1), BEGIN_ns + LIMIT_ns) == [Do.KILL, Do.TAKE]
    assert (watch.state, watch.cause, watch.n_takeovers) == (State.TAKEOVER, Cause.SCAN_LATE, 1)
    assert watch.silent_ns == LIMIT_ns


def test_watch_every_change_of_the_heartbeat_counts_anew() -> None:
    watch = watching()
    for beat in range(2, 6):
        at_ns = BEGIN_ns + beat * (LIMIT_ns - 1)
        assert watch.update(facts(scan_beat=beat), at_ns) == []
    assert watch.update(facts(scan_beat=5), at_ns + LIMIT_ns - 1) == []
    assert watch.update(facts(scan_beat=5), at_ns + LIMIT_ns) == [Do.KILL, Do.TAKE]


def test_watch_heartbeat_that_wraps_is_a_change() -> None:
    watch = watching()
    watch.update(facts(scan_beat=2**32 - 1), BEGIN_ns + 1)
    assert watch.update(facts(scan_beat=0), BEGIN_ns + LIMIT_ns) == []
    assert watch.state is State.WATCHING


def test_watch_first_beat_is_due_a_period_later_than_the_others() -> None:
    watch = begun()
    watch.update(facts(ready=1, scan_beat=7), BEGIN_ns)
    assert watch.update(facts(scan_beat=7), BEGIN_ns + LIMIT_ns + PERIOD_ns - 1) == []
    assert watch.update(facts(scan_beat=7), BEGIN_ns + LIMIT_ns + PERIOD_ns) == [Do.KILL, Do.TAKE]


def test_watch_guard_that_was_held_up_itself_looks_before_it_judges() -> None:
    watch = watching()
    assert watch.update(facts(scan_beat=9), BEGIN_ns + 100 * LIMIT_ns) == []
    assert watch.state is State.WATCHING


def test_watch_scan_that_ended_is_a_takeover_at_once() -> None:
    watch = watching()
    assert watch.update(facts(exit_code=0), BEGIN_ns + 1) == [Do.TAKE]
    assert (watch.state, watch.cause) == (State.TAKEOVER, Cause.SCAN_ENDED)


def test_watch_takeover_holds_once_every_bus_is_down() -> None:
    watch = watching()
    watch.update(facts(exit_code=-9), BEGIN_ns)
    assert watch.update(facts(exit_code=-9, is_down=False), BEGIN_ns + NS_PER_S) == []
    assert watch.state is State.TAKEOVER
    assert watch.update(facts(exit_code=-9), BEGIN_ns + NS_PER_S) == []
    assert watch.state is State.HOLDING


def test_watch_first_restart_is_at_once_the_second_after_five_seconds() -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    assert watch.update(facts(exit_code=-9), BEGIN_ns) == [Do.START]
    assert watch.generation == 2
    back_ns = BEGIN_ns + NS_PER_S
    assert watch.update(facts(ready=2), back_ns) == [Do.PARK]
    assert watch.update(facts(ready=2), back_ns) == [Do.TOKEN]
    dead(watch, back_ns)
    assert watch.update(facts(exit_code=-9), back_ns + 5 * NS_PER_S - 1) == []
    assert watch.update(facts(exit_code=-9), back_ns + 5 * NS_PER_S) == [Do.START]
    assert (watch.n_restarts, watch.n_takeovers) == (2, 2)


def crashed_thrice() -> Watch:
    watch = watching()
    dead(watch, BEGIN_ns)
    watch.update(facts(exit_code=-9), BEGIN_ns)
    assert watch.update(facts(exit_code=1), BEGIN_ns + 1) == [Do.HOLD]
    assert watch.state is State.HOLDING
    again_ns = BEGIN_ns + 1 + 5 * NS_PER_S
    assert watch.update(facts(exit_code=1), again_ns) == [Do.START]
    assert watch.update(facts(exit_code=1), again_ns) == [Do.HOLD]
    return watch


def test_watch_third_restart_within_ten_minutes_waits_ten_minutes_then_begins_anew() -> None:
    watch = crashed_thrice()
    assert watch.state is State.STABLE
    until_ns = BEGIN_ns + 1 + 605 * NS_PER_S
    assert watch.next_restart_at_ns == until_ns
    assert watch.update(facts(exit_code=1), until_ns - 1) == []
    assert watch.update(facts(exit_code=1), until_ns) == [Do.START]
    assert watch.state is State.HOLDING
    assert watch.update(facts(exit_code=1), until_ns + 1) == [Do.HOLD]
    assert (watch.state, watch.next_restart_at_ns) == (State.HOLDING, until_ns + 1)


def test_watch_ends_further_apart_than_the_window_do_not_add_up() -> None:
    watch = watching()
    at_ns = BEGIN_ns
    for generation in range(2, 8):
        dead(watch, at_ns)
        assert watch.update(facts(exit_code=-9), at_ns) == [Do.START]
        watch.update(facts(ready=generation), at_ns)
        assert watch.update(facts(ready=generation), at_ns) == [Do.TOKEN]
        at_ns += TERMS.crash_window_ns + 1


def test_watch_scan_that_was_not_reaped_is_not_replaced() -> None:
    watch = watching()
    watch.update(facts(scan_beat=1), BEGIN_ns + LIMIT_ns)
    watch.update(facts(), BEGIN_ns + LIMIT_ns)
    assert watch.state is State.HOLDING
    assert watch.update(facts(), BEGIN_ns + 100 * LIMIT_ns) == []
    assert watch.update(facts(exit_code=-9), BEGIN_ns + 100 * LIMIT_ns) == [Do.START]


def test_watch_token_is_given_only_when_every_bus_is_parked() -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    watch.update(facts(exit_code=-9), BEGIN_ns)
    assert watch.update(facts(ready=2, is_parked=False), BEGIN_ns + 1) == [Do.PARK]
    assert watch.update(facts(ready=2, is_parked=False), BEGIN_ns + 2) == []
    token_ns = BEGIN_ns + 3 * NS_PER_S
    assert watch.update(facts(ready=2), token_ns) == [Do.TOKEN]
    assert (watch.state, watch.last_restart_ns) == (State.WATCHING, 3 * NS_PER_S)


def test_watch_scan_that_dies_while_the_buses_are_parked_is_held_again() -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    watch.update(facts(exit_code=-9), BEGIN_ns)
    watch.update(facts(ready=2, is_parked=False), BEGIN_ns + 1)
    assert watch.update(facts(ready=2, exit_code=1), BEGIN_ns + 2) == [Do.HOLD]
    assert (watch.state, watch.cause) == (State.HOLDING, Cause.SCAN_ENDED)
    assert watch.update(facts(ready=2, exit_code=1), BEGIN_ns + 2 + 5 * NS_PER_S) == [Do.START]
    assert watch.update(facts(ready=2), BEGIN_ns + 6 * NS_PER_S) == []


def test_watch_restarted_scan_that_is_not_ready_in_time_is_killed_and_counted() -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    watch.update(facts(exit_code=-9), BEGIN_ns)
    late_ns = BEGIN_ns + TERMS.ready_within_ns
    assert watch.update(facts(), late_ns - 1) == []
    assert watch.update(facts(), late_ns) == [Do.KILL, Do.HOLD]
    assert (watch.cause, watch.n_takeovers) == (Cause.NOT_READY, 1)
    assert watch.next_restart_at_ns == late_ns + 5 * NS_PER_S


def test_watch_told_to_stop_asks_the_scan_and_ends_when_it_ended_well() -> None:
    watch = watching()
    assert watch.update(facts(must_stop=True), BEGIN_ns) == [Do.ASK_STOP]
    assert (watch.state, watch.cause) == (State.STOPPING, Cause.STOP)
    stop = {"must_stop": True}
    assert watch.update(facts(**stop), BEGIN_ns + TERMS.stop_within_ns - 1) == []
    assert watch.update(facts(exit_code=0, **stop), BEGIN_ns + NS_PER_S) == [Do.END]
    assert watch.exit_code == 0


def test_watch_scan_that_hangs_while_it_is_told_to_stop_is_late_as_ever() -> None:
    watch = watching()
    stop = {"must_stop": True, "scan_beat": 1}
    assert watch.update(facts(**stop), BEGIN_ns + LIMIT_ns - 2) == [Do.ASK_STOP]
    assert watch.update(facts(**stop), BEGIN_ns + LIMIT_ns - 1) == []
    assert watch.update(facts(**stop), BEGIN_ns + LIMIT_ns) == [Do.KILL, Do.TAKE]


def test_watch_scan_that_beats_while_it_stops_is_waited_for() -> None:
    watch = watching()
    watch.update(facts(must_stop=True, scan_beat=1), BEGIN_ns + LIMIT_ns - 2)
    stop = {"must_stop": True, "scan_beat": 2}
    assert watch.update(facts(**stop), BEGIN_ns + LIMIT_ns - 1) == []
    assert watch.update(facts(**stop), BEGIN_ns + LIMIT_ns) == []


@pytest.mark.parametrize(
    ("found", "after_ns", "todo"),
    [
        ({"exit_code": 1}, 1, [Do.TAKE]),
        ({"exit_code": -11}, 1, [Do.TAKE]),
        ({}, TERMS.stop_within_ns, [Do.KILL, Do.TAKE]),
    ],
)
def test_watch_scan_that_does_not_stop_well_is_taken_over_once(
    found: dict[str, Any], after_ns: int, todo: list[Do]
) -> None:
    watch = watching()
    watch.update(facts(must_stop=True), BEGIN_ns)
    at_ns = BEGIN_ns + after_ns
    assert watch.update(facts(must_stop=True, **found), at_ns) == todo
    found["exit_code"] = found.get("exit_code", -9)
    assert watch.update(facts(is_verified=False, **found), at_ns + 1) == []
    assert watch.update(facts(**found), at_ns + 1) == [Do.END]
    assert watch.exit_code == 0


def test_watch_stop_with_a_charger_that_did_not_acknowledge_is_no_good_end() -> None:
    watch = watching()
    watch.update(facts(must_stop=True), BEGIN_ns)
    watch.update(facts(exit_code=1), BEGIN_ns)
    assert watch.update(facts(exit_code=1, n_unanswered=1), BEGIN_ns) == [Do.END]
    assert watch.exit_code == EXIT_BUS


def test_watch_stop_waits_for_a_bounded_time_for_the_buses() -> None:
    watch = watching()
    watch.update(facts(must_stop=True), BEGIN_ns)
    watch.update(facts(exit_code=1), BEGIN_ns)
    hangs = facts(exit_code=1, is_verified=False)
    assert watch.update(hangs, BEGIN_ns + TERMS.take_within_ns - 1) == []
    assert watch.update(hangs, BEGIN_ns + TERMS.take_within_ns) == [Do.END]
    assert watch.exit_code == EXIT_BUS


@pytest.mark.parametrize(("has_process", "todo"), [(True, [Do.KILL, Do.TAKE]), (False, [Do.TAKE])])
def test_watch_told_to_stop_without_a_scan_at_work_writes_failsafe_itself(
    has_process: bool, todo: list[Do]
) -> None:
    watch = watching()
    dead(watch, BEGIN_ns)
    watch.update(facts(exit_code=-9), BEGIN_ns)
    code = None if has_process else -9
    found = facts(has_process=has_process, exit_code=code, must_stop=True)
    assert watch.update(found, BEGIN_ns + 1) == todo
    assert watch.state is State.STOPPING
    assert watch.update(found, BEGIN_ns + 2) == [Do.END]


def test_watch_told_to_stop_before_the_first_token_writes_failsafe_itself() -> None:
    watch = begun()
    assert watch.update(facts(must_stop=True), BEGIN_ns + 1) == [Do.KILL, Do.TAKE]


@pytest.mark.parametrize(
    ("state", "age_ns", "healthy"),
    [
        (State.WATCHING, 10**15, True),
        (State.HOLDING, 10**15, True),
        (State.STABLE, 10**15, True),
        (State.STARTING, 60 * NS_PER_S - 1, True),
        (State.STARTING, 60 * NS_PER_S, False),
        (State.TAKEOVER, 7 * NS_PER_S - 1, True),
        (State.TAKEOVER, 7 * NS_PER_S, False),
        (State.STOPPING, 7 * NS_PER_S - 1, True),
        (State.STOPPING, 7 * NS_PER_S, False),
    ],
)
def test_watch_vouches_for_what_lasts_and_for_what_is_under_way_a_bounded_time(
    state: State, age_ns: int, healthy: bool
) -> None:
    watch = Watch(TERMS, BEGIN_ns)
    watch.state = state
    assert watch.is_healthy(BEGIN_ns + age_ns) is healthy
