"""The outlet: setpoint to pilot to car, watchdog and fallback, in exact virtual time."""

import dataclasses

import pytest

from hw.sim.outlet import BoxFacts, Outlet, Visit

S = 1_000_000_000
FACTS = BoxFacts(
    rated_mA=32_000,
    hold_ns=0,
    power_on_setpoint_mA=0,
    power_on_fallback_mA=0,
    power_on_watchdog_ns=0,
)
CAR = Visit("bay", arrive_ns=0, take_mA=20_000, follow_ns=3 * S, rise_ns=S, wake_ns=2 * S)


def outlet(*visits: Visit, start_ns: int = 0, **facts: int) -> Outlet:
    return Outlet(dataclasses.replace(FACTS, **facts), visits, start_ns)


def at(box: Outlet, now_ns: int) -> Outlet:
    box.advance(now_ns)
    return box


def charging(car: Visit = CAR, setpoint_mA: int = 32_000, **facts: int) -> Outlet:
    """A box whose car has settled at `setpoint_mA` by 10 s."""
    box = outlet(car, **facts)
    box.write_setpoint(setpoint_mA, 0)
    return at(box, 10 * S)


def test_outlet_without_a_car_draws_nothing_and_says_a() -> None:
    box = outlet()
    box.write_setpoint(16_000, 0)
    assert (at(box, 60 * S).draw_mA, box.state, box.terminal_mA()) == (0, "A", (0, 0, 0))


def test_car_that_is_offered_current_draws_after_its_wake_up_delay() -> None:
    box = outlet(CAR)
    box.write_setpoint(16_000, S)
    assert (at(box, 3 * S - 1).draw_mA, box.state) == (0, "B")
    assert (at(box, 3 * S).draw_mA, box.state) == (16_000, "C")


def test_car_takes_less_than_offered() -> None:
    assert charging(setpoint_mA=32_000).draw_mA == 20_000


def test_car_offered_below_6_A_draws_nothing() -> None:
    assert charging(setpoint_mA=5_900).draw_mA == 0
    assert charging(setpoint_mA=6_000).draw_mA == 6_000


def test_car_told_less_follows_after_its_delay() -> None:
    box = charging(setpoint_mA=16_000)
    box.write_setpoint(10_000, 10 * S)
    assert at(box, 13 * S - 1).draw_mA == 16_000
    assert at(box, 13 * S).draw_mA == 10_000


def test_car_told_more_rises_after_its_delay() -> None:
    box = charging(setpoint_mA=8_000)
    box.write_setpoint(12_000, 10 * S)
    assert at(box, 11 * S - 1).draw_mA == 8_000
    assert at(box, 11 * S).draw_mA == 12_000


