"""A whole scan on simulated buses in virtual time, with a tap on every wire."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hw.devices import parse_map
from hw.sim.faults import Fate, Faults
from hw.sim.scenario import Scenario
from hw.sim.virtual import VirtualClock, VirtualSite
from loadctl._core import Core
from loadctl.events import Event
from loadctl.field import Field
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.gate import Gate
from loadctl.guardside import ExternalCommand
from loadctl.image import Reader, Writer
from loadctl.modes import Modes
from loadctl.pacer import Pacer
from loadctl.plan import make_plan
from loadctl.scan import Scan
from loadctl.tables import Tables, dump, signed_hash
from loadctl.tuning import NOTHING, Layer

S_ns = 1_000_000_000
MS_ns = 1_000_000
SETPOINT_REGISTER = 100  # of the reference charger
START_ns = 1_000 * S_ns
STARTS = itertools.count()  # no two scans are born at the same time


def taped(tables: Tables, path: Path, born_at_ns: int) -> Tape:
    """A core behind a tape, as `loadctl/start.py` builds it."""
    period_ns = tables.site.period_ns
    ring = RingWriter(path, ring_words(tables), signed_hash(tables), born_at_ns, period_ns)
    return Tape(Core(tables), ring, most_words(tables))


class RigClock:
    """The clock of a scan on virtual time; `suspended_ns` is how far BOOTTIME is ahead."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.suspended_ns = 0
        self.stalls: dict[int, int] = {}  # wake time asked for -> how much too late it comes

    def now_ns(self) -> int:
        return self.clock.now_ns()

    def boottime_ns(self) -> int:
        return self.clock.now_ns() + self.suspended_ns

    def sleep_until(self, until_ns: int) -> int:
        self.clock.sleep_until(until_ns + self.stalls.pop(until_ns, 0))
        return self.clock.now_ns()


class FakeGuarded:
    """A guard's side that writes down what it is told; what it says back is set by the test."""

    def __init__(self) -> None:
        self.beats_at_ns: list[int] = []
        self.now_ns: Callable[[], int] = lambda: 0  # the rig's clock
        self.gone_words = ""
        self.told: dict[int, int] = {}  # by charger
        self.tells: list[tuple[int, int]] = []  # in order
        self.failsafe_mA: dict[int, int] = {}
        self.starved: set[int] = set()
        self.seen_mA: dict[int, tuple[int, int, int]] = {}  # by circuit
        self.commands: dict[int, ExternalCommand] = {}  # by circuit
        self.layers: dict[int, Layer] = {}  # by slot

    def beat(self) -> None:
        self.beats_at_ns.append(self.now_ns())

    def gone(self, now_ns: int) -> str:
        return self.gone_words

    def tell(self, charger_i: int, setpoint_mA: int) -> None:
        self.told[charger_i] = setpoint_mA
        self.tells.append((charger_i, setpoint_mA))

    def told_mA(self, charger_i: int) -> int | None:
        return self.told.get(charger_i)

    def set_failsafe(self, charger_i: int, failsafe_mA: int) -> None:
        self.failsafe_mA[charger_i] = failsafe_mA

    def set_starved(self, charger_i: int, is_starved: bool) -> None:
        (self.starved.add if is_starved else self.starved.discard)(charger_i)

    def set_seen_background(self, circuit_i: int, seen_mA: tuple[int, int, int]) -> None:
        self.seen_mA[circuit_i] = seen_mA

    def seen_background_mA(self, circuit_i: int) -> tuple[int, int, int] | None:
        return self.seen_mA.get(circuit_i)

    def set_external(self, circuit_i: int, command: ExternalCommand) -> None:
        self.commands[circuit_i] = command

    def external(self, circuit_i: int) -> ExternalCommand | None:
        return self.commands.get(circuit_i)

    def set_tuned(self, layers: Mapping[int, Layer]) -> None:
        self.layers.update(layers)

    def tuned(self) -> dict[int, Layer]:
        return {slot: layer for slot, layer in self.layers.items() if layer != NOTHING}

    def ports(self) -> None:
        pass


