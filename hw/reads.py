"""The ways in which one device can be read: blocks joined where they touch, or ever shorter reads.

Owns which registers go into one request. Each way is the device's map with other blocks, so that
exchanges and decoding are those of any map. No I/O, no clock.

A map's table says which registers exist; nothing outside it is ever read over. A device that
refuses a block is read in the next way: the map's own blocks, then the wanted values in runs of
neighbours, then one value at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hw.device_map import BLOCK_REGISTERS_MAX, Block, DeviceMap, Place, Triple
from hw.registers import BlockDecoder, Register

# Registers that nobody wants cost two bytes each; a request of its own costs at least 13 bytes, a
# turnaround and the gap that the device wants before it.
READ_OVER_MAX = 16


def ways_to_read(device_map: DeviceMap) -> tuple[DeviceMap, ...]:
    """The usual way first, then those for a device that refuses the one before; at least one."""
    wanted = _wanted(device_map)
    ways = (
        device_map_with(device_map, _joined(device_map)),
        device_map,
        device_map_with(device_map, _runs(wanted)),
        device_map_with(device_map, _runs(wanted, n_max=1)),
    )
    found: list[DeviceMap] = []
    for way in ways:
        if way.blocks and not any(_reads(way) == _reads(other) for other in found):
            found.append(way)
    return tuple(found) or (device_map,)


def device_map_with(device_map: DeviceMap, blocks: tuple[Block, ...]) -> DeviceMap:
    """The same device read in other blocks; what they do not hold is not decoded."""
    return replace(
        device_map,
        blocks=blocks,
        current=_moved_triple(device_map, device_map.current, blocks),
        power=_moved_triple(device_map, device_map.power, blocks),
        voltage=_moved_triple(device_map, device_map.voltage, blocks),
        state=_moved(device_map, device_map.state, blocks),
        setpoint_in_force=_moved(device_map, device_map.setpoint_in_force, blocks),
    )


def _reads(device_map: DeviceMap) -> list[tuple[int, int, int]]:
    return [(block.function, block.address, block.count) for block in device_map.blocks]


def _wanted(device_map: DeviceMap) -> list[Register]:
    """What the controller cannot do without, by function and address."""
    places = [*(device_map.current or ()), device_map.state, device_map.setpoint_in_force]
    found = {_register(device_map, place) for place in places if place is not None}
    return sorted(found, key=lambda register: (register.read_function, register.address))


def _register(device_map: DeviceMap, place: Place) -> Register:
    block = next(block for block in device_map.blocks if block.name == place.block)
    return block.registers[place.nth]


def _runs(registers: Iterable[Register], n_max: int = BLOCK_REGISTERS_MAX) -> tuple[Block, ...]:
    """One block for each run of neighbours, of at most `n_max` values."""
    runs: list[list[Register]] = []
    for register in registers:
        last = runs[-1] if runs else []
        if (
            last
            and len(last) < n_max
            and register.read_function == last[-1].read_function
            and register.address == last[-1].address + last[-1].count
            and register.address + register.count - last[0].address <= BLOCK_REGISTERS_MAX
        ):
            last.append(register)
        else:
            runs.append([register])
    return tuple(_block("+".join(r.name for r in run), run[0].read_function, run) for run in runs)


def _block(name: str, function: int, registers: list[Register]) -> Block:
    address = registers[0].address
    count = registers[-1].address + registers[-1].count - address
    return _spanning(name, function, address, count, tuple(registers))


def _spanning(
    name: str, function: int, address: int, count: int, registers: tuple[Register, ...]
) -> Block:
    decoder = BlockDecoder(address, count, registers)
    return Block(name, function, address, count, None, registers, decoder)


def _joined(device_map: DeviceMap) -> tuple[Block, ...]:
    """Blocks that touch, or between which every register is in the table, in one request."""
    known: dict[int, set[int]] = {}
    for register in device_map.registers.values():
        at = range(register.address, register.address + register.count)
        known.setdefault(register.read_function, set()).update(at)
    found: list[Block] = []
    for block in sorted(device_map.blocks, key=lambda block: (block.function, block.address)):
        last = found[-1] if found else None
        if last is not None and _may_join(last, block, known.get(block.function, set())):
            found[-1] = _union(last, block)
        else:
            found.append(block)
    return tuple(found) if len(found) < len(device_map.blocks) else device_map.blocks


def _may_join(one: Block, other: Block, known: set[int]) -> bool:
    """A block with a longer form stays as it is: its two lengths tell late replies apart."""
    between = range(one.address + one.count, other.address)
    end = max(one.address + one.count, other.address + other.count)
    return (
        one.function == other.function
        and one.alternate_count is None
        and other.alternate_count is None
        and end - one.address <= BLOCK_REGISTERS_MAX
        and len(between) <= READ_OVER_MAX
        and all(at in known for at in between)
    )


def _union(one: Block, other: Block) -> Block:
    registers = sorted({*one.registers, *other.registers}, key=lambda register: register.address)
    count = max(one.address + one.count, other.address + other.count) - one.address
    name = f"{one.name}+{other.name}"
    return _spanning(name, one.function, one.address, count, tuple(registers))


def _moved_triple(
    device_map: DeviceMap, triple: Triple | None, blocks: tuple[Block, ...]
) -> Triple | None:
    if triple is None:
        return None
    first, second, third = (_moved(device_map, place, blocks) for place in triple)
    if first is None or second is None or third is None:
        return None
    return first, second, third


def _moved(device_map: DeviceMap, place: Place | None, blocks: tuple[Block, ...]) -> Place | None:
    """Where the other blocks hold the same register."""
    if place is None:
        return None
    register = _register(device_map, place)
    for block in blocks:
        if register in block.registers:
            return place._replace(block=block.name, nth=block.registers.index(register))
    return None
