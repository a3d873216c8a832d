"""What events say of changes, as a person reads them."""

from __future__ import annotations

import pytest

from loadctl.events import Event, event_text


@pytest.mark.parametrize(
    ("who", "first", "second", "third", "text"),
    [
        ("bay1", 32, 10_000, 16_000, "bay1 max_A 16 -> 10"),
        ("bay1", 35, 0, 1, "bay1 enable yes -> no"),
        ("main", 22, 40_500, 63_000, "main limit_A L2 63 -> 40.5"),
        ("", 1, 15_500, 10_000, "tuning peak_hold_s 10 -> 15.5"),
        ("", 3, 500, 2_000, "tuning ramp_A_per_s 2 -> 0.5"),
        ("bay2", 33, -3, 0, "bay2 priority 0 -> -3"),
    ],
)
def test_change_in_words(who: str, first: int, second: int, third: int, text: str) -> None:
    said = event_text(Event.TUNED, who, first, second, (), third, 1000)
    assert said == f"{text} by uid 1000"
    said = event_text(Event.FELL_BACK, who, first, second, (), third)
    assert said == f"{text}: its time is over"


def test_user_beyond_what_a_number_of_an_event_holds() -> None:
    assert event_text(Event.TUNED, "a", 34, 2, (), 1, -2).endswith("by uid 4294967294")