class Frame(NamedTuple):
    """One whole request as a device would hear it."""

    at_ns: int
    address: int
    function: int
    register: int
    value: int  # count of a read, value of a single write

    @property
    def is_setpoint(self) -> bool:
        return (self.function, self.register) == (6, SETPOINT_REGISTER)


class Wiretap:
    """Writes down every request; devices in `dead` hear nothing, the replies of `mute` are lost.
    Whatever the scenario does to the line besides, goes on behind it."""

    def __init__(self, behind: Faults) -> None:
        self.behind = behind
        self.frames: list[Frame] = []
        self.dead: set[int] = set()
        self.mute: set[int] = set()

    def fate(self, request: bytes, now_ns: int) -> Fate:
        register, value = struct.unpack_from(">HH", request, 2)
        self.frames.append(Frame(now_ns, request[0], request[1], register, value))
        fate = self.behind.fate(request, now_ns)
        return fate._replace(
            loses_request=fate.loses_request or request[0] in self.dead,
            loses_reply=fate.loses_reply or request[0] in self.mute,
        )

    def since(self, at_ns: int, address: int | None = None) -> list[Frame]:
        return [f for f in self.frames if f.at_ns >= at_ns and address in (None, f.address)]

    def setpoints(self, since_ns: int = 0, address: int | None = None) -> list[Frame]:
        return [frame for frame in self.since(since_ns, address) if frame.is_setpoint]


class VirtualRig:
    """A whole scan on simulated buses in virtual time: real core, gate, plan, image and bytes."""

    def __init__(
        self,
        tables: Tables,
        scenario: Scenario,
        directory: Path,
        guarded: FakeGuarded | None = None,
        *,
        records: bool = False,
    ) -> None:
        self.tables = tables
        self.guarded = guarded or FakeGuarded()
        self.site = VirtualSite(tables, scenario, START_ns)
        self.taps = [Wiretap(line.faults) for line in self.site.lines]
        for line, tap in zip(self.site.lines, self.taps, strict=True):
            line.faults = tap
        self.tap = self.taps[0]
        self.clock = RigClock(self.site.clock)
        self.guarded.now_ns = self.clock.now_ns
        self.maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
        self.plan = make_plan(tables, self.maps)
        self.core = Core(tables)
        if records:
            self.core = taped(tables, directory / "flight", START_ns + next(STARTS))
            (directory / "tables.json").write_text(dump(tables))
        self.image_path = directory / "image"
        self.image = Writer(
            self.image_path,
            len(tables.buses),
            len(tables.circuits),
            len(tables.meters),
            len(tables.chargers),
            self.core.plant_bytes,
            0,
            tables.site.period_ns,
        )
        self.core.attach(self.image.plant)
        self.gate = Gate(tables)
        self.field = Field(
            tables,
            self.maps,
            self.plan,
            self.site.wires,
            self.site.runner,
            self.core,
            self.gate,
            self.image,
            self.guarded,
        )
        self.pacer = Pacer(tables.site.period_ns, START_ns)
        self.modes = Modes(tables.site.missed_limit, tables.tuning.healthy_scans)
        self.scan = Scan(
            self.field,
            self.core,
            self.image,
            self.clock,
            self.pacer,
            self.modes,
            self.guarded,
            tape=self.core if records else None,
        )

    def pass_one(self) -> None:
        """One pass of the loop, with its wake."""
        self.scan.run_once()

    def run_for(self, span_ns: int) -> None:
        until_ns = self.clock.now_ns() + span_ns
        while self.pacer.grid_at_ns < until_ns:
            self.pass_one()

    def scans_of(self, frames: list[Frame]) -> list[int]:
        """The number of the grid period that each frame fell into."""
        return [(frame.at_ns - START_ns) // self.tables.site.period_ns for frame in frames]

    def snapshot(self) -> dict[str, Any]:
        return Reader(self.image_path).snapshot()

    def events(self, kind: Event) -> list[dict[str, Any]]:
        return [event for event in self.snapshot()["events"] if event["kind"] == kind]

    def setpoints_mA(self) -> list[int]:
        return [charger["setpoint_mA"] for charger in self.snapshot()["chargers"]]
