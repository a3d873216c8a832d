"""What a scrape brings: names, units, values, histograms; and nothing of a site that is down."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code
from loadctl import tables as plain
from loadctl.errors import LoadctlError
from loadctl.guard.words import Cause, State
from loadctl.image import bin_end_ns
from loadctl.link import Link
from loadctl.metrics.collect import buckets, is_good
from loadctl.metrics.families import SPECS
from loadctl.metrics.serve import MetricsServer
from loadctl.runtime import SiteDir
from loadctl.status import StatusReader
from tests.support import scraped, sim_sites
from tests.support.scan_rig import S_ns, VirtualRig
from tests.support.watched_site import WatchedSite

DASHBOARD = Path(__file__).resolve().parents[2] / "docs/grafana/loadctl.json"
PAGE = DASHBOARD.parents[1] / "metrics.md"
METRIC = re.compile(r"\bloadctl_[a-z0-9_]+")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SITE = "simulated"
UNITS = ("seconds", "amperes", "watts", "volts", "ratio", "coulombs")
# Of what is read from the image nothing may stand there when the scan does not publish.
LEFT_OF_A_SITE_THAT_IS_DOWN = {
    "loadctl_up", "loadctl_image_age_seconds", "loadctl_site_info", "loadctl_guard_up",
}  # fmt: skip


class RunningSite:
    """A scan in virtual time; its clock is that of the metrics too."""

    def __init__(self, folder: Path) -> None:
        self.site = WatchedSite(folder)
        tables = sim_sites.metered_site(2, fuse_type="B", fuse_rated_mA=32_000)
        visits = (Visit("bay1", 0, take_mA=10_000),)
        load = Load("constant", (5_000,) * 3)
        scenario = Scenario(loads={"main": load}, visits=visits)
        self.rig = VirtualRig(tables, scenario, self.site.site_dir.path)
        self.rig.run_for(60 * S_ns)
        self.site.site_dir.tables.write_text(plain.dump(tables))
        self.late_ns = 0

    def now_ns(self) -> int:
        return int(self.rig.snapshot()["scan"]["published_at_ns"]) + self.late_ns


def link_of(running: RunningSite, state: State) -> None:
    """The word of a guard: this process."""
    link = Link.create(running.site.site_dir.link, 2, 1)
    link.state(state, Cause.NONE, 0, 0, os.getpid(), os.getpid())
    link.count(3, 2, 80_000_000, 0)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningSite]:
    found = RunningSite(tmp_path)
    yield found
    found.site.end()


@pytest.fixture
def server(running: RunningSite, tmp_path: Path) -> Iterator[MetricsServer]:
    with scraped.serving([tmp_path], now_ns=running.now_ns) as found:
        yield found


def test_values_are_those_of_the_image_in_base_units(
    running: RunningSite, server: MetricsServer
) -> None:
    seen, image = scraped.get(server), running.rig.snapshot()
    assert seen.status == 200
    assert seen.value("loadctl_up") == 1
    bay1, main = image["chargers"][0], image["circuits"][0]
    setpoint_A = seen.value("loadctl_charger_setpoint_amperes", charger="bay1", circuit="main")
    assert setpoint_A == bay1["setpoint_mA"] / 1000 > 0
    for p, phase in enumerate(("L1", "L2", "L3")):
        on_main = {"circuit": "main", "phase": phase}
        assert seen.value("loadctl_circuit_limit_amperes", **on_main) == 32
        background_A = main["background_mA"][p] / 1000
        assert seen.value("loadctl_circuit_background_amperes", **on_main) == background_A
        assert seen.value("loadctl_circuit_load_amperes", **on_main) == 15
        assert seen.value("loadctl_meter_current_amperes", meter="grid", phase=phase) == 15
        assert seen.value("loadctl_charger_draw_amperes", charger="bay1", phase=phase) == 10
        heat = seen.value("loadctl_circuit_fuse_heat_ratio", **on_main)
        assert heat == main["heat_permille"][p] / 1000
    assert seen.value("loadctl_scan_period_seconds") == 0.5
    assert seen.value("loadctl_scans_total") == image["scan"]["scans"] == 120
    assert seen.value("loadctl_mode", mode="run") == 1
    assert sum(seen.all("loadctl_mode")) == 1
    assert seen.value("loadctl_charger_state", charger="bay1", state="C") == 1
    assert sum(seen.all("loadctl_charger_state", charger="bay1")) == 1
    assert seen.value("loadctl_charger_rule", charger="bay2", rule="no_car", binding="") == 1
    coulombs = seen.value("loadctl_charger_session_charge_coulombs", charger="bay1")
    assert coulombs == bay1["taken_mAms"] / 1e6 > 100
    good = seen.value("loadctl_meter_exchanges_total", meter="grid", bus="one", result="good")
    assert good == image["devices"][0]["n_good"]
    assert seen.value("loadctl_site_info", hash=image["site_hash"]) == 1


def test_spans_are_real_histograms(running: RunningSite, server: MetricsServer) -> None:
    seen, spans = scraped.get(server), running.rig.snapshot()["scan"]["spans"]
    for name, span in spans.items():
        found = [
            (float(dict(at)["le"]), value)
            for (metric, at), value in seen.values().items()
            if metric == "loadctl_scan_span_seconds_bucket" and ("span", name) in at
        ]
        found.sort()
        counts = [value for _, value in found]
        assert counts == sorted(counts)
        assert counts[-1] == 120 == seen.value("loadctl_scan_span_seconds_count", span=name)
        total_s = seen.value("loadctl_scan_span_seconds_sum", span=name)
        assert total_s == pytest.approx(span["total_ns"] / 1e9)
        assert total_s <= 120 * span["worst_ns"] / 1e9 + 1e-9
    assert seen.value("loadctl_scan_span_seconds_sum", span="whole") > 1


def test_buckets_hold_what_is_shorter_than_their_end() -> None:
    bins = [0] * 192
    bins[7], bins[8], bins[191] = 3, 2, 1
    found = buckets(bins)
    assert found[0] == (str(bin_end_ns(7) / 1e9), 3.0)
    assert found[1] == (str(bin_end_ns(15) / 1e9), 5.0)
    assert (found[-2][1], found[-1]) == (5.0, ("+Inf", 6.0))


def test_names_and_types_keep_to_the_conventions(server: MetricsServer) -> None:
    page = scraped.get(server).body.decode()
    families = list(text_string_to_metric_families(page))
    assert [f.name for f in families if not f.name.startswith("loadctl_")] == []
    assert [f.name for f in families if not f.documentation.endswith(".")] == []
    for family in families:
        for sample in family.samples:
            assert (family.type == "counter") is sample.name.endswith("_total"), sample.name
            assert ("phase" in sample.labels) <= ("amperes" in sample.name) or any(
                unit in sample.name for unit in (*UNITS, "cooling")
            )
            assert "site" in sample.labels
    assert re.search(r"_(mA|ms|ns|us|kW|A|W|s|percent|permille)\b", page) is None


def test_every_name_is_declared_and_every_gauge_with_a_unit_ends_in_it() -> None:
    for name, spec in SPECS.items():
        named = [unit for unit in UNITS if unit in name]
        assert named == [] or name.endswith(tuple(named)), name
        assert spec.labels[0] == "site"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_promtool_finds_nothing(server: MetricsServer) -> None:
    page = scraped.get(server).body
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_is_spoken_to_whoever_asks_for_it(server: MetricsServer) -> None:
    seen = scraped.get(server, accept=f"{OPENMETRICS},text/plain;q=0.5")
    assert "Content-Type: application/openmetrics-text; version=1.0.0" in seen.head
    assert seen.body.endswith(b"# EOF\n")
    families = {family.name: family for family in openmetrics(seen.body.decode())}
    assert families["loadctl_site"].type == "info"
    assert families["loadctl_scans"].type == "counter"
    assert families["loadctl_scan_span_seconds"].type == "histogram"
    assert "version=0.0.4" in scraped.get(server, accept="text/plain").head
    assert "version=0.0.4" in scraped.get(server).head


def test_dashboard_uses_only_names_that_a_scrape_brings(
    running: RunningSite, server: MetricsServer
) -> None:
    link_of(running, State.WATCHING)
    dashboard = json.loads(DASHBOARD.read_text())
    names = scraped.get(server).names()
    asked = set(METRIC.findall(DASHBOARD.read_text()))  # panels and variables
    assert len(asked) > 15
    assert asked - names == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_page_names_every_metric_and_no_other() -> None:
    written = set(METRIC.findall(PAGE.read_text()))
    suffix = {"counter": "_total", "info": "_info"}
    declared = {f"loadctl_{name}{suffix.get(spec.kind, '')}" for name, spec in SPECS.items()}
    assert declared - written == set()
    assert written - declared == {"loadctl_scan_span_seconds_bucket"}


# down


def test_site_whose_scan_does_not_publish_is_down_and_shows_its_age_alone(
    running: RunningSite, server: MetricsServer
) -> None:
    running.late_ns = 1_500_000_000
    assert scraped.get(server).value("loadctl_up") == 1
    running.late_ns += 1
    seen = scraped.get(server)
    assert seen.value("loadctl_up") == 0
    assert seen.value("loadctl_image_age_seconds") == pytest.approx(1.5, abs=0.01)
    assert seen.names() == LEFT_OF_A_SITE_THAT_IS_DOWN


def test_guard_of_a_dead_scan_is_still_heard(running: RunningSite, server: MetricsServer) -> None:
    running.late_ns = 60 * S_ns
    link_of(running, State.HOLDING)
    seen = scraped.get(server)
    assert (seen.value("loadctl_up"), seen.value("loadctl_guard_up")) == (0, 1)
    assert seen.value("loadctl_mode", mode="failsafe") == 1
    assert seen.value("loadctl_guard_takeovers_total") == 3
    assert seen.value("loadctl_guard_takeover_duration_seconds") == 0.08
    assert seen.all("loadctl_charger_setpoint_amperes") == []


def test_meter_that_is_not_believed_has_age_but_no_current(
    running: RunningSite, server: MetricsServer
) -> None:
    running.rig.tap.dead.add(1)
    running.rig.run_for(2 * S_ns)
    seen = scraped.get(server)
    assert seen.value("loadctl_meter_good", meter="grid") == 0
    assert seen.value("loadctl_meter_age_seconds", meter="grid") > 1
    for gone in ("meter_current_amperes", "meter_voltage_volts", "circuit_load_amperes"):
        assert seen.all(f"loadctl_{gone}") == []


def test_meter_is_good_for_as_long_as_the_core_would_believe_it() -> None:
    meter = {"has_value": 1, "code": Code.GOOD, "quality": 0, "at_ns": 100}
    assert is_good(meter, 3, 102)
    assert not is_good(meter, 3, 103)
    for changes in ({"has_value": 0}, {"code": Code.REFUSED}, {"quality": 3}):
        assert not is_good({**meter, **changes}, 3, 102)


def test_charger_that_is_not_heard_has_no_draw_and_no_state(
    running: RunningSite, server: MetricsServer
) -> None:
    running.rig.tap.dead.add(11)
    running.rig.run_for(20 * S_ns)
    seen = scraped.get(server)
    assert seen.value("loadctl_charger_silent", charger="bay1") == 1
    assert seen.all("loadctl_charger_draw_amperes", charger="bay1") == []
    assert seen.all("loadctl_charger_state", charger="bay1") == []
    assert seen.value("loadctl_charger_reserve_amperes", charger="bay1") > 0


def test_site_that_never_ran_is_down_under_the_name_that_was_asked_for(tmp_path: Path) -> None:
    with scraped.serving([tmp_path], "Harbour") as server:
        seen = scraped.get(server)
        assert (seen.value("loadctl_up", site="Harbour"), seen.names()) == (0, {"loadctl_up"})


def test_without_a_name_every_site_is_shown_and_one_that_breaks_does_not_hide_others(
    running: RunningSite, server: MetricsServer, tmp_path: Path
) -> None:
    image = running.site.site_dir.image.read_bytes()
    for name, data in (("short", b"no image"), ("strange", image)):
        broken = tmp_path / name
        broken.mkdir()
        (broken / "lock").touch()
        (broken / "image").write_bytes(data)
        (broken / "tables.json").write_text("{")
    seen = scraped.get(server)
    assert seen.value("loadctl_up", site=SITE) == 1
    assert seen.value("loadctl_up", site="short") == 0
    assert seen.value("loadctl_up", site="strange") == 0


def test_scan_that_is_started_again_is_followed(
    running: RunningSite, server: MetricsServer
) -> None:
    assert scraped.get(server).value("loadctl_scans_total") == 120
    running.rig = VirtualRig(running.rig.tables, Scenario(), running.site.site_dir.path)
    running.rig.run_for(2 * S_ns)
    assert scraped.get(server).value("loadctl_scans_total") == 4


def test_nothing_is_read_between_scrapes(running: RunningSite, server: MetricsServer) -> None:
    """The same counts on both sides of a pause in which the site went on."""
    assert scraped.get(server).value("loadctl_scans_total") == 120
    running.rig.run_for(S_ns)
    time.sleep(0.1)
    running.rig.run_for(S_ns)
    assert scraped.get(server).value("loadctl_scans_total") == 124


def test_site_of_another_version_does_not_hide_others(
    running: RunningSite, server: MetricsServer, tmp_path: Path
) -> None:
    """Tables with other rows beside an image that can be read."""
    image = running.site.site_dir.image.read_bytes()
    tables = running.site.site_dir.tables.read_text()
    changed = {
        "more": tables.replace('"weight"', '"other"'),
        "fewer": "{}",
        "none": "[]",
        "odd": tables.replace('"buses": [', '"buses": [7, '),
    }
    for name, text in changed.items():
        other = tmp_path / name
        other.mkdir()
        (other / "lock").touch()
        (other / "image").write_bytes(image)
        (other / "tables.json").write_text(text)
        with pytest.raises(LoadctlError, match=r"tables\.json: written by another version"):
            StatusReader(SiteDir(other)).raw()
    seen = scraped.get(server)
    assert seen.value("loadctl_up", site=SITE) == 1
    assert [seen.value("loadctl_up", site=name) for name in changed] == [0] * len(changed)
