"""What a scrape sees: the image of each site, read at that moment, as metric families.

Owns no thread and keeps no value between scrapes. What is not known now is left out, never repeated
from before: a site whose scan does not publish has `up` 0, its age, and what its guard says.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hw.wire import Code
from loadctl import runtime
from loadctl.errors import LoadctlError
from loadctl.facts import may_carry_mA
from loadctl.image import bin_end_ns
from loadctl.metrics.families import Families
from loadctl.modes import MODE_NAMES
from loadctl.realtime import APPLIED, NOT_ASKED, SETTINGS
from loadctl.reasons import RULE_NAMES, STATE_LETTERS, binding_text
from loadctl.runtime import SiteDir
from loadctl.status import STALE_PERIODS, StatusReader, mode_of
from loadctl.tables import Tables
from loadctl.units import NS_PER_S, PHASE_NAMES

mA_PER_A = 1_000
mV_PER_V = 1_000
mW_PER_W = 1_000_000
mAms_PER_C = 1_000_000
PERMILLE = 1_000
# Ends of the octaves of the image's histograms, of eight bins each, up to 8.6 s.
BUCKET_BINS = range(7, 168, 8)
RESULTS = (
    ("good", "n_good"),
    ("no_answer", "n_no_answer"),
    ("bad_frame", "n_bad_frame"),
    ("refused", "n_refused"),
    ("not_sent", "n_not_sent"),
    ("implausible", "n_implausible"),
)

Row = dict[str, Any]


class SiteCollector(Collector):
    """Reads every site below `dirs`, or the one of that name, whenever it is asked."""

    def __init__(
        self,
        dirs: list[Path],
        site_name: str | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._dirs = dirs
        self._site_name = site_name
        self._now_ns = now_ns
        self._readers: dict[Path, StatusReader] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        found = Families()
        with self._lock:
            for name, reader in self._sites():
                read_site(found, name, reader, self._now_ns)
        return list(found)

    def _sites(self) -> Iterator[tuple[str, StatusReader | None]]:
        """One that was asked for by name is there even while its directory is not."""
        known = runtime.known_sites(self._dirs)
        if self._site_name is not None:
            names = (runtime.slug(self._site_name), self._site_name)
            known = [site_dir for site_dir in known if site_dir.path.name in names][:1]
            if not known:
                yield self._site_name, None
        for site_dir in known:
            yield site_dir.path.name, self._reader(site_dir)

    def _reader(self, site_dir: SiteDir) -> StatusReader:
        return self._readers.setdefault(site_dir.path, StatusReader(site_dir))


def read_site(
    found: Families, name: str, reader: StatusReader | None, clock_ns: Callable[[], int]
) -> None:
    """`name` stands in where the tables of a site cannot be read."""
    if reader is None:
        found.add("up", 0, name)
        return
    try:
        tables, snapshot, link = reader.raw()
    except (LoadctlError, OSError, ValueError):  # not there yet, of another version, half removed
        found.add("up", 0, name)
        return
    site, scan = tables.site.name, snapshot["scan"]
    age_ns = max(0, clock_ns() - scan["published_at_ns"])
    is_up = age_ns <= STALE_PERIODS * scan["period_ns"]
    found.add("up", int(is_up), site)
    found.add("image_age_seconds", age_ns / NS_PER_S, site)
    about = {"version": version("loadctl"), "hash": snapshot["site_hash"]}
    found.add_info("site", about, site)
    guard(found, site, link)
    if is_up or link is not None:
        mode, _ = mode_of(scan, link)
        for known in MODE_NAMES:
            found.add("mode", int(known == mode), site, known)
    if is_up:
        now_ns = scan["published_at_ns"] + age_ns
        for part in (scans, circuits, meters, chargers, buses):
            part(found, tables, snapshot, now_ns)


def guard(found: Families, site: str, link: Row | None) -> None:
    found.add("guard_up", int(link is not None), site)
    if link is None:
        return
    found.add("guard_takeovers", link["n_takeovers"], site)
    found.add("guard_restarts", link["n_restarts"], site)
    if link["last_takeover_ns"]:
        took_s = link["last_takeover_ns"] / NS_PER_S
        found.add("guard_takeover_duration_seconds", took_s, site)


def scans(found: Families, tables: Tables, snapshot: Row, now_ns: int) -> None:
    site, scan = tables.site.name, snapshot["scan"]
    found.add("scan_period_seconds", scan["period_ns"] / NS_PER_S, site)
    found.add("scans", scan["scans"], site)
    found.add("scans_missed", scan["missed"], site)
    found.add("scan_periods_skipped", scan["skipped"], site)
    found.add("gate_drops", scan["gate_drops"], site)
    found.add("slow_replies", scan["slow_replies"], site)
    found.add("events", snapshot["n_events"], site)
    for name, span in scan["spans"].items():
        found.add_histogram(
            "scan_span_seconds", buckets(span["bins"]), span["total_ns"] / NS_PER_S, site, name
        )
        found.add("scan_span_worst_seconds", span["worst_ns"] / NS_PER_S, site, name)
    for setting, state in zip(SETTINGS, scan["setting_state"], strict=False):
        if state != NOT_ASKED:
            found.add("real_time_setting_applied", int(state == APPLIED), site, setting)


def buckets(bins: list[int]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus counts; the last bin of the image holds all that is longer."""
    sums = list(itertools.accumulate(bins))
    ended = [(str(bin_end_ns(i) / NS_PER_S), float(sums[i])) for i in BUCKET_BINS]
    return [*ended, ("+Inf", float(sums[-1]))]


