"""What a watcher of the demo can do to it by pressing a key, and what is said about each.

Owns the keys, their faults and the words: what was done, what should happen now and how long it
takes. Every span is worked out from the site's own tables. Never touches a process that is not the
scan of this demo's guard.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from hw.sim.fault import Fault
from loadctl.bound import BusBound
from loadctl.status import Status
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

REBOOT_ns = 4 * NS_PER_S
STARVE_TENTHS = 12  # of the watchdog time, as long as a charger gets no message
RESTART_s = 1  # a scan from its start to its token, about
GUARD_REOPENS_s = 1

QUIT = "q"


class Key(NamedTuple):
    key: str
    short: str
    long: str


KEYS = (
    Key("k", "kill", "kill scan"),
    Key("s", "hang", "hang scan"),
    Key("m", "mute", "mute meter"),
    Key("f", "freeze", "freeze meter"),
    Key("u", "unplug", "unplug bus"),
    Key("b", "deaf", "deaf charger"),
    Key("r", "reboot", "reboot charger"),
    Key(QUIT, "quit", "quit"),
)


class Said(NamedTuple):
    """`is_done` False: the key had nothing to act on, and `did` says why."""

    did: str
    expect: str
    is_done: bool = True


class Simulated(Protocol):
    def inject(self, fault: Fault) -> None: ...
    def clear(self, who: str, kind: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Crashes:
    """The crash loop as `run` was told it: the `limit`-th lost scan within `window_s`."""

    limit: int
    window_s: int


class Acts:
    """The keys of one demo. `press` does what a key stands for; a second press undoes it."""

    def __init__(
        self,
        simulated: Simulated,
        tables: Tables,
        bounds: tuple[BusBound, ...],
        crashes: Crashes,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        self._simulated = simulated
        self._tables = tables
        self._crashes = crashes
        self._kill = kill
        self._lost_at_ns: list[int] = []
        self._active: dict[str, tuple[str, str]] = {}  # key: who and kind of its fault
        tuning = tables.tuning
        worst = max(bounds, key=lambda bound: bound.total_ns)
        self._late_s = worst.detect_ns / NS_PER_S
        self._bound_s = worst.total_ns / NS_PER_S
        self._write_s = (worst.total_ns - worst.detect_ns) / NS_PER_S
        self._run_s = tuning.healthy_scans * tables.site.period_ns / NS_PER_S
        self._do: dict[str, Callable[[Status, int], Said]] = {
            "k": self._kill_scan,
            "s": self._stop_scan,
            "m": self._mute,
            "f": self._freeze,
            "u": self._unplug,
            "b": self._deafen,
            "r": self._reboot,
        }

    @property
    def active_keys(self) -> set[str]:
        return set(self._active)

    def press(self, key: str, status: Status, now_ns: int) -> Said | None:
        """None: the key stands for nothing."""
        do = self._do.get(key)
        return None if do is None else do(status, now_ns)

    def clear(self) -> None:
        """Everybody is well again, so that the site can be left in order."""
        for who, kind in self._active.values():
            self._simulated.clear(who, kind)
        self._active.clear()

    # the scan

    def _kill_scan(self, status: Status, now_ns: int) -> Said:
        expect = f"failsafe to all within {self._write_s:.1f} s"
        return self._lose_scan(status, now_ns, signal.SIGKILL, "killed", expect)

    def _stop_scan(self, status: Status, now_ns: int) -> Said:
        expect = f"failsafe to all within {self._bound_s:.1f} s"
        said = self._lose_scan(status, now_ns, signal.SIGSTOP, "hung", expect)
        late = f": late after {self._late_s:g} s" if said.is_done else ""
        return said._replace(did=f"{said.did}{late}")

    def _lose_scan(self, status: Status, now_ns: int, number: int, verb: str, expect: str) -> Said:
        pid, guard = status["scan"]["pid"], status["guard"]
        if guard["state"] != "watching" or not is_child(pid, guard["pid"]):
            return Said("there is no running scan right now", "wait until it runs again", False)
        self._kill(pid, number)
        words = f"{verb} the scan ({signal.Signals(number).name}, pid {pid})"
        return Said(words, f"{expect}; {self._after_loss(now_ns)}")

    def _after_loss(self, now_ns: int) -> str:
        """What the guard does after this one; it counts the lost scans of the last window."""
        window_ns = self._crashes.window_s * NS_PER_S
        recent_ns = [at_ns for at_ns in self._lost_at_ns if at_ns > now_ns - window_ns]
        self._lost_at_ns = [*recent_ns, now_ns]
        n_lost = len(self._lost_at_ns)
        if n_lost >= self._crashes.limit:
            self._lost_at_ns = []
            window_s = self._crashes.window_s
            return f"{n_lost} in {window_s} s: no RUN for {window_s} s"
        wait_s = 0 if n_lost == 1 else 5
        return f"RUN in about {wait_s + RESTART_s + self._run_s:.0f} s"

    # the meter

    def _mute(self, status: Status, now_ns: int) -> Said:
        who = self._meter(status)
        stale_s = self._tables.tuning.meter_stale_ns / NS_PER_S
        return self._toggle(
            "m",
            Fault("silence", who),
            Said(
                f"muted {who}",
                f"no raise now; after {stale_s:g} s the building counts at its worst,"
                f" {self._worst_words()}",
            ),
            Said(f"{who} answers again", "measured at once; raises follow as the peak passes"),
        )

    def _freeze(self, status: Status, now_ns: int) -> Said:
        who = self._meter(status)
        stale_s = self._tables.tuning.meter_stale_ns / NS_PER_S
        return self._toggle(
            "f",
            Fault("frozen", who),
            Said(
                f"froze {who}: it repeats its last values",
                f"after {stale_s:g} s the building counts at its worst, {self._worst_words()};"
                " no raise before",
            ),
            Said(f"{who} measures again", "believed once its values move; raises follow"),
        )

    def _meter(self, status: Status) -> str:
        return f"meter.{next(iter(status['meters']))}"

    def _worst_words(self) -> str:
        circuit = next(row for row in self._tables.circuits if row.is_dynamic)
        return f"{max(circuit.background_mA) / 1000:g} A"

    # the bus

    def _unplug(self, status: Status, now_ns: int) -> Said:
        bus = next(iter(status["buses"]))
        watchdog_s = max((c.watchdog_ns or 0 for c in self._tables.chargers), default=0) / NS_PER_S
        return self._toggle(
            "u",
            Fault("unplug", f"bus.{bus}"),
            Said(
                f"unplugged bus {bus}",
                f"nobody can be told; after {watchdog_s:g} s each box falls to its own fallback",
            ),
            Said(
                f"plugged bus {bus} in again",
                f"open within {GUARD_REOPENS_s} s; all told min(last, failsafe), armed,"
                " raised again",
            ),
        )

    # the chargers

    def _deafen(self, status: Status, now_ns: int) -> Said:
        charger = self._first_to_be_cut(status)
        row = next(row for row in self._tables.chargers if row.name == charger)
        follow_s = (row.hold_ns + self._tables.tuning.car_follow_ns) / NS_PER_S
        starve_s = (row.watchdog_ns or 0) * STARVE_TENTHS / 10 / NS_PER_S
        return self._toggle(
            "b",
            Fault("ignore", f"charger.{charger}"),
            Said(
                f"{charger} acknowledges and ignores; wait for the building to rise",
                f"told less, it goes on: others make room in {follow_s:g} s, it starves for"
                f" {starve_s:g} s",
            ),
            Said("the deaf charger is well", "once it obeys again it is armed and raised"),
        )

    def _first_to_be_cut(self, status: Status) -> str:
        """Of those that go last, the one that is offered most."""
        last = min(row.priority for row in self._tables.chargers)
        names = [row.name for row in self._tables.chargers if row.priority == last]
        return max(names, key=lambda name: float(status["chargers"][name]["setpoint_A"]))

    def _reboot(self, status: Status, now_ns: int) -> Said:
        charger = busiest(status)
        self._simulated.inject(Fault("reboot", f"charger.{charger}", for_ns=REBOOT_ns))
        return Said(
            f"{charger} reboots: silent for {REBOOT_ns // NS_PER_S} s, then its own values",
            "counts with all it may draw; back, it is armed before it gets more",
        )

    def _toggle(self, key: str, fault: Fault, on: Said, off: Said) -> Said:
        if key in self._active:
            self._simulated.clear(*self._active.pop(key))
            return off
        self._simulated.inject(fault)
        self._active[key] = (fault.who, fault.kind)
        return on


def busiest(status: Status) -> str:
    """The charger with the highest setpoint: the one whose trouble shows."""
    chargers = status["chargers"]
    return str(max(chargers, key=lambda name: chargers[name]["setpoint_A"]))


def is_child(pid: int, parent_pid: int) -> bool:
    """Whether `pid` still is a child of `parent_pid`, and not somebody else by now."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[1] == str(parent_pid)
