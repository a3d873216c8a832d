"""Reaction: which steps count, and which decreases belong to them."""

from hw.sim.scenario import Load
from loadctl.timing.reaction import decreases_at_ns, reactions_of, rises_at_ns

LOW, HIGH = (1_000,) * 3, (2_000,) * 3
LOAD = Load("steps", LOW, every_ns=100, steps=(LOW, HIGH, HIGH, LOW))


def write(at_ns: int, charger: str, setpoint_mA: int) -> dict[str, object]:
    return {"at_ns": at_ns, "charger": charger, "setpoint_mA": setpoint_mA, "acknowledged": True}


def test_rises_are_steps_upward_that_began_and_ended_within_the_time() -> None:
    assert rises_at_ns(LOAD, 1_000, 1_000, 2_000) == [1_100, 1_500, 1_900]
    assert rises_at_ns(LOAD, 1_000, 1_101, 1_999) == [1_500]
    assert rises_at_ns(LOAD, 1_000, 1_000, 1_599) == [1_100]
    assert rises_at_ns(LOAD, 1_000, 1_000, 1_600) == [1_100, 1_500]


def test_rise_at_the_wrap_of_the_story_counts() -> None:
    load = Load("steps", HIGH, every_ns=100, steps=(HIGH, LOW))
    assert rises_at_ns(load, 0, 0, 500) == [200, 400]


def test_decreases_are_writes_below_the_one_before_to_the_same_charger() -> None:
    writes = [
        write(1, "a", 6_000),
        write(2, "b", 3_000),
        write(3, "a", 6_000),
        write(4, "a", 5_000),
        write(5, "b", 4_000),
        write(6, "b", 0),
    ]
    assert decreases_at_ns(writes) == [4, 6]


def test_reaction_ends_with_the_last_decrease_before_the_next_step() -> None:
    found = reactions_of([1_000, 1_500, 2_000], [1_000, 1_030, 1_080, 1_101, 2_100], 100)
    assert found == ((80, 100), 1)


def test_decrease_of_the_moment_of_the_rise_answers_the_one_before() -> None:
    assert reactions_of([1_000], [1_000], 100) == ((), 1)
