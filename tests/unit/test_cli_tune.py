"""`loadctl tune` from the command line to what a scan adopts, and to what is written into files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadctl import control
from loadctl.cli.main import cli
from loadctl.errors import CheckRefused, LoadctlError, NotRunning, UsageError
from loadctl.events import Event
from tests.support.running_site import site_text
from tests.support.tuned_site import TunedSite

TEXT = (
    "# the garage, as built\n"
    + site_text("/dev/null", 2)
    .replace("max_A = 16\n", "max_A = 16      # what the cable carries\n")
    .replace("limit_A = 63\n", "limit_A = 63     # the fuse\n")
    + "\n# the end\n"
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TunedSite]:
    found = TunedSite(tmp_path, TEXT)
    yield found
    found.close()


def tune(site: TunedSite, *words: str) -> str:
    """What was said on both streams."""
    command = ["tune", *words, "--runtime-dir", str(site.runtime_dir)]
    done = CliRunner().invoke(cli, command)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def tune_json(site: TunedSite, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tune(site, *words, "--json"))
    return found


PROOF = (
    "circuit.main L1: failsafe proof: 32 A (chargers 12 A + background 20 A) is above the limit of"
    " 30 A by 2 A; lower failsafe_A of bay1 (6 A), failsafe_A of bay2 (6 A), or background_A"
)
FLOOR = (
    "tuning.peak_hold_s: 5 s is below 8.5 s, its floor on this site: status age 2 s + meter lag"
    " 0 s + follow time 6.5 s"
)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["charger.bay1.max_A=17"], CheckRefused,
         "charger.bay1.max_A: 17 A is above 16 A, what the site file says"),
        (["charger.bay1.max_A=5"], CheckRefused,
         "charger.bay1.max_A: 5 is not within 6 A to 1000 A"),
        (["charger.bay1.max_A=1e999999"], CheckRefused,
         "charger.bay1.max_A: 1e999999 is not within 6 A to 1000 A"),
        (["charger.bay1.weight=-1e999999"], CheckRefused,
         "charger.bay1.weight: -1e999999 is not within 1 to 1000"),
        (["charger.bay1.max_A=8.05"], CheckRefused,
         "charger.bay1.max_A: 8.05 A is no multiple of 0.1 A, the step of reference-charger"),
        (["charger.bay1.min_A=7"], CheckRefused,
         "charger.bay1.min_A: 7 A is above 6 A, failsafe_A"),
        (["charger.bay1.min_A=7", "charger.bay2.weight=2"], CheckRefused,
         "charger.bay1.min_A: 7 A is above 6 A, failsafe_A"),
        (["circuit.main.margin_A=-1"], CheckRefused,
         "circuit.main.margin_A: -1 is not within 0 A to 10000 A"),
        (["circuit.main.limit_A=30"], CheckRefused, PROOF),
        (["circuit.main.limit_A=40,64,40"], CheckRefused,
         "circuit.main.limit_A L2: 64 A is above 63 A, what the site file says"),
        (["tuning.peak_hold_s=5"], CheckRefused, FLOOR),
        (["tuning.peak_holds=5"], UsageError,
         "there is no key 'tuning.peak_holds'; the nearest is tuning.peak_hold_s"),
        (["xyz=5"], UsageError, "there is no key 'xyz'; loadctl tune list names them"),
        (["tuning.trim_s=soon"], UsageError, "tuning.trim_s: 'soon' is no number of seconds"),
        (["tuning.trim_s=NaN"], UsageError, "tuning.trim_s: 'NaN' is no number of seconds"),
        (["tuning.trim_s=1,2"], UsageError, "tuning.trim_s: '1,2': one number is meant"),
        (["circuit.main.limit_A=1,2"], UsageError,
         "circuit.main.limit_A: '1,2': one number, or 3 such as 10,10,16, is meant"),
        (["tuning.trim_s=5", "tuning.trim_s=6"], UsageError, "tuning.trim_s: is set twice"),
        (["tuning.trim_s"], UsageError, "'tuning.trim_s' is not KEY=VALUE"),
        (["charger.bay1.enable=maybe"], UsageError,
         "charger.bay1.enable: 'maybe' is neither true nor false"),
        (["charger.bay1.weight=1.5"], UsageError,
         "charger.bay1.weight: '1.5' is no whole number"),
        (["--for", "800h", "tuning.trim_s=5"], UsageError,
         "--for: 800 h 0 min is above 744 h 0 min"),
    ],
)  # fmt: skip
def test_change_that_breaks_a_rule_is_refused_in_one_line(
    site: TunedSite, words: list[str], error: type[LoadctlError], said: str
) -> None:
    before = list(site.tuned.counts)
    with pytest.raises(error) as raised:
        tune(site, "set", *words)
    assert str(raised.value) == said
    assert (site.tuned.counts, site.events()) == (before, [])


def test_never_pause_needs_its_failsafe_current(tmp_path: Path) -> None:
    site = TunedSite(tmp_path, TEXT.replace("failsafe_A = 6", "failsafe_A = 0"))
    with pytest.raises(CheckRefused) as raised:
        tune(site, "set", "charger.bay1.never_pause=true")
    assert str(raised.value) == "charger.bay1.never_pause: yes: failsafe_A is below min_A"
    site.close()


def test_change_is_adopted_whole_said_in_words_and_journaled(site: TunedSite) -> None:
    words = ["charger.bay1.max_A=8", "circuit.main.limit_A=50,50,40", "charger.bay2.enable=off",
             "tuning.trim_s=5.5"]  # fmt: skip
    assert tune(site, "set", "--for", "10m", *words).splitlines() == [
        "accepted: charger.bay1.max_A 16 A -> 8 A, for 10 min",
        "accepted: circuit.main.limit_A 63 A -> 50, 50, 40 A, for 10 min",
        "accepted: charger.bay2.enable yes -> no, for 10 min",
        "accepted: tuning.trim_s 60 s -> 5.5 s, for 10 min",
    ]
    assert site.core.charger(0)["live_max_mA"] == 8_000
    assert site.core.circuit(0)["live_limit_mA"] == [50_000, 50_000, 40_000]
    assert site.core.charger(1)["is_enabled"] == 0
    assert site.core.site()["tuning"]["trim_ns"] == 5_500_000_000
    wait_for(lambda: len(site.events()) == 6)
    events = [(e["kind"], e["who"], e["first"], e["second"], e["third"]) for e in site.events()]
    assert events == [
        (Event.TUNED, 0, 32, 8_000, 16_000),
        (Event.TUNED, 0, 21, 50_000, 63_000),
        (Event.TUNED, 0, 22, 50_000, 63_000),
        (Event.TUNED, 0, 23, 40_000, 63_000),
        (Event.TUNED, 1, 35, 0, 1),
        (Event.TUNED, -1, 5, 5_500, 60_000),
    ]
    assert {event["fourth"] for event in site.events()} == {os.getuid()}


def wait_for(is_so: Any) -> None:
    end_s = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def test_change_for_a_time_falls_back_by_itself(site: TunedSite) -> None:
    tune(site, "set", "charger.bay1.weight=3")
    tune(site, "set", "--for", "0.2", "charger.bay1.weight=5")
    wait_for(lambda: site.core.charger(0)["live_weight"] == 3)
    wait_for(lambda: site.events()[-1]["kind"] == Event.FELL_BACK)
    last = site.events()[-1]
    assert (last["who"], last["first"], last["second"], last["third"]) == (0, 34, 3, 5)


def test_value_that_is_lifted_is_said(site: TunedSite) -> None:
    said = tune(site, "set", "tuning.car_follow_s=40")
    assert said.splitlines() == [
        "warning: tuning.peak_hold_s: 10 s counts as 42.5 s, its floor on this site: status age"
        " 2 s + meter lag 0 s + follow time 40.5 s",
        "accepted: tuning.car_follow_s 6 s -> 40 s",
    ]
    assert tune(site, "get", "tuning.peak_hold_s") == (
        "tuning.peak_hold_s = 42.5 s, site file 10 s, 42.5 s to 600 s, default 10 s\n"
    )


def test_get_and_list_say_what_counts_until_when_and_within_which_bounds(site: TunedSite) -> None:
    tune(site, "set", "--for", "1h", "charger.bay1.max_A=8")
    assert tune(site, "get", "charger.bay1.max_A") == (
        "charger.bay1.max_A = 8 A, for 60 min more, site file 16 A, 6 A to 16 A\n"
    )
    row = tune_json(site, "get", "charger.bay1.max_A")
    assert 3_590 < row.pop("for_s") <= 3_600
    assert row == {
        "value": 8, "site_value": 16, "default": None, "least": 6, "most": 16, "unit": "A",
        "does": "the most that a car is given",
        "depends": "never above the site file; not below min_A, failsafe_A",
    }  # fmt: skip
    said = tune(site, "list", "circuit.main.limit").splitlines()
    assert said == [
        "circuit.main.limit_A = 63 A, 32 A to 63 A",
        "    the most that the circuit may carry on this phase; never above the site file; not"
        " below what the failsafe proof needs",
    ]
    assert list(tune_json(site, "list", "charger.bay2")) == [
        f"charger.bay2.{key}"
        for key in ("min_A", "max_A", "priority", "weight", "enable", "never_pause")
    ]
    assert tune_json(site, "get", "circuit.main.limit_A")["least"] == 32
    assert tune(site, "set", "circuit.main.limit_A=32").startswith("accepted: ")
    assert len(tune_json(site, "list")) == 18 + 2 + 2 * 6
    assert tune_json(site, "get", "charger.bay2.enable")["value"] is True
    with pytest.raises(UsageError, match=r"the nearest is charger\.bay1\.max_A$"):
        tune(site, "list", "charger.bay1.maxA")


def test_revert_takes_back_some_or_all(site: TunedSite) -> None:
    assert tune(site, "revert") == "nothing is changed\n"
    tune(site, "set", "charger.bay1.max_A=8", "charger.bay1.weight=2", "tuning.trim_s=1")
    assert tune(site, "revert", "charger.bay1.max_A") == (
        "accepted: charger.bay1.max_A 8 A -> 16 A\n"
    )
    assert tune_json(site, "revert")["keys"] == {
        "tuning.trim_s": {"value": 60, "before": 1},
        "charger.bay1.weight": {"value": 1, "before": 2},
    }
    assert site.tuned.layers == {}
    assert site.link.tuned() == []
    with pytest.raises(UsageError, match=r"^there is no key 'charger.bay9.max_A'"):
        tune(site, "revert", "charger.bay9.max_A")


def test_revert_takes_back_more_than_a_scan_adopts_together(tmp_path: Path) -> None:
    site = TunedSite(tmp_path, site_text("/dev/null", 5))
    keys = ("max_A=9", "priority=2", "weight=2", "enable=false", "min_A=6")
    for i in range(1, 6):
        tune(site, "set", *(f"charger.bay{i}.{key}" for key in keys), "circuit.main.margin_A=1")
        tune(site, "set", "--for", "1h", f"charger.bay{i}.max_A=8", f"charger.bay{i}.min_A=6")
    n, most = len(site.tuned.layers), 12
    assert n > 2 * most
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadctl.cli.tune.MOST_STAGED", most)
        patch.setattr("loadctl.commands.MOST_STAGED", most)
        assert len(tune_json(site, "revert")["keys"]) == n
    assert site.tuned.layers == {}
    assert site.core.charger(4)["live_max_mA"] == 16_000
    site.close()


def test_name_with_an_equals_sign_is_tuned_as_well(tmp_path: Path) -> None:
    site = TunedSite(tmp_path, TEXT.replace("[charger.bay1]", '[charger."a=b"]'))
    assert tune(site, "set", "charger.a=b.max_A=8") == "accepted: charger.a=b.max_A 16 A -> 8 A\n"
    site.close()


def test_diff_says_what_would_be_lost(site: TunedSite) -> None:
    assert tune(site, "diff") == "nothing differs from the site file\n"
    tune(site, "set", "charger.bay1.max_A=8", "circuit.main.limit_A=60,60,50")
    tune(site, "set", "--for", "1h", "charger.bay2.weight=3")
    assert tune(site, "diff").splitlines() == [
        "circuit.main.limit_A  63 A -> 60, 60, 50 A, lost when the site stops",
        "charger.bay1.max_A  16 A -> 8 A, lost when the site stops",
        "charger.bay2.weight  1 -> 3, for 60 min more",
    ]
    tune(site, "save")
    assert tune(site, "diff").splitlines()[:2] == [
        "circuit.main.limit_A  63 A -> 60, 60, 50 A, saved",
        "charger.bay1.max_A  16 A -> 8 A, saved",
    ]
    site.path.unlink()
    assert tune_json(site, "diff")["charger.bay1.max_A"]["is_saved"] is False


# what a running scan says


def test_busy_scan_is_asked_again_for_a_moment(
    site: TunedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_to, n_busy = site.inbox.answer_to, 0

    def busy_at_first(data: bytes, peer: control.Peer) -> bytes:
        nonlocal n_busy
        n_busy += 1
        return control._busy_answer(data, peer) if n_busy <= 4 else answer_to(data, peer)

    monkeypatch.setattr(site.inbox, "answer_to", busy_at_first)
    assert tune(site, "set", "charger.bay1.weight=2") == "accepted: charger.bay1.weight 1 -> 2\n"
    assert n_busy > 4


def test_scan_that_stays_busy_is_said(site: TunedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "BUSY_WITHIN_s", 0.1)
    monkeypatch.setattr(site.inbox, "answer_to", control._busy_answer)
    with pytest.raises(CheckRefused) as raised:
        tune(site, "set", "charger.bay1.weight=2")
    assert str(raised.value) == "the running scan is busy with other commands; try again"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (control.Answer(control.Code.OUT_OF_BOUNDS, control.Field.STEP, 200, 200),
         "charger.bay1.max_A: refused by the running scan: no multiple of 0.2 A"),
        (control.Answer(control.Code.OUT_OF_BOUNDS, control.Field.VALUE, 6_000, 9_000),
         "charger.bay1.max_A: refused by the running scan: not within 6 A to 9 A"),
    ],
)  # fmt: skip
def test_scan_that_knows_another_bound_says_it(
    site: TunedSite, monkeypatch: pytest.MonkeyPatch, answer: control.Answer, said: str
) -> None:
    stage = site.tuned.stage
    monkeypatch.setattr(site.tuned, "stage", lambda c: answer if c.number == 32 else stage(c))
    with pytest.raises(CheckRefused) as raised:
        tune(site, "set", "charger.bay1.weight=2", "charger.bay1.max_A=10")
    assert str(raised.value) == said


def test_change_that_others_have_overtaken_is_refused_by_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what this command has read and its record somebody raised the minimum."""
    site = TunedSite(tmp_path, TEXT.replace("failsafe_A = 6", "failsafe_A = 0"))
    adopt = site.tuned.adopt

    def overtaken(*words: Any) -> control.Answer:
        adopt([control.Change(31, 0, 6_500)], None, 0, 0)
        return adopt(*words)

    monkeypatch.setattr(site.tuned, "adopt", overtaken)
    with pytest.raises(CheckRefused, match=r"^charger.bay1.max_A: refused beside what was changed"):
        tune(site, "set", "charger.bay1.max_A=6")
    site.close()


def test_site_that_does_not_run_takes_nothing(tmp_path: Path) -> None:
    site = TunedSite(tmp_path, TEXT)
    site.close()
    for words in (["list"], ["set", "tuning.trim_s=5"], ["save"], ["diff"], ["revert"]):
        with pytest.raises(NotRunning, match="not running"):
            tune(site, *words)
