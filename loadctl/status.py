"""What a running site says of itself: one plain object made from its image, its link, its tables.

Owns the format of `status --json`. Reads three files and decides nothing; `status`, `top` and the
demo show the same object, `answers` puts it into sentences. Never runs in the scan. Files may
vanish and be replaced while it reads: what is left is shown, with its age.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hw.devices import arming_steps, parse_map, read_setpoint_exchange
from hw.wire import Code
from loadctl import tables as plain
from loadctl.arming import Stage
from loadctl.errors import NotRunning
from loadctl.events import Event, event_text
from loadctl.facts import charger_facts, circuit_facts, may_carry_mA
from loadctl.guard.words import CAUSE_WORDS, STATE_WORDS, Cause, Happening, State, event_words
from loadctl.image import Reader, percentile_ns
from loadctl.law.fuse import fuse
from loadctl.link import Link
from loadctl.modes import FAILSAFE, MODE_NAMES, START, STOP, reason_text
from loadctl.outside import external_of
from loadctl.realtime import NOT_ASKED, SETTINGS, words
from loadctl.reasons import NOT_ARMED, SILENT, binding_text, charger_reason_text, state_letter
from loadctl.runtime import SiteDir
from loadctl.tables import ChargerRow, CircuitRow, Tables
from loadctl.tuning import CHARGER, CIRCUIT, KEYS
from loadctl.units import (
    NS_PER_MS,
    NS_PER_US,
    PHASE_NAMES,
    A_from_mA,
    A_list_from_mA,
    ms_from_ns,
    s_from_ns,
)

STALE_PERIODS = 3
HELD_BY_GUARD = "held_by_guard"  # a rule beside those of the core
EVENTS_SHOWN = 10
# What the guard's state means for the mode; in WATCHING the scan says it.
MODE_OF_GUARD = {
    State.STARTING: START,
    State.TAKEOVER: FAILSAFE,
    State.HOLDING: FAILSAFE,
    State.STABLE: FAILSAFE,
    State.STOPPING: STOP,
}
CHARGER_HAPPENINGS = (Happening.UNANSWERED, Happening.REWRITTEN, Happening.STARVED)
BUS_HAPPENINGS = (Happening.PORT_LOST, Happening.PORT_BACK)
ARMING_WORDS = {
    Stage.CHECK: "checks its settings",
    Stage.WRITE: "writes its settings",
    Stage.VERIFY: "reads its settings back",
    Stage.SETPOINT: "reads its setpoint",
    Stage.ARMED: "armed",
    Stage.FAILED: "cannot be armed",
}
QUALITY_IMPLAUSIBLE, QUALITY_FROZEN = 2, 3  # as in loadctl/law/meters.pxd
QUALITY_WORDS = {
    Code.NEVER: "no value yet",
    Code.GOOD: "good",
    Code.NO_ANSWER: "silent",
    Code.BAD_FRAME: "answers in broken frames",
    Code.REFUSED: "refuses to be read",
    Code.NOT_SENT: "was not asked",
    Code.IMPLAUSIBLE: "implausible",
}

Status = dict[str, Any]
Row = dict[str, Any]


class StatusReader:
    """The files of one site; `read` may be called as often as wanted, through every restart."""

    def __init__(self, site_dir: SiteDir) -> None:
        self.site_dir = site_dir
        self._tables: Tables | None = None
        self._image: Reader | None = None
        self._image_id: tuple[int, int] | None = None

    def read(self, now_ns: int) -> Status:
        """NotRunning before the first scan is published; later the last one stands in."""
        tables, snapshot, link = self.raw()
        return status_of(tables, snapshot, now_ns, link)

    def raw(self) -> tuple[Tables, Row, Row | None]:
        """The tables, the newest whole scan, and the word of a living guard, as they are stored."""
        self._reopen()
        if self._tables is None or self._image is None:
            raise NotRunning(f"{self.site_dir.path.name}: {self._starting_words()}")
        return self._tables, self._image.snapshot(), self.link()

    def _reopen(self) -> None:
        """Follow the image to the file of a new scan, as soon as that one has published."""
        try:
            found = os.stat(self.site_dir.image)
            image_id = (found.st_dev, found.st_ino)
            if image_id == self._image_id:
                return
            image = Reader(self.site_dir.image)
            image.snapshot()
            tables = plain.load_file(self.site_dir.tables)
        except (FileNotFoundError, NotRunning):
            return
        self._tables, self._image, self._image_id = tables, image, image_id

    def link(self) -> Row | None:
        """What the guard says, while there is one."""
        try:
            link: Row = Link.open_readonly(self.site_dir.link).snapshot()
        except FileNotFoundError:
            return None
        return link if is_alive(link["guard_pid"]) else None

    def _starting_words(self) -> str:
        link = self.link()
        if link is None:
            return "nothing published yet"
        return f"nothing published yet; {STATE_WORDS[State(link['state'])]}"


def is_alive(pid: int) -> bool:
    """Whether there is such a process, whoever owns it."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def status_of(tables: Tables, snapshot: Row, now_ns: int, link: Row | None = None) -> Status:
    """`now_ns` is CLOCK_MONOTONIC, from which the age of the image follows."""
    scan = snapshot["scan"]
    age_ns = max(0, now_ns - scan["published_at_ns"])
    rows = zip(tables.circuits, snapshot["circuits"], strict=True)
    mode, mode_reason = mode_of(scan, link)
    return {
        "site": tables.site.name,
        "site_hash": snapshot["site_hash"],
        "mode": mode,
        "mode_reason": mode_reason,
        "age_ms": round(ms_from_ns(age_ns), 1),
        "is_stale": age_ns > STALE_PERIODS * scan["period_ns"],
        "scan": _scan(scan),
        "guard": _guard(link, now_ns),
        "chargers": _chargers(tables, snapshot, link, now_ns),
        "circuits": {
            row.name: {
                **_circuit(tables, row, circuit, now_ns),
                **circuit_facts(tables, i, snapshot),
            }
            for i, (row, circuit) in enumerate(rows)
        },
        "meters": _meters(tables, snapshot, now_ns),
        "buses": {
            row.name: {
                "is_open": bool(bus["is_open"]),
                "busy_ms": ms_from_ns(bus["busy_ns"]),
                "worst_busy_ms": ms_from_ns(bus["worst_busy_ns"]),
                "silent_chargers": bus["n_silent"],
            }
            for row, bus in zip(tables.buses, snapshot["buses"], strict=True)
        },
        "real_time": [
            {"what": what, "is_applied": state == 1, "words": words(what_i, state, error)}
            for what_i, (what, state, error) in enumerate(
                zip(SETTINGS, scan["setting_state"], scan["setting_errno"], strict=False)
            )
            if state != NOT_ASKED
        ],
        "events": _events(tables, snapshot, link, now_ns),
    }


