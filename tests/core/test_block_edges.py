"""The block of the plant at its edges: no rule writes beside it."""

from __future__ import annotations

from typing import Any

from loadctl._core import Core
from tests.support.core_sites import (
    GOOD,
    NO_ANSWER,
    NS_PER_S,
    RUN,
    charger,
    circuit,
    meter,
    site,
)

GUARD = 4096
PERIOD_ns = NS_PER_S // 2


def guarded(tables: Any) -> tuple[Core, bytearray]:
    core = Core(tables)
    block = bytearray(b"\xa5" * GUARD + bytes(core.plant_bytes) + b"\xa5" * GUARD)
    core.attach(memoryview(block)[GUARD:-GUARD])
    core.set_mode(RUN)
    return core, block


def is_whole(block: bytearray) -> bool:
    return block[:GUARD] == block[-GUARD:] == b"\xa5" * GUARD


def test_scans_write_nothing_beside_the_block() -> None:
    circuits = [circuit("main", 40_000, is_dynamic=True, meter=0), circuit("sub", 20_000, 0)]
    core, block = guarded(site(circuits, [charger("a"), charger("b", 1)], [meter("m")]))
    for i in range(2):
        core.charger_armed(i, True, 0)
    for k in range(40):
        now_ns = 10 * NS_PER_S + k * PERIOD_ns
        core.meter_read(0, GOOD, (30_000, 30_000, 45_000 if k > 30 else 30_000), None, None, now_ns)
        for i in range(2):
            core.charger_status(i, GOOD, "C", (6000, 6000, 6000), 6000, now_ns)
        assert core.step(now_ns) == 0
        for i, _ in core.takes():
            core.take_done(i, GOOD, now_ns)
        assert core.confirm(now_ns) == 0
        for i, _ in core.gives():
            core.give_done(i, GOOD, now_ns)
    core.charger_answered(1, NO_ANSWER, now_ns)
    core.settle([True, True])
    assert is_whole(block)


def test_starve_ends_with_the_outlets_of_its_box() -> None:
    """One that refuses for as long as it may need to follow, the last of the site."""
    core, block = guarded(site([circuit("main", 40_000)], [charger("a", fallback_mA=0)]))
    core.charger_armed(0, True, 0)
    for k in range(80):
        now_ns = 10 * NS_PER_S + k * PERIOD_ns
        core.charger_status(0, GOOD, "A" if k > 20 else "C", (9000, 0, 0), 9000, now_ns)
        core.step(now_ns)
        for i, _ in core.takes():
            core.take_done(i, GOOD, now_ns)
        core.confirm(now_ns)
        for i, _ in core.gives():
            core.give_done(i, GOOD, now_ns)
        if core.starving():
            break
    assert core.starving() == [0]
    assert is_whole(block)
