"""The registers and blocks of a device map, and the rules that every part of a map shares.

One half of reading a map: `hw/map_file.py` builds the rest on it. Collects broken rules, never
stops at the first. No I/O, no clock.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hw.device_map import BLOCK_REGISTERS_MAX, CONFIDENCES, Block, Place, Triple
from hw.map_section import Section, nearest, text_of
from hw.registers import (
    TYPE_FORMATS,
    UNITS,
    BlockDecoder,
    Raw,
    Register,
    believable_range,
    type_range,
    words_of,
)
from hw.wire import READ_HOLDING, READ_INPUT, WRITE_MANY, WRITE_ONE

INT32_MAX = 2**31 - 1
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
UNIT_OF_WRONG_SUFFIX = {unit.lower(): unit for unit in UNITS} | {
    "ma": "A",
    "mv": "V",
    "kw": "W",
    "kwh": "Wh",
    "ms": "s",
}

# Stands in where a map names no usable register, so that reading can go on to the next broken rule.
NOTHING = Register("", 0, 1, "u16", True, "", Fraction(1), 0, 0, None, "L", None)


class RegisterReader:
    """`lines` collects what is wrong, `confidences` every fact's letter by its path, `guarding` the
    registers that the safety of a fuse rests on.
    """

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.lines: list[str] = []
        self.confidences: dict[str, str] = {}
        self.guarding: set[str] = set()
        self.top = Section(raw, where, "", self.lines)
        self.registers: dict[str, Register] = {}
        self.blocks: tuple[Block, ...] = ()

    def read_registers(self) -> None:
        for name, section in self.top.table("registers").items():
            if not NAME.fullmatch(name):
                section.complain(
                    "", f"{name!r} is not letters and digits joined by single underscores"
                )
            self.registers[name] = self._register(name, section)
        self._refuse_overlaps()

    def _register(self, name: str, section: Section) -> Register:
        before = len(self.lines)
        type_name = section.choice("type", tuple(TYPE_FORMATS))
        count = words_of(type_name)
        high_word_first = True
        if count > 1:
            high_word_first = section.choice("words", ("high", "low")) == "high"
        elif section.has("words"):
            section.complain("words", f"{type_name} is one word and has no order")
        read = section.integer("read", READ_HOLDING, READ_INPUT) if section.has("read") else 0
        write = section.integer("write", WRITE_ONE, WRITE_MANY) if section.has("write") else 0
        if write and (write not in (WRITE_ONE, WRITE_MANY) or (write == WRITE_ONE and count > 1)):
            section.complain("write", f"function {write} does not write a {type_name}")
        if not read and not write:
            section.complain("", "neither read nor written: give read, write or both")
        if write and read == READ_INPUT:
            section.complain("read", "input registers (function 4) cannot be written: use two rows")
        register = Register(
            name=name,
            address=section.integer("address", 0, 65536 - count),
            count=count,
            type=type_name,
            high_word_first=high_word_first,
            unit=self._unit(name, section),
            scale=section.positive("scale") if section.has("scale") else Fraction(1),
            read_function=read,
            write_function=write,
            plausible=section.pair("plausible") if section.has("plausible") else None,
            confidence=self.confidence_of(section, is_row=True),
            factory_raw=None,
            bits=self._bits(section, type_name) if section.has("bits") else None,
        )
        if len(self.lines) == before:
            self._check_plausible(section, register)
        if section.has("factory"):
            register = replace(register, factory_raw=self.raw(section, "factory", register))
        section.finish()
        return register

    def _bits(self, section: Section, type_name: str) -> tuple[int, int] | None:
        """A number in some of the bits of a register: for looking only, never to be written."""
        low, high = section.pair("bits")
        if type_name[0] != "u" or section.has("write") or section.has("scale"):
            section.complain("bits", "are a plain number in an unsigned register that is only read")
            return None
        highest = 16 * words_of(type_name) - 1
        if low.denominator != 1 or high.denominator != 1 or low < 0 or high > highest:
            section.complain(
                "bits", f"{text_of(low)} to {text_of(high)} is not within 0 to {highest}"
            )
            return None
        return int(low), int(high)

    def _unit(self, name: str, section: Section) -> str:
        last = name.rpartition("_")[2]
        if last in UNITS:
            return last
        meant = UNIT_OF_WRONG_SUFFIX.get(last.lower())
        if meant is not None and "_" in name:
            section.complain(
                "", f"the name ends in {last!r}, which is no unit here; nearest: {meant}"
            )
        return ""

    def _check_plausible(self, section: Section, register: Register) -> None:
        if register.plausible is None:
            return
        low, high = type_range(register.type)
        for bound in register.plausible:
            if not low <= bound / register.scale <= high:
                section.complain(
                    "plausible",
                    f"{text_of(bound)} {register.unit} is outside what {register.type} x "
                    f"{text_of(register.scale)} can hold",
                )

    def _refuse_overlaps(self) -> None:
        """Input and holding registers are two spaces; in each, a register is of one value only."""
        owner: dict[tuple[bool, int], str] = {}
        for register in self.registers.values():
            is_input = register.read_function == READ_INPUT
            for at in range(register.address, register.address + register.count):
                other = owner.setdefault((is_input, at), register.name)
                if other != register.name:
                    self.top.complain(
                        f"registers.{register.name}.address", f"{at} is also in {other}"
                    )
                    break

    def read_blocks(self) -> None:
        if not self.top.has("blocks"):
            return
        self.blocks = tuple(
            self._block(name, section) for name, section in self.top.table("blocks").items()
        )

    def _block(self, name: str, section: Section) -> Block:
        function = section.integer("read", READ_HOLDING, READ_INPUT)
        address = section.integer("address", 0, 65535)
        count = section.integer("count", 1, BLOCK_REGISTERS_MAX)
        alternate_count = None
        if section.has("alternate_count"):
            alternate_count = section.integer("alternate_count", 1, BLOCK_REGISTERS_MAX)
            self._check_alternate(section, function, address, count, alternate_count)
        self.confidence_of(section)
        inside = []
        for register in sorted(self.registers.values(), key=lambda register: register.address):
            overlap = min(register.address + register.count, address + count) - max(
                register.address, address
            )
            if register.read_function != function or overlap <= 0:
                continue
            if overlap < register.count:
                section.complain("", f"cuts {register.name} in two")
            inside.append(register)
        if not inside:
            section.complain("", f"holds no register that function {function} reads")
        if address + count > 65536:
            section.complain("count", f"{address} + {count} is beyond register 65535")
        is_whole = inside and all(
            address <= register.address and register.address + register.count <= address + count
            for register in inside
        )
        usable = inside if is_whole else []
        return Block(
            name,
            function,
            address,
            count,
            alternate_count,
            tuple(usable),
            BlockDecoder(address, count, usable),
        )

    def _check_alternate(
        self, section: Section, function: int, address: int, count: int, alternate_count: int
    ) -> None:
        """Every register that it reads beyond the block must stand in the table, whole: a device
        refuses a read that touches what it does not have, and often one that ends in a value."""
        end = address + alternate_count
        if alternate_count <= count:
            section.complain("alternate_count", f"{alternate_count} is not above count {count}")
        known: set[int] = set()
        for register in self.registers.values():
            if register.read_function == function:
                known.update(range(register.address, register.address + register.count))
                if register.address < end < register.address + register.count:
                    section.complain("alternate_count", f"cuts {register.name} in two")
        unknown = [at for at in range(address + count, end) if at not in known]
        if unknown:
            section.complain("alternate_count", f"reads {unknown[0]}, which no register holds")

    def place(self, name: str, per_unit: int) -> Place | None:
        """Where the blocks hold this value, and its ratio to mA, mV or W."""
        for block in self.blocks:
            for index, register in enumerate(block.registers):
                if register.name == name:
                    self.guarding.add(name)
                    self._check_range(register, per_unit)
                    ratio = register.scale * per_unit
                    return Place(block.name, index, ratio.numerator, ratio.denominator)
        return None

    def _check_range(self, register: Register, per_unit: int) -> None:
        """The core is handed an int32: a value that is used needs bounds that keep it one."""
        if not register.unit:
            return
        highest = (
            max(abs(bound) for bound in believable_range(register)) * register.scale * per_unit
        )
        if register.plausible is None or highest > INT32_MAX:
            self.top.complain(
                f"registers.{register.name}.plausible",
                f"needs bounds within {text_of(Fraction(INT32_MAX, per_unit))} {register.unit}",
            )

    def triple(self, what: str, unit: str) -> Triple | None:
        per_unit = 1 if unit == "W" else 1000
        places = [self.place(f"{what}_{phase}_{unit}", per_unit) for phase in (1, 2, 3)]
        first, second, third = places
        if first is not None and second is not None and third is not None:
            return first, second, third
        if any(places):
            self.top.complain(
                "blocks", f"must hold all of {what}_1_{unit} .. {what}_3_{unit} or none"
            )
        return None

    def register_of(
        self,
        section: Section,
        key: str,
        *,
        unit: str | None = None,
        must_read: bool = False,
        must_write: bool = False,
    ) -> Register | None:
        name = section.text(key)
        self.guarding.add(name)
        register = self.registers.get(name)
        if register is None:
            if name:
                section.complain(key, f"no register {name!r}{nearest(name, list(self.registers))}")
            return None
        if unit is not None and register.unit != unit:
            section.complain(
                key, f"{name} is in {register.unit or 'no unit'}, not in {unit or 'no unit'}"
            )
        if must_read and not register.read_function:
            section.complain(key, f"{name} cannot be read back")
        if must_write and not register.write_function:
            section.complain(key, f"{name} cannot be written")
        return register

    def raw(self, section: Section, key: str, register: Register | None) -> Raw:
        value = section.number(key)
        if register is None:
            return int(value)
        low, high = type_range(register.type)
        if not low <= value <= high or (not register.is_float and value.denominator != 1):
            section.complain(key, f"{text_of(value)} is no raw {register.type}")
            return 0
        return float(value) if register.is_float else int(value)

    def check_grid(
        self, section: Section, key: str, value: Fraction, register: Register | None
    ) -> None:
        """A quantity that is written must be a raw number of its register."""
        if register is None or register.is_float:
            return
        raw = value / register.scale
        if raw.denominator != 1:
            scale = f"{register.name}'s scale {text_of(register.scale)}"
            section.complain(key, f"{text_of(value)} is not a multiple of {scale}")
        low, high = believable_range(register)
        if key != "step_A" and not low <= raw <= high:
            section.complain(
                key,
                f"{text_of(value)} is outside {register.name}, which takes "
                f"{text_of(low * register.scale)} to {text_of(high * register.scale)}",
            )

    def mA(self, section: Section, key: str, value_A: Fraction) -> int:
        value_mA = value_A * 1000
        if value_mA.denominator != 1:
            section.complain(key, f"{text_of(value_A)} A is finer than 1 mA")
        return int(value_mA)

    def confidence_of(self, section: Section, *, is_row: bool = False) -> str:
        """Take `confidence`, one letter or one for every other key, and close the section.

        A row keeps its section open: the rest of its keys is still to be read.
        """
        facts = section.given_keys()
        if is_row or not section.holds_table("confidence"):
            letters = {section.path: section.choice("confidence", CONFIDENCES)}
        else:
            table = section.table("confidence")
            letters = {f"{section.path}.{key}": table.choice(key, CONFIDENCES) for key in facts}
            table.finish()
        self.confidences.update(letters)
        if not is_row:
            section.finish()
        return max(letters.values(), key=CONFIDENCES.index)