def mode_of(scan: Row, link: Row | None) -> tuple[str, str]:
    """Who holds the buses says the mode; a scan that has not published yet is still starting."""
    if link is not None:
        state, cause = State(link["state"]), Cause(link["cause"])
        if state in MODE_OF_GUARD:
            reason = ": ".join(part for part in (STATE_WORDS[state], CAUSE_WORDS[cause]) if part)
            return MODE_NAMES[MODE_OF_GUARD[state]], reason
        if link["scan_pid"] != scan["pid"]:
            return MODE_NAMES[START], STATE_WORDS[State.STARTING]
    reason = reason_text(scan["mode_reason"], scan["mode_first"], scan["mode_second"])
    return MODE_NAMES[scan["mode"]], reason


def _guard(link: Row | None, now_ns: int) -> Row:
    if link is None:
        keys = ("pid", "state", "cause", "since_s", "takeovers", "restarts")
        times = ("next_restart_s", "last_takeover_ms", "last_restart_ms")
        return dict.fromkeys((*keys, *times))
    next_ns, takeover_ns = link["next_restart_at_ns"], link["last_takeover_ns"]
    restart_ns = link["last_restart_ns"]
    return {
        "pid": link["guard_pid"],
        "state": State(link["state"]).name.lower(),
        "cause": CAUSE_WORDS[Cause(link["cause"])],
        "since_s": round(s_from_ns(max(0, now_ns - link["since_ns"])), 1),
        "takeovers": link["n_takeovers"],
        "restarts": link["n_restarts"],
        "next_restart_s": round(s_from_ns(max(0, next_ns - now_ns)), 1) if next_ns else None,
        "last_takeover_ms": round(ms_from_ns(takeover_ns), 1) if takeover_ns else None,
        "last_restart_ms": round(ms_from_ns(restart_ns), 1) if restart_ns else None,
    }


