"""Device maps from TOML: the loader and every rule of validity.

All broken rules of a file are reported together, one line each: file, path, value, bound. Files are
read here and only before anything runs; `parse_map` takes plain dicts, so that another process
needs no file. The format is described in `hw/maps/README.md`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from hw.device_map import (
    ADDRESS_MAX,
    CHARGER,
    CONFIDENCES,
    FED_BY,
    FED_BY_KICK,
    GAP_SCOPES,
    METER,
    STATE_LETTERS,
    DeviceMap,
    Fallback,
    Place,
    Preset,
    Setpoint,
    Watchdog,
)
from hw.map_registers import NOTHING, RegisterReader
from hw.map_section import Section, text_of
from hw.registers import Register
from hw.toml_text import parsed, read_text
from hw.wire import Patience
from loadctl.errors import ConfigError
from loadctl.units import NS_PER_MS, NS_PER_S

SHIPPED_DIR = Path(__file__).parent / "maps"
BAUDS_RANGE = (300, 1_000_000)
FRAME = re.compile(r"[78][NEO][12]")
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TIME_MAX_ms = 10_000
CURRENT_MAX_A = 1_000
GUARDING_SECTIONS = ("setpoint", "watchdog", "fallback", "rating", "arming", "states")


def load_maps(extra_dirs: Sequence[Path] = ()) -> dict[str, dict[str, Any]]:
    """The TOML of every shipped map and of every *.toml in `extra_dirs`, by id, each one checked.

    A directory may add models; to say something else about a model that is already there is an
    error.
    """
    raw_by_id: dict[str, dict[str, Any]] = {}
    file_by_id: dict[str, Path] = {}
    lines: list[str] = []
    for directory in (SHIPPED_DIR, *extra_dirs):
        if not directory.is_dir():
            lines.append(f"{directory}: no such directory of device maps")
            continue
        for path in sorted(directory.glob("*.toml")):
            try:
                raw = read_map(path)
            except ConfigError as error:
                lines.extend(error.lines)
                continue
            if raw["id"] in file_by_id:
                lines.append(f"{path}: id: {raw['id']!r} is already in {file_by_id[raw['id']]}")
                continue
            raw_by_id[raw["id"]] = raw
            file_by_id[raw["id"]] = path
    if lines:
        raise ConfigError(*lines)
    return raw_by_id


def read_map(path: Path) -> dict[str, Any]:
    """One file, parsed and checked."""
    raw = parsed(path, read_text(path))
    device_map = parse_map(raw, str(path))
    if device_map.id != path.stem:
        raise ConfigError(f"{path}: id: {device_map.id!r} is not the file's name {path.stem!r}")
    return raw


def parse_map(raw: dict[str, Any], where: str) -> DeviceMap:
    """The map that a parsed TOML file describes; ConfigError with every broken rule."""
    return _Reader(raw, where).device_map()


class _Reader(RegisterReader):
    """One pass over one map: identity, line, and what makes a charger."""

    def device_map(self) -> DeviceMap:
        top = self.top
        top.integer("format", 1, 1)
        map_id = top.text("id")
        if map_id and not ID.fullmatch(map_id):
            top.complain("id", f"{map_id!r} is not lower-case letters, digits and single hyphens")
        kind = top.choice("kind", (METER, CHARGER))
        name = top.text("name")
        notes = tuple(str(note) for note in top.array("notes")) if top.has("notes") else ()
        sources = self._sources()
        bauds, frames, addresses = self._serial()
        patience, lag_ns = self._timing()
        self.read_registers()
        self.read_blocks()
        is_charger = kind == CHARGER
        setpoint = self._setpoint() if is_charger else None
        watchdog = self._watchdog() if is_charger and top.has("watchdog") else None
        fallback = self._fallback() if is_charger and top.has("fallback") else None
        presets = self._presets() if is_charger and top.has("arming") else ()
        rated_mA = self._rating() if is_charger and top.has("rating") else None
        states = self._states() if is_charger and top.has("states") else {}
        n_connectors, stride = (
            self._connectors() if is_charger and top.has("connectors") else (1, 0)
        )
        current, power, voltage = (
            self.triple("current", "A"),
            self.triple("power", "W"),
            self.triple("voltage", "V"),
        )
        state = self.place("state", 1) if is_charger else None
        in_force = self.place("setpoint_in_force_A", 1000) if is_charger else None
        if kind == METER:
            self.place("frequency_Hz", 1000)
        if kind == METER and current is None:
            top.complain("blocks", "a meter's must hold current_1_A, current_2_A and current_3_A")
        if is_charger:
            self._cross_checks(state, states, watchdog, fallback)
        top.finish()
        if self.lines:
            raise ConfigError(*self.lines)
        return DeviceMap(
            id=map_id,
            kind=kind,
            name=name,
            confidence=self._guarding_confidence(),
            doubts=tuple(path for path, letter in self.confidences.items() if letter == "L"),
            sources=sources,
            notes=notes,
            bauds=bauds,
            frames=frames,
            addresses=addresses,
            patience=patience,
            registers=self.registers,
            blocks=self.blocks,
            lag_ns=lag_ns,
            current=current,
            power=power,
            voltage=voltage,
            state=state,
            setpoint_in_force=in_force,
            setpoint=setpoint,
            watchdog=watchdog,
            fallback=fallback,
            presets=presets,
            rated_mA=rated_mA,
            states=states,
            n_connectors=n_connectors,
            connector_stride=stride,
        )

    # identity and line

    def _sources(self) -> tuple[str, ...]:
        found = []
        for i, raw in enumerate(self.top.array("sources")):
            section = Section(raw, self.top.where, f"sources[{i}]", self.lines)
            words = [section.text("document"), section.text("revision")]
            if section.has("page"):
                words.append(section.text("page"))
            section.finish()
            found.append(", ".join(words))
        if not found:
            self.top.complain("sources", "a map without a source guards no fuse: name at least one")
        return tuple(found)

    def _serial(self) -> tuple[tuple[int, ...], tuple[str, ...], tuple[int, int]]:
        section = self.top.table("serial")
        bauds = section.array("bauds")
        low, high = BAUDS_RANGE
        for baud in bauds:
            if not _is_whole(baud) or not low <= baud <= high:
                section.complain("bauds", f"{baud!r} is not within {low} to {high} baud")
        frames = section.array("frames")
        for frame in frames:
            if not isinstance(frame, str) or not FRAME.fullmatch(frame):
                section.complain(
                    "frames", f"{frame!r} is not data bits, parity and stop bits as in 8E1"
                )
        for key, items in (("bauds", bauds), ("frames", frames)):
            if not items or len(set(map(str, items))) != len(items):
                section.complain(key, f"{items} must name at least one, each once")
        lowest, highest = section.pair("addresses")
        are_whole = lowest.denominator == highest.denominator == 1
        if not are_whole or not 1 <= lowest <= highest <= ADDRESS_MAX:
            found = f"{text_of(lowest)} to {text_of(highest)}"
            section.complain("addresses", f"{found} is not within 1 to {ADDRESS_MAX}")
        self.confidence_of(section)
        return tuple(bauds), tuple(frames), (int(lowest), int(highest))

    def _timing(self) -> tuple[Patience, int]:
        section = self.top.table("timing")
        turnaround_ms = section.positive("turnaround_ms", TIME_MAX_ms)
        timeout_ms = section.positive("timeout_ms", TIME_MAX_ms)
        if timeout_ms < turnaround_ms:
            section.complain(
                "timeout_ms",
                f"{text_of(timeout_ms)} is below turnaround_ms = {text_of(turnaround_ms)}",
            )
        patience = Patience(
            turnaround_ns=_ns_up(turnaround_ms, NS_PER_MS),
            timeout_ns=_ns_up(timeout_ms, NS_PER_MS),
            gap_ns=_ns_up(section.number("gap_ms", 0, TIME_MAX_ms), NS_PER_MS),
            gap_on_bus=section.choice("gap_scope", GAP_SCOPES) == "bus",
        )
        lag_ns = _ns_up(section.number("lag_ms", 0, 60_000), NS_PER_MS)
        self.confidence_of(section)
        return patience, lag_ns

    # what makes a charger

    def _setpoint(self) -> Setpoint:
        section = self.top.table("setpoint")
        register = self.register_of(section, "register", unit="A", must_write=True)
        least = section.positive("min_A", CURRENT_MAX_A)
        most = section.positive("max_A", CURRENT_MAX_A)
        step = section.positive("step_A", CURRENT_MAX_A)
        if least > most:
            section.complain("min_A", f"{text_of(least)} A is above max_A = {text_of(most)} A")
        for key, value in (("min_A", least), ("max_A", most)):
            if value % step:
                section.complain(
                    key, f"{text_of(value)} A is not a multiple of step_A = {text_of(step)} A"
                )
        self.check_grid(section, "step_A", step, register)
        for key, value in (("min_A", least), ("max_A", most)):
            self.check_grid(section, key, value, register)
        pause_raw = self.raw(section, "pause_raw", register)
        if register is not None and least <= Fraction(pause_raw) * register.scale:
            section.complain(
                "pause_raw", f"{pause_raw} is a setpoint of min_A = {text_of(least)} A or more"
            )
        setpoint = Setpoint(
            register=register or NOTHING,
            min_mA=self.mA(section, "min_A", least),
            max_mA=self.mA(section, "max_A", most),
            step_mA=self.mA(section, "step_A", step),
            pause_raw=pause_raw,
            hold_ns=_ns_up(section.number("hold_s", 0, 3600), NS_PER_S),
            min_change_ns=_ns_up(section.number("min_change_s", 0, 3600), NS_PER_S),
            min_pause_ns=_ns_up(section.number("min_pause_s", 0, 3600), NS_PER_S)
            if section.has("min_pause_s")
            else 0,
        )
        self.confidence_of(section)
        return setpoint

    def _watchdog(self) -> Watchdog:
        section = self.top.table("watchdog")
        register, read_back = None, None
        if section.has("register"):
            register, read_back = self._read_back_pair(section, "s", must_write=False)
        timeout_s = section.positive("timeout_s", 86_400)
        if register is not None:
            self.check_grid(section, "timeout_s", timeout_s, register)
        fed_by = section.choice("fed_by", FED_BY)
        kick, kick_raw = None, 0
        if fed_by == FED_BY_KICK:
            kick = self.register_of(section, "kick_register", unit="", must_write=True)
            kick_raw = int(self.raw(section, "kick_raw", kick))
        self.confidence_of(section)
        timeout_ns = int(timeout_s * NS_PER_S)
        return Watchdog(register, fed_by, timeout_ns, kick, kick_raw, read_back)

    def _read_back_pair(
        self, section: Section, unit: str, *, must_write: bool
    ) -> tuple[Register | None, Register | None]:
        """A register that arming writes, and the one that shows what then holds where it is another
        one."""
        is_apart = section.has("read_back")
        register = self.register_of(
            section,
            "register",
            unit=unit,
            must_read=not is_apart,
            must_write=must_write or is_apart,
        )
        if not is_apart:
            return register, None
        read_back = self.register_of(section, "read_back", unit=unit, must_read=True)
        if register is None or read_back is None:
            return register, read_back
        if (register.type, register.scale) != (read_back.type, read_back.scale):
            section.complain(
                "read_back", f"{read_back.name} has another type or scale than {register.name}"
            )
        return register, read_back

    def _fallback(self) -> Fallback:
        section = self.top.table("fallback")
        if section.has("fixed_A"):
            fixed_mA = self.mA(section, "fixed_A", section.number("fixed_A", 0, CURRENT_MAX_A))
            self.confidence_of(section)
            return Fallback(None, fixed_mA, fixed_mA, fixed_mA, 0)
        register, read_back = self._read_back_pair(section, "A", must_write=True)
        least = section.positive("min_A", CURRENT_MAX_A)
        most = section.positive("max_A", CURRENT_MAX_A)
        if least > most:
            section.complain("min_A", f"{text_of(least)} A is above max_A = {text_of(most)} A")
        for key, value in (("min_A", least), ("max_A", most)):
            self.check_grid(section, key, value, register)
        pause_raw = int(self.raw(section, "pause_raw", register)) if section.has("pause_raw") else 0
        self.confidence_of(section)
        return Fallback(
            register or NOTHING,
            self.mA(section, "min_A", least),
            self.mA(section, "max_A", most),
            None,
            pause_raw,
            read_back,
        )

    def _presets(self) -> tuple[Preset, ...]:
        presets = []
        for i, raw in enumerate(self.top.array("arming")):
            section = Section(raw, self.top.where, f"arming[{i}]", self.lines)
            register = self.register_of(section, "register", must_read=True)
            presets.append(Preset(register or NOTHING, self.raw(section, "raw", register)))
            self.confidence_of(section)
        return tuple(presets)

    def _rating(self) -> int:
        section = self.top.table("rating")
        rated_mA = self.mA(section, "rated_A", section.positive("rated_A", CURRENT_MAX_A))
        self.confidence_of(section)
        return rated_mA

    def _states(self) -> dict[int, str]:
        section = self.top.table("states")
        states = {}
        for raw_text in section.other_keys("confidence"):
            letter = section.choice(raw_text, STATE_LETTERS)
            if raw_text.isdecimal() and int(raw_text) <= 65535:
                states[int(raw_text)] = letter
            else:
                section.complain(raw_text, "is not a raw state within 0 to 65535")
        self.confidence_of(section)
        return states

    def _connectors(self) -> tuple[int, int]:
        section = self.top.table("connectors")
        count, stride = section.integer("count", 1, 8), section.integer("stride", 0, 65535)
        if count > 1 and stride == 0:
            section.complain("stride", f"0 puts {count} connectors on the same registers")
        self.confidence_of(section)
        return count, stride

    def _cross_checks(
        self,
        state: Place | None,
        states: dict[int, str],
        watchdog: Watchdog | None,
        fallback: Fallback | None,
    ) -> None:
        if (state is None) != (not states):
            self.top.complain(
                "states", "go with a register named state that a block holds, and it with them"
            )
        if "state" in self.registers and self.registers["state"].is_float:
            self.top.complain("registers.state.type", "a state is a whole number")
        if fallback is not None and watchdog is None:
            self.top.complain("fallback", "nothing leads to it without [watchdog]")

    def _guarding_confidence(self) -> str:
        """The worst letter among the facts that the safety of a fuse rests on."""
        paths = {f"registers.{name}" for name in self.guarding} | {"timing", "timing.lag_ms"}
        letters = [
            letter
            for path, letter in self.confidences.items()
            if path in paths or path.partition(".")[0].partition("[")[0] in GUARDING_SECTIONS
        ]
        return max(letters, key=CONFIDENCES.index, default=CONFIDENCES[-1])


def _ns_up(value: Fraction, ns_per_unit: int) -> int:
    return math.ceil(value * ns_per_unit)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
