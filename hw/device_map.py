"""What a device map says, as plain frozen rows.

Owns the words of a map; `hw/map_file.py` makes them from TOML and `hw/devices.py` uses them. No
I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hw.registers import BlockDecoder, Raw, Register
from hw.wire import Patience

METER = "meter"
CHARGER = "charger"

FED_BY_ANY = "any"  # every message to the box keeps its watchdog quiet, reads too
FED_BY_READS = "reads"  # any register read
FED_BY_WRITES = "writes"  # only writes (of setpoints)
FED_BY_KICK = "kick"  # only a write of a certain value to a certain register
FED_BY = (FED_BY_ANY, FED_BY_READS, FED_BY_WRITES, FED_BY_KICK)

GAP_SCOPES = ("device", "bus")
CONFIDENCES = ("H", "M", "L")  # best first
STATE_LETTERS = ("A", "B", "C", "D", "E", "F")
ADDRESS_MAX = 255  # beyond Modbus' 247: some boxes are shipped at 248 or 255
BLOCK_REGISTERS_MAX = 125  # what one reply can carry


@dataclass(frozen=True, slots=True)
class Block:
    """One contiguous read; `registers` are those of the map wholly inside it, by address.
    `alternate_count` is that of a longer read of the same, None where the device has none."""

    name: str
    function: int
    address: int
    count: int
    alternate_count: int | None
    registers: tuple[Register, ...]
    decoder: BlockDecoder = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Setpoint:
    register: Register
    min_mA: int  # least current that is not a pause
    max_mA: int
    step_mA: int
    pause_raw: Raw  # what is written for 0 A; not always 0
    hold_ns: int  # how long the box may take before the car sees a lower value
    min_change_ns: int  # least time between two changes of the setpoint upward
    min_pause_ns: int = 0  # least time between a pause and the next current


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The charger's own communication watchdog. `register` is None when its time is fixed."""

    register: Register | None
    fed_by: str
    timeout_ns: int  # what arming writes, or the fixed time
    kick: Register | None
    kick_raw: int
    read_back: Register | None = None  # where its time is read; None: in `register` itself


@dataclass(frozen=True, slots=True)
class Fallback:
    """The current that the charger falls to when its watchdog expires. `register` is None when it
    is fixed.
    """

    register: Register | None
    min_mA: int  # least nonzero value that the register takes
    max_mA: int
    fixed_mA: int | None  # where it cannot be written
    pause_raw: int  # what is written for a fallback of 0 A
    read_back: Register | None = None  # where it is read; None: in `register` itself


class Preset(NamedTuple):
    """A raw value that must stand in a register before the charger may be granted anything."""

    register: Register
    raw: Raw


class Place(NamedTuple):
    """Where a wanted value is found: a block, the nth of its registers by address, and the ratio
    to mA, mV or W: raw * num / den."""

    block: str
    nth: int
    num: int
    den: int


Triple = tuple[Place, Place, Place]


@dataclass(frozen=True, slots=True)
class DeviceMap:
    id: str
    kind: str  # METER or CHARGER
    name: str
    confidence: str  # lowest confidence of anything that guards a fuse
    doubts: tuple[str, ...]  # every fact of confidence L, by its path in the file
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    bauds: tuple[int, ...]
    frames: tuple[str, ...]  # first is the factory setting
    addresses: tuple[int, int]  # lowest and highest address the device takes
    patience: Patience
    registers: dict[str, Register]
    blocks: tuple[Block, ...]  # meters: what is read each scan; chargers: the status block(s)
    lag_ns: int  # how old a measured current may be when it is answered
    # what is decoded, where the blocks hold it
    current: Triple | None
    power: Triple | None
    voltage: Triple | None
    state: Place | None
    setpoint_in_force: Place | None
    # chargers only, else None / 0
    setpoint: Setpoint | None
    watchdog: Watchdog | None  # None: the box has none
    fallback: Fallback | None  # None: the box has none
    presets: tuple[Preset, ...]
    rated_mA: int | None  # hardware rating; None: the site file must say it
    states: dict[int, str]  # raw state to IEC 61851 letter A..F
    n_connectors: int
    connector_stride: int  # registers from one connector to the next

    @property
    def has_measured_current(self) -> bool:
        return self.current is not None