def _events(tables: Tables, snapshot: Row, link: Row | None, now_ns: int) -> list[Row]:
    """The last events of scan and guard, in the order in which they happened."""
    found = [(event["at_ns"], event_line(tables, event)) for event in snapshot["events"]]
    if link is not None:
        found += [(event["at_ns"], guard_event_line(tables, event)) for event in link["events"]]
    found.sort(key=lambda item: item[0])
    return [
        {"age_s": round(s_from_ns(now_ns - at_ns), 1), "text": text}
        for at_ns, text in found[-EVENTS_SHOWN:]
    ]


def guard_event_line(tables: Tables, event: Row) -> str:
    text = event_words(event["kind"], event["first"], event["second"])
    names = []
    if event["kind"] in CHARGER_HAPPENINGS:
        names = [row.name for row in tables.chargers]
    elif event["kind"] in BUS_HAPPENINGS:
        names = [f"bus {row.name}" for row in tables.buses]
    who = event["who"]
    return f"{names[who]}: {text}" if 0 <= who < len(names) else text


def _scan(scan: Row) -> Row:
    spans = scan["spans"]
    return {
        "pid": scan["pid"],
        "period_ms": ms_from_ns(scan["period_ns"]),
        "scans": scan["scans"],
        "missed": scan["missed"],
        "skipped": scan["skipped"],
        "worst_scan_ms": round(ms_from_ns(spans["whole"]["worst_ns"]), 3),
        "gate_drops": scan["gate_drops"],
        "slow_replies": scan["slow_replies"],
        "wake_us": _percentiles(spans["wake"], NS_PER_US),
        "spans_ms": {name: _percentiles(span, NS_PER_MS) for name, span in spans.items()},
        "worst_ms": {
            name: round(ms_from_ns(span["worst_ns"]), 3)
            for name, span in spans.items()
            if name != "wake"
        },
    }


def _percentiles(span: Row, unit_ns: int) -> Row:
    """Since the scan started; rounded up to the bins of its histogram, an eighth of an octave."""
    return {
        "p50": percentile_ns(span, 500) / unit_ns,
        "p99": percentile_ns(span, 990) / unit_ns,
        "p999": percentile_ns(span, 999) / unit_ns,
        "max": span["worst_ns"] / unit_ns,
    }


def _chargers(tables: Tables, snapshot: Row, link: Row | None, now_ns: int) -> Row:
    """While the guard holds the buses its writes are the last, not those of the dead scan; and a
    new scan knows a charger's setpoint once it has armed it."""
    devices = snapshot["devices"][len(tables.meters) :]
    found = map(_answering, snapshot["chargers"], devices)
    rows = zip(tables.chargers, found, devices, strict=True)
    chargers = {
        row.name: {
            **_charger(tables, row, charger, device),
            **charger_facts(tables, row, charger, now_ns),
        }
        for row, charger, device in rows
    }
    if link is None:
        return chargers
    is_held = MODE_OF_GUARD.get(State(link["state"])) == FAILSAFE
    for shown in chargers.values() if is_held else ():
        shown["reason"], shown["binding"] = "held at failsafe by the guard", None
        shown |= {"rule": HELD_BY_GUARD, "binding_circuit": None, "binding_kind": None}
    for shown, setpoint_mA in zip(chargers.values(), link["told_mA"], strict=True):
        if setpoint_mA is not None and (is_held or not shown["is_armed"]):
            shown["setpoint_A"] = A_from_mA(setpoint_mA)
    return chargers


