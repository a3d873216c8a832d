"""The numbers that the guard writes into the link, and what they say to a person."""

from loadctl.guard.words import CAUSE_WORDS, STATE_WORDS, Cause, Happening, State, event_words


def test_words_every_state_and_cause_has_some() -> None:
    assert set(STATE_WORDS) == set(State)
    assert set(CAUSE_WORDS) == set(Cause)


def test_words_every_event_has_some_and_an_unknown_one_its_number() -> None:
    found = [event_words(kind, 1, 2) for kind in Happening]
    assert len({*found}) == len(Happening)
    assert "" not in found
    assert event_words(99, 0, 0) == "event 99"


def test_words_say_how_a_scan_ended() -> None:
    assert event_words(Happening.SCAN_ENDED, -9, 0) == "the scan ended with signal 9"
    assert event_words(Happening.SCAN_ENDED, 1, 0) == "the scan ended with code 1"
