"""The page on alarms has an entry for everything that a site can say, in the words that it says."""

import re

import pytest

from loadctl import events, reasons
from loadctl.guard import words
from tests.support.pages import ROOT

PAGE = (ROOT / "docs/alarms.md").read_text()
MARKS = (11_111, 22_222)


def entries(heading: str) -> dict[str, list[str]]:
    """The rows of one section by their names: words, danger, meaning, remedy."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    found = {row[0].strip("|` "): [cell.strip(" |") for cell in row[1:]] for row in rows}
    assert len(found) == len(rows)
    return found


def dotted(template: str) -> str:
    """What stands for a name, a number or a time is a dot on the page."""
    return re.sub(r"\{[^}]*\}", "…", template)


def guard_words(kind: int) -> str:
    said = words.event_words(kind, *MARKS)
    for mark in MARKS:
        said = said.replace(str(mark), "…")
    return said


REASON_NAMES = {
    code: name
    for name, code in vars(reasons).items()
    if name.isupper() and isinstance(code, int) and name != "KIND_POWER"
}
SECTIONS = {
    "Events of the scan": {kind.name: dotted(events._WORDS[kind]) for kind in events.Event},
    "Events of the guard": {kind.name: guard_words(kind) for kind in words.Happening},
    "Reasons of a charger": {
        REASON_NAMES[code]: dotted(text) for code, text in reasons._TEXTS.items()
    },
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_alarms_has_every_entry_and_no_other_in_the_words_of_the_program(heading: str) -> None:
    said = {name: row[0] for name, row in entries(heading).items()}
    assert said == SECTIONS[heading]


@pytest.mark.parametrize("heading", SECTIONS)
def test_alarms_says_of_each_whether_it_is_dangerous_and_what_to_do(heading: str) -> None:
    for name, (_, danger, meaning, remedy) in entries(heading).items():
        assert danger in ("no", "look", "now"), name
        assert len(meaning) > 10, name
        assert remedy != "-" or danger == "no", name  # what is not harmless has a remedy


def test_every_reason_has_words() -> None:
    """A code that a charger can have, and the page would not know."""
    assert set(REASON_NAMES) == set(reasons._TEXTS)