def _answering(charger: Row, device: Row) -> Row:
    """To the core one that cannot be armed stays silent for good: it counts at its rating either
    way. Whether it answers is known to the field."""
    if charger["is_armed"] or not charger["is_silent"] or device["is_silent"]:
        return charger
    is_why = charger["reason"] == SILENT
    return {**charger, "is_silent": 0, "reason": NOT_ARMED if is_why else charger["reason"]}


def _charger(tables: Tables, row: ChargerRow, charger: Row, device: Row) -> Row:
    circuit_name = None
    if charger["has_binding"]:
        circuit_name = tables.circuits[charger["binding_circuit"]].name
    has_draw = row.has_measured_current and charger["n_samples"] > 0
    return {
        "setpoint_A": A_from_mA(charger["setpoint_mA"]),
        "draw_A": A_list_from_mA(charger["draw_mA"]) if has_draw else None,
        "state": state_letter(charger["state"]) if charger["has_status"] else None,
        "reason": charger_reason_text(charger, tables),
        "binding": binding_text(circuit_name, charger["binding_kind"]),
        "reserve_A": A_from_mA(charger["reserve_mA"]),
        "is_armed": bool(charger["is_armed"]),
        "arming": ARMING_WORDS[Stage(device["arming"])],
        "is_silent": bool(charger["is_silent"]),
        "is_starved": bool(device["is_starved"]),
        "reboots": device["n_reboots"],
        "unanswered": device["n_no_answer"] + device["n_bad_frame"],
        "reads": _reads(device),
    }


def _reads(device: Row) -> str:
    """How its values are read."""
    n_reads = device["n_reads"]
    words = f"{n_reads} read{'s' * (n_reads != 1)}"
    return f"{words}, for it refuses a block" if device["read_way"] else words


def _circuit(tables: Tables, row: CircuitRow, circuit: Row, now_ns: int) -> Row:
    """Beside what `whatif` says: the most that may flow."""
    seen_mA = circuit["seen_background_mA"] if circuit["is_alarmed"] else None
    return {
        "limit_A": A_list_from_mA(circuit["limit_mA"]),
        "own_limit_A": A_list_from_mA(row.limit_mA),
        "background_A": A_list_from_mA(circuit["background_mA"]),
        "headroom_A": A_list_from_mA(circuit["headroom_mA"]),
        "granted_A": A_list_from_mA(circuit["granted_mA"]),
        "may_carry_A": A_list_from_mA(may_carry_mA(circuit)),
        "seen_background_A": None if seen_mA is None else A_list_from_mA(seen_mA),
        "alarm": None if seen_mA is None else _alarm(row, seen_mA),
        "fuse_percent": _fuse_percent(row, circuit),
        "cooling": _cooling(row, circuit),
        "external": external_of(row, circuit, tables.site.voltage_mV, now_ns),
    }


def _fuse_percent(row: CircuitRow, circuit: Row) -> list[float] | None:
    """By phase: the heat of the fuse, of what trips it in the end; None without one."""
    return None if row.fuse_type is None else [heat / 10 for heat in circuit["heat_permille"]]