def circuits(found: Families, tables: Tables, snapshot: Row, now_ns: int) -> None:
    site, stale_ns = tables.site.name, snapshot["site"]["tuning"]["meter_stale_ns"]
    for row, circuit in zip(tables.circuits, snapshot["circuits"], strict=True):
        may_mA = may_carry_mA(circuit)
        for p, phase in enumerate(PHASE_NAMES):
            currents_mA = {
                "limit": circuit["limit_mA"][p],
                "rated": row.limit_mA[p],
                "background": circuit["background_mA"][p],
                "headroom": circuit["headroom_mA"][p],
                "granted": circuit["granted_mA"][p],
                "may_carry": may_mA[p],
            }
            if row.meter >= 0 and is_good(snapshot["meters"][row.meter], stale_ns, now_ns):
                currents_mA["load"] = snapshot["meters"][row.meter]["load_mA"][p]
            for what, value_mA in currents_mA.items():
                name = f"circuit_{what}_amperes"
                found.add(name, value_mA / mA_PER_A, site, row.name, phase)
            if row.fuse_type is not None:
                heat = circuit["heat_permille"][p] / PERMILLE
                found.add("circuit_fuse_heat_ratio", heat, site, row.name, phase)
                found.add("circuit_fuse_cooling", circuit["is_cooling"][p], site, row.name, phase)
        for kind in ("", "charger_"):
            if circuit[f"has_{kind}power_limit"]:
                limit_mW = circuit[f"{kind}power_limit_mA"] * tables.site.voltage_mV
                limit_W = -(-limit_mW // mW_PER_W)
                found.add(f"circuit_{kind}limit_watts", limit_W, site, row.name)
        found.add("circuit_externally_limited", int(circuit["external_kinds"] != 0), site, row.name)
        found.add("circuit_alarm", circuit["is_alarmed"], site, row.name)


def is_good(meter: Row, stale_ns: int, now_ns: int) -> bool:
    """Read and believed, and not so old that the core would not believe it any more."""
    is_read = meter["has_value"] and meter["code"] == Code.GOOD and not meter["quality"]
    return bool(is_read) and now_ns - meter["at_ns"] < stale_ns


def meters(found: Families, tables: Tables, snapshot: Row, now_ns: int) -> None:
    site, stale_ns = tables.site.name, snapshot["site"]["tuning"]["meter_stale_ns"]
    devices = snapshot["devices"][: len(tables.meters)]
    for row, meter, device in zip(tables.meters, snapshot["meters"], devices, strict=True):
        has_good = is_good(meter, stale_ns, now_ns)
        found.add("meter_good", int(has_good), site, row.name)
        if meter["has_value"]:
            age_ns = max(0, now_ns - meter["at_ns"])
            found.add("meter_age_seconds", age_ns / NS_PER_S, site, row.name)
        for p, phase in enumerate(PHASE_NAMES) if has_good else ():
            at = (site, row.name, phase)
            found.add("meter_current_amperes", meter["load_mA"][p] / mA_PER_A, *at)
            if meter["has_power"]:
                found.add("meter_power_watts", meter["power_W"][p], *at)
            if meter["has_voltage"]:
                found.add("meter_voltage_volts", meter["voltage_mV"][p] / mV_PER_V, *at)
        for result, key in RESULTS:
            on_bus = (site, row.name, tables.buses[row.bus].name, result)
            found.add("meter_exchanges", device[key], *on_bus)


def chargers(found: Families, tables: Tables, snapshot: Row, now_ns: int) -> None:
    site = tables.site.name
    devices = snapshot["devices"][len(tables.meters) :]
    for row, charger, device in zip(tables.chargers, snapshot["chargers"], devices, strict=True):
        at = (site, row.name, tables.circuits[row.circuit].name)
        found.add("charger_setpoint_amperes", charger["setpoint_mA"] / mA_PER_A, *at)
        found.add("charger_reserve_amperes", charger["reserve_mA"] / mA_PER_A, *at)
        found.add("charger_max_amperes", charger["live_max_mA"] / mA_PER_A, *at)
        is_heard = bool(charger["has_status"]) and not charger["is_silent"]
        if is_heard and row.has_measured_current and charger["n_samples"] > 0:
            for p in row.phases:
                draw_A = charger["draw_mA"][p] / mA_PER_A
                found.add("charger_draw_amperes", draw_A, *at, PHASE_NAMES[p])
        for letter in STATE_LETTERS[1:] if is_heard else ():
            is_it = STATE_LETTERS[charger["state"]] == letter
            found.add("charger_state", int(is_it), *at, letter)
        rule = RULE_NAMES.get(charger["reason"], f"rule_{charger['reason']}")
        found.add("charger_rule", 1, *at, rule, _binding(tables, charger))
        found.add("charger_enabled", charger["is_enabled"], *at)
        found.add("charger_armed", charger["is_armed"], *at)
        found.add("charger_silent", charger["is_silent"], *at)
        found.add("charger_starved", device["is_starved"], *at)
        waited_ns = now_ns - charger["waits_since_ns"] if charger["is_waiting"] else 0
        found.add("charger_waiting_seconds", max(0, waited_ns) / NS_PER_S, *at)
        found.add("charger_session_charge_coulombs", charger["taken_mAms"] / mAms_PER_C, *at)
        found.add("charger_reboots", device["n_reboots"], *at)
        for result, key in RESULTS:
            on_bus = (site, row.name, tables.buses[row.bus].name, result)
            found.add("charger_exchanges", device[key], *on_bus)


def _binding(tables: Tables, charger: Row) -> str:
    if not charger["has_binding"]:
        return ""
    return binding_text(tables.circuits[charger["binding_circuit"]].name, charger["binding_kind"])


def buses(found: Families, tables: Tables, snapshot: Row, now_ns: int) -> None:
    site = tables.site.name
    for row, bus in zip(tables.buses, snapshot["buses"], strict=True):
        found.add("bus_open", bus["is_open"], site, row.name)
        found.add("bus_busy_seconds", bus["busy_ns"] / NS_PER_S, site, row.name)
        found.add("bus_busy_worst_seconds", bus["worst_busy_ns"] / NS_PER_S, site, row.name)
        found.add("bus_silent_chargers", bus["n_silent"], site, row.name)
