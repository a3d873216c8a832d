"""The mode of the scan: every mode x every fact, against a table written by hand."""

import pytest

from loadctl.modes import FAILSAFE, RUN, START, Modes, Reason, reason_text

MISSED_LIMIT = 3
HEALTHY_SCANS = 4
GOOD, OVERRUN, SLEPT = "good", "overrun", "slept"

# mode before, good scans in a row, overruns counted, fact: mode, good scans, overruns after
TABLE = [
    (START, 0, 0, GOOD, START, 1, 0),
    (START, 3, 0, GOOD, RUN, 4, 0),
    (START, 3, 0, OVERRUN, START, 0, 1),
    (START, 1, 2, OVERRUN, FAILSAFE, 0, 3),
    (START, 3, 2, SLEPT, START, 0, 0),
    (RUN, 9, 0, GOOD, RUN, 10, 0),
    (RUN, 9, 0, OVERRUN, RUN, 0, 1),
    (RUN, 1, 1, GOOD, RUN, 2, 1),  # two good scans are not enough to forget an overrun
    (RUN, 2, 1, GOOD, RUN, 3, 0),  # as many as missed_limit are
    (RUN, 2, 1, OVERRUN, RUN, 0, 2),
    (RUN, 2, 2, OVERRUN, FAILSAFE, 0, 3),
    (RUN, 9, 0, SLEPT, START, 0, 0),
    (FAILSAFE, 0, 3, GOOD, FAILSAFE, 1, 3),
    (FAILSAFE, 2, 3, GOOD, FAILSAFE, 3, 0),
    (FAILSAFE, 3, 0, GOOD, RUN, 4, 0),
    (FAILSAFE, 3, 0, OVERRUN, FAILSAFE, 0, 1),
    (FAILSAFE, 3, 2, OVERRUN, FAILSAFE, 0, 3),
    (FAILSAFE, 3, 1, SLEPT, START, 0, 0),
]


@pytest.mark.parametrize("row", TABLE, ids=[f"{i}" for i in range(len(TABLE))])
def test_modes_fact_in_a_mode_leads_where_the_table_says(row: tuple[object, ...]) -> None:
    mode, n_good, n_overruns, fact, after, n_good_after, n_overruns_after = row
    modes = Modes(MISSED_LIMIT, HEALTHY_SCANS)
    modes.mode, modes.n_good, modes.n_overruns = mode, n_good, n_overruns
    assert modes.after(fact == OVERRUN, fact == SLEPT) == after
    assert (modes.mode, modes.n_good, modes.n_overruns) == (after, n_good_after, n_overruns_after)


def test_modes_of_a_fresh_scan_run_after_healthy_scans_and_not_before() -> None:
    modes = Modes(MISSED_LIMIT, HEALTHY_SCANS)
    facts = [modes.after(False, False) for _ in range(HEALTHY_SCANS)]
    assert facts == [START, START, START, RUN]


def test_modes_of_a_fresh_scan_fail_at_the_missed_limit_and_not_before() -> None:
    modes = Modes(MISSED_LIMIT, HEALTHY_SCANS)
    assert [modes.after(True, False) for _ in range(MISSED_LIMIT)] == [START, START, FAILSAFE]


# facts from the start on: what is said of the mode after them
REASONS = [
    ([], "arming and 0 of 4 good scans"),
    ([GOOD, GOOD], "arming and 2 of 4 good scans"),
    ([GOOD, OVERRUN, GOOD], "arming and 1 of 4 good scans"),
    ([GOOD] * 4, ""),
    ([GOOD] * 4 + [OVERRUN, OVERRUN], ""),
    ([GOOD] * 4 + [OVERRUN] * 3, "3 overruns; 0 good scans since"),
    ([GOOD] * 4 + [OVERRUN] * 3 + [GOOD] * 3, "3 overruns; 3 good scans since"),
    ([GOOD] * 4 + [OVERRUN] * 3 + [GOOD] * 3 + [OVERRUN], "4 overruns; 0 good scans since"),
    ([OVERRUN] * 3 + [GOOD] * 4, ""),
    ([OVERRUN] * 3 + [GOOD] * 4 + [OVERRUN] * 3, "3 overruns; 0 good scans since"),
    ([GOOD] * 4 + [SLEPT], "the machine slept; arming and 0 of 4 good scans"),
    ([SLEPT] + [GOOD] * 4, ""),
    ([SLEPT] + [GOOD] * 4 + [OVERRUN], ""),
]


@pytest.mark.parametrize(("facts", "words"), REASONS)
def test_modes_say_why(facts: list[str], words: str) -> None:
    modes = Modes(MISSED_LIMIT, HEALTHY_SCANS)
    for fact in facts:
        modes.after(fact == OVERRUN, fact == SLEPT)
    assert reason_text(*modes.why) == words


def test_modes_every_reason_has_words() -> None:
    assert [reason_text(reason, 1, 2) for reason in (Reason.TOLD_TO_STOP, Reason.GUARD_GONE)] == [
        "told to stop",
        "the guard is gone",
    ]
    assert all(reason_text(reason, 1, 2) for reason in Reason if reason is not Reason.NONE)