def _cooling(row: CircuitRow, circuit: Row) -> str | None:
    """What is held back, while the fuse of some phase has to cool."""
    phases = [p for p in range(3) if circuit["is_cooling"][p]]
    if row.fuse_type is None or not phases:
        return None
    heat = ", ".join(f"{PHASE_NAMES[p]} at {circuit['heat_permille'][p] / 10:g} %" for p in phases)
    device = fuse(row.fuse_type, row.fuse_rated_mA)
    held = ""
    if circuit["is_held_back"]:
        held = f", shares keep to {A_from_mA(device.cools_at_mA):g} A"
    return f"{heat} of what trips the fuse: no starts{held}"


def _alarm(row: CircuitRow, seen_mA: Sequence[int]) -> str:
    """Latched: it stays until the site file declares what was seen, or the scan is begun anew."""
    excess_mA = [seen_mA[p] - row.background_mA[p] for p in range(3)]
    p = excess_mA.index(max(excess_mA))
    return (
        f"background of {A_from_mA(seen_mA[p]):g} A seen on {PHASE_NAMES[p]},"
        f" declared are {A_from_mA(row.background_mA[p]):g} A"
    )


def _meters(tables: Tables, snapshot: Row, now_ns: int) -> Row:
    """Ages count to now: a value that no scan reads any more is old, whatever it was."""
    stale_ns = snapshot["site"]["tuning"]["meter_stale_ns"]
    return {
        row.name: {
            "quality": _quality(meter, is_old=now_ns - meter["at_ns"] >= stale_ns),
            "current_A": A_list_from_mA(meter["load_mA"]) if meter["has_value"] else None,
            "age_ms": round(ms_from_ns(now_ns - meter["at_ns"]), 1) if meter["has_value"] else None,
            "reads": _reads(device),
        }
        for row, meter, device in zip(
            tables.meters,
            snapshot["meters"],
            snapshot["devices"][: len(tables.meters)],
            strict=True,
        )
    }


def _quality(meter: Row, is_old: bool) -> str:
    """What the control law makes of its values, in words; only "good" is well."""
    if meter["has_value"] and is_old and meter["code"] == Code.GOOD and not meter["quality"]:
        return "not read any more"
    if meter["quality"] == QUALITY_FROZEN:
        return "frozen"
    if meter["quality"] == QUALITY_IMPLAUSIBLE:
        return QUALITY_WORDS[Code.IMPLAUSIBLE]
    return QUALITY_WORDS[Code(meter["code"])]


def event_line(tables: Tables, event: Row) -> str:
    return event_text(
        event["kind"],
        who_name(tables, event),
        event["first"],
        event["second"],
        MODE_NAMES,
        event["third"],
        event["fourth"],
        register_name(tables, event) if event["kind"] == Event.NOT_ARMED else "",
    )


def register_name(tables: Tables, event: Row) -> str:
    """Address and name, as the device map has them, of a step of the arming list."""
    row = tables.chargers[event["who"]]
    device_map = parse_map(tables.maps[row.model], row.model)
    steps = arming_steps(device_map, row.address, row.connector, row.fallback_mA)
    if event["first"] < len(steps):
        step = steps[event["first"]]
        return f"register {(step.write or step.read).register} ({step.what})"
    read = read_setpoint_exchange(device_map, row.address, row.connector)
    return "" if read is None else f"register {read.register} (setpoint)"


def who_name(tables: Tables, event: Row) -> str:
    """Events 10 to 19 are about chargers, 20 to 29 about meters, 30 to 39 about either, 40 to 59
    about circuits, 60 to 69 about who has the key."""
    who, tens = event["who"], event["kind"] // 10
    meters = [row.name for row in tables.meters]
    chargers = [row.name for row in tables.chargers]
    circuits = [row.name for row in tables.circuits]
    names = {
        1: chargers,
        2: meters,
        3: [*meters, *chargers],
        4: circuits,
        5: circuits,
    }.get(tens, [])
    if tens == 6:
        names = {CIRCUIT: circuits, CHARGER: chargers}.get(KEYS[event["first"]].table, [])
    return names[who] if 0 <= who < len(names) else ""
