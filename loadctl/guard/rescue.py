"""Failsafe setpoints for a site that nobody runs: once to every charger, read back, then gone.

What the stop action of the service and `loadctl failsafe` do when guard and scan are both gone.
Does it with the guard's own holders and frames: min(last, failsafe), largest decrease first, one
thread per bus; a last that nobody knows is read first. The caller holds the lock of the site. A
bus is told as soon as its port is open: those on a network, which may take seconds, are opened
meanwhile and side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from hw.clock import MonotonicClock
from hw.devices import DeviceMap
from hw.lock import is_url
from hw.opening import OpenPort, close_port, open_port
from hw.wire import Line
from loadctl.bound import takeover_bounds
from loadctl.errors import BusError
from loadctl.guard.frames import boxes_of
from loadctl.guard.takeover import BusHolder
from loadctl.link import Link
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

LOOK_EVERY_s = 0.01


class Outcome(NamedTuple):
    """What became of one charger. `target_mA` is what it was told, or would have been."""

    charger_i: int
    target_mA: int
    is_acknowledged: bool
    is_left_alone: bool  # starved: a message would keep its watchdog from acting
    why: str  # of a port that could not be opened; else empty


def bring_down(
    tables: Tables, maps: dict[str, DeviceMap], lock_dir: Path, link: Link
) -> list[Outcome]:
    """Every charger but the isolated ones, in file order."""
    bounds = takeover_bounds(tables, maps)
    holders: list[BusHolder] = []
    outcomes: list[Outcome] = []
    clock = MonotonicClock()
    boxes = {bus_i: boxes_of(tables, maps, bus_i) for bus_i in range(len(tables.buses))}
    try:
        for bus_i, port in opened_ports(tables, [i for i in boxes if boxes[i]], lock_dir):
            if isinstance(port, BusError):
                why = str(port)
                outcomes += [
                    Outcome(box.index, box.failsafe_mA, False, False, why) for box in boxes[bus_i]
                ]
                continue
            row, silence_ns = tables.buses[bus_i], bounds[bus_i].silence_ns
            holder = BusHolder(bus_i, row, boxes[bus_i], port, lock_dir, silence_ns, link, clock)
            holders.append(holder)
            holder.take()
        # Writing twice and reading back, as the guard counts it; a thread that ended is not waited
        # for.
        within_ns = NS_PER_S + max((b.silence_ns + 4 * b.writes_ns for b in bounds), default=0)
        give_up_ns = clock.now_ns() + within_ns
        while clock.now_ns() < give_up_ns and not all(map(is_done, holders)):
            time.sleep(LOOK_EVERY_s)
        outcomes += [outcome for holder in holders for outcome in outcomes_of(holder)]
    finally:
        for holder in holders:
            holder.end()
    return sorted(outcomes)


def opened_ports(
    tables: Tables, buses: Sequence[int], lock_dir: Path
) -> Iterator[tuple[int, OpenPort | BusError]]:
    """Each port when it is open, or why it is not: ttys in file order, a network as it answers."""
    remote = [bus_i for bus_i in buses if is_url(tables.buses[bus_i].port)]
    with ThreadPoolExecutor(max(1, len(remote))) as pool:
        waits = {pool.submit(opened, tables, bus_i, lock_dir): bus_i for bus_i in remote}
        for bus_i in buses:
            if bus_i not in remote:
                yield bus_i, opened(tables, bus_i, lock_dir)
        for done in as_completed(waits):
            yield waits[done], done.result()


def opened(tables: Tables, bus_i: int, lock_dir: Path) -> OpenPort | BusError:
    """BusError where there is no such port, or it lives in the process that opened it."""
    row = tables.buses[bus_i]
    try:
        port = open_port(row.port, Line(row.baud, row.frame), lock_dir, row.uses_rs485_mode)
    except BusError as error:
        return error
    if port.data_fd < 0:
        close_port(port)
        return BusError(f"port {row.port}: lives in the process that opens it, not written here")
    return port


def is_done(holder: BusHolder) -> bool:
    return holder.is_verified or not holder.is_alive


def outcomes_of(holder: BusHolder) -> Sequence[Outcome]:
    return [
        Outcome(
            box.index,
            box.target_mA,
            box.is_acknowledged,
            box.is_starved or box.starve_until_ns > 0,
            "",
        )
        for box in holder.boxes
    ]