def test_car_never_rises_to_an_offer_that_was_withdrawn() -> None:
    box = charging(setpoint_mA=8_000)
    box.write_setpoint(16_000, 10 * S)
    box.write_setpoint(8_000, 10 * S + S // 2)
    assert at(box, 30 * S).draw_mA == 8_000


def test_car_told_less_and_more_again_before_it_followed_does_not_dip() -> None:
    box = charging(setpoint_mA=16_000)
    box.write_setpoint(8_000, 10 * S)
    box.write_setpoint(16_000, 11 * S)
    assert [at(box, t * S).draw_mA for t in (12, 13, 14, 20)] == [16_000] * 4


def test_car_told_less_twice_follows_each_in_its_time() -> None:
    box = charging(setpoint_mA=16_000)
    box.write_setpoint(10_000, 10 * S)
    box.write_setpoint(6_000, 11 * S)
    assert [at(box, t_ns).draw_mA for t_ns in (13 * S, 14 * S)] == [10_000, 6_000]


def test_result_does_not_depend_on_how_often_it_is_asked() -> None:
    often, seldom = charging(), charging()
    for box in (often, seldom):
        box.write_setpoint(10_000, 10 * S)
    for step in range(100, 200):
        often.advance(step * S // 10)
    assert at(often, 20 * S).draw_mA == at(seldom, 20 * S).draw_mA == 10_000


def test_car_arrives_leaves_and_the_next_one_comes() -> None:
    first = dataclasses.replace(CAR, arrive_ns=S, leave_ns=10 * S, wake_ns=0)
    second = dataclasses.replace(CAR, arrive_ns=20 * S, take_mA=8_000, wake_ns=0)
    box = outlet(first, second)
    box.write_setpoint(32_000, 0)
    seen = [(at(box, t_ns).state, box.draw_mA) for t_ns in (S - 1, S, 10 * S, 20 * S)]
    assert seen == [("A", 0), ("C", 20_000), ("A", 0), ("C", 8_000)]


def test_car_that_comes_to_a_taken_place_waits_until_it_is_free() -> None:
    first = dataclasses.replace(CAR, leave_ns=10 * S)
    second = dataclasses.replace(CAR, arrive_ns=5 * S, take_mA=8_000, wake_ns=0)
    box = outlet(first, second)
    box.write_setpoint(32_000, 0)
    assert [at(box, t * S).draw_mA for t in (6, 10)] == [20_000, 8_000]


def test_car_on_two_terminals_draws_on_two() -> None:
    box = charging(dataclasses.replace(CAR, terminals=(0, 2)), setpoint_mA=9_000)
    assert box.terminal_mA() == (9_000, 0, 9_000)


def test_box_that_holds_a_setpoint_moves_the_pilot_later() -> None:
    box = charging(setpoint_mA=16_000, hold_ns=S)
    box.write_setpoint(10_000, 10 * S)
    assert (at(box, 11 * S - 1).pilot_mA, box.in_force_mA) == (16_000, 10_000)
    assert at(box, 11 * S).pilot_mA == 10_000


def test_setpoint_above_the_rating_offers_the_rating() -> None:
    box = outlet()
    box.write_setpoint(80_000, 0)
    assert box.in_force_mA == 32_000


def test_watchdog_unfed_falls_to_the_fallback_at_its_time() -> None:
    box = outlet(power_on_watchdog_ns=10 * S, power_on_fallback_mA=6_000)
    box.write_setpoint(16_000, S)
    box.feed(S)
    assert (at(box, 11 * S - 1).in_force_mA, box.is_expired) == (16_000, False)
    assert (at(box, 11 * S).in_force_mA, box.is_expired) == (6_000, True)


def test_watchdog_fallback_raises_a_paused_box() -> None:
    box = outlet(CAR, power_on_watchdog_ns=10 * S, power_on_fallback_mA=6_000)
    assert at(box, 10 * S - 1).draw_mA == 0
    assert at(box, 12 * S).draw_mA == 6_000


def test_expired_watchdog_fed_without_a_new_setpoint_stays_at_the_fallback() -> None:
    box = outlet(power_on_watchdog_ns=10 * S, power_on_fallback_mA=6_000)
    box.write_setpoint(16_000, 0)
    at(box, 10 * S)
    box.feed(11 * S)
    assert box.in_force_mA == 6_000


def test_expired_watchdog_fed_after_a_new_setpoint_obeys_it() -> None:
    box = outlet(power_on_watchdog_ns=10 * S, power_on_fallback_mA=6_000)
    at(box, 10 * S)
    box.write_setpoint(8_000, 11 * S)
    assert box.in_force_mA == 6_000
    box.feed(11 * S)
    assert box.in_force_mA == 8_000


def test_could_counts_a_setpoint_that_only_waits_for_its_kick() -> None:
    box = outlet(power_on_watchdog_ns=10 * S)
    at(box, 10 * S)
    box.write_setpoint(8_000, 11 * S)
    assert (box.in_force_mA, box.could_mA()) == (0, 8_000)


def test_fallback_written_after_expiry_takes_effect() -> None:
    box = outlet(power_on_watchdog_ns=10 * S)
    at(box, 10 * S)
    box.write_fallback(7_000, 11 * S)
    assert (box.in_force_mA, box.pilot_mA) == (7_000, 7_000)


def test_watchdog_written_zero_is_off() -> None:
    box = outlet(power_on_watchdog_ns=10 * S)
    box.write_watchdog(0, S)
    assert at(box, 1_000 * S).is_expired is False


def test_could_keeps_the_old_setpoint_until_the_car_came_down() -> None:
    box = charging(setpoint_mA=16_000)
    box.write_setpoint(6_000, 10 * S)
    assert at(box, 13 * S - 1).could_mA() == 16_000
    assert at(box, 13 * S).could_mA() == 6_000


def test_could_of_a_car_below_its_new_setpoint_ends_with_its_belief() -> None:
    late = dataclasses.replace(CAR, take_mA=6_000, follow_ns=12 * S)
    box = charging(late, setpoint_mA=16_000)
    box.write_setpoint(10_000, 10 * S)
    assert (at(box, 15 * S - 1).could_mA(), at(box, 15 * S).could_mA()) == (16_000, 10_000)


def test_could_counts_a_setpoint_that_the_box_still_holds() -> None:
    box = outlet(hold_ns=2 * S)
    box.write_setpoint(16_000, 0)
    box.write_setpoint(6_000, S)
    assert [at(box, t * S).could_mA() for t in (1, 2, 3)] == [16_000, 16_000, 6_000]


@pytest.mark.parametrize(("after_ns", "could_mA"), [(24 * S - 1, 0), (24 * S, 6_000)])
def test_could_counts_the_fallback_a_follow_time_before_it_fires(
    after_ns: int, could_mA: int
) -> None:
    box = outlet(power_on_watchdog_ns=30 * S, power_on_fallback_mA=6_000)
    assert at(box, after_ns).could_mA() == could_mA


def test_box_shows_what_flowed_its_lag_ago() -> None:
    box = charging(setpoint_mA=16_000, lag_ns=S)
    box.write_setpoint(10_000, 10 * S)
    assert at(box, 13 * S).draw_mA == 10_000
    assert at(box, 14 * S - 1).shown_mA() == (16_000, 16_000, 16_000)
    assert at(box, 14 * S).shown_mA() == (10_000, 10_000, 10_000)


def test_box_that_was_never_asked_shows_what_flowed_its_lag_ago() -> None:
    """Events of its car, and one that comes from outside, at the same moment as the question."""
    box = outlet(dataclasses.replace(CAR, leave_ns=20 * S), lag_ns=S)
    box.write_setpoint(16_000, 0)
    assert at(box, 20 * S).draw_mA == 0
    assert box.shown_mA() == (16_000, 16_000, 16_000)
    assert at(box, 21 * S).shown_mA() == (0, 0, 0)


def test_box_without_lag_shows_what_flows() -> None:
    box = charging(setpoint_mA=16_000)
    box.power_off(0, 0, 0, 11 * S)
    assert box.shown_mA() == box.terminal_mA() == (0, 0, 0)


def test_box_with_lag_keeps_no_more_than_it_may_show() -> None:
    box = charging(setpoint_mA=16_000, lag_ns=S)
    for k in range(1000):
        box.write_setpoint(10_000 + 1000 * (k % 2), (20 + 10 * k) * S)
        at(box, (25 + 10 * k) * S)
    assert len(box._flowed) <= 2
