"""One simulated bus in real time: `python -P -m hw.sim.bus_process`, started by `hw/sim/site.py`.

Owns a pseudo-terminal and answers on it when the bytes would come on a wire: request time at the
baud, turnaround, the first byte of the reply at its time and the rest at the time of the last. All
times are absolute and follow from the arrival of the request, so nothing drifts. Ends on SIGTERM,
or when its standard input closes: a parent that dies, however it dies, takes it along. Lines on
that input inject and clear faults, one JSON object each. With
`hw/sim/site.py` the only files of hw that import of loadctl more than units and errors: the tables,
which are plain rows.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import heapq
import json
import os
import select
import signal
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from hw.sim.board import Board
from hw.sim.fault import Fault
from hw.sim.line import LOOK_EVERY_ns, SlaveLine, chargers_on, make_line, make_plant
from hw.sim.pty_port import PtyPort
from hw.sim.rtu import RequestFinder
from hw.sim.scenario import load_scenario_json
from hw.wire import Line
from loadctl.tables import load as load_tables
from loadctl.units import NS_PER_S

READY_LINE = "ready"
PTY_SILENCE_ns = 3_000_000  # shorter pauses are the scheduler's, not the line's
PR_SET_TIMERSLACK = 29
TIMER_SLACK_ns = 1_000  # the default of 50 us is a tenth of a character at 19200 baud
WAKE_EARLY_ns = 250_000
MOST_TIMED = 100_000


class BusServer:
    """Serves one line on one port until told to stop."""

    def __init__(self, port: PtyPort, line: Line, slaves: SlaveLine) -> None:
        self._port = port
        self._line = line
        self._slaves = slaves
        self._finder = RequestFinder(max(line.silent_ns, PTY_SILENCE_ns))
        self._commands = b""
        self._babbled_ns = time.monotonic_ns()  # until here
        self._due: list[tuple[int, int, bytes]] = []  # (when, order, bytes)
        self._n_answers = 0
        self._tick_at_ns = time.monotonic_ns()
        self.errors_ns: list[int] = []  # how late the last byte of each reply was

    def run(self, stop_fd: int, command_fd: int) -> None:
        """Serve until `stop_fd` has something to read or `command_fd` is closed."""
        while True:
            fds = [stop_fd, command_fd, *([self._port.fd] if self._port.is_plugged else [])]
            wait_ns = max(self._next_ns() - time.monotonic_ns(), 0)
            readable, _, _ = select.select(fds, (), (), wait_ns / NS_PER_S)
            now_ns = self._due_soon(time.monotonic_ns())
            if stop_fd in readable:
                return
            self._send_due(now_ns)
            if self._port.is_plugged and self._port.fd in readable:
                self._hear(self._finder.feed(self._port.read(), now_ns))
            else:
                self._hear(self._finder.silence(now_ns))
            if command_fd in readable and not self._obey(os.read(command_fd, 65_536), now_ns):
                return
            if now_ns >= self._tick_at_ns:
                self._slaves.tick(now_ns)
                self._tick_at_ns = now_ns + LOOK_EVERY_ns
            self._follow_troubles(now_ns)

    def _obey(self, data: bytes, now_ns: int) -> bool:
        """Do what whole lines say; False when nobody will send any more."""
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "inject" in command:
                self._slaves.inject(Fault(**command["inject"]), now_ns)
            else:
                self._slaves.clear(command["clear"], command["kind"], now_ns)
        return bool(data)

    def _follow_troubles(self, now_ns: int) -> None:
        """The port as plugged as it should be, and the bytes of a babbler on their way."""
        troubles = self._slaves.troubles
        if troubles.is_unplugged and self._port.is_plugged:
            self._port.unplug()
            self._due.clear()
        elif not troubles.is_unplugged and not self._port.is_plugged:
            self._port.plug()
        if not troubles.is_babbling:
            self._babbled_ns = now_ns
            return
        until_ns = now_ns + LOOK_EVERY_ns
        for at_ns, burst in troubles.bursts(self._babbled_ns, until_ns):
            self._plan(at_ns + self._line.bytes_ns(len(burst)), burst)
        self._babbled_ns = until_ns

    def _next_ns(self) -> int:
        next_ns = self._tick_at_ns
        if self._due:
            next_ns = min(next_ns, self._due[0][0] - WAKE_EARLY_ns)
        silent_at_ns = self._finder.silent_at_ns
        return next_ns if silent_at_ns is None else min(next_ns, silent_at_ns)

    def _due_soon(self, now_ns: int) -> int:
        """Sit out the last moment before a byte is due; a timer alone wakes that much too late."""
        while self._due and now_ns < self._due[0][0] <= now_ns + WAKE_EARLY_ns:
            now_ns = time.monotonic_ns()
        return now_ns

    def _send_due(self, now_ns: int) -> None:
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, data = heapq.heappop(self._due)
            if self._port.is_plugged:
                self._port.write(data)
            if len(data) > 1 and len(self.errors_ns) < MOST_TIMED:
                self.errors_ns.append(time.monotonic_ns() - at_ns)

    def _hear(self, requests: list[tuple[int, bytes]]) -> None:
        for begun_at_ns, request in requests:
            asked_ns = begun_at_ns + self._line.bytes_ns(len(request))
            answer = self._slaves.hear(request, asked_ns)
            if answer is None:
                continue
            begin_ns = asked_ns + answer.after_ns
            first, rest = answer.data[:1], answer.data[1:]
            self._plan(begin_ns + self._line.bytes_ns(1), first)
            self._plan(begin_ns + self._line.bytes_ns(len(answer.data)), rest)

    def _plan(self, at_ns: int, data: bytes) -> None:
        self._n_answers += 1
        heapq.heappush(self._due, (at_ns, self._n_answers, data))


def timing_of(errors_ns: list[int]) -> dict[str, Any]:
    """How late replies were, in microseconds."""
    if not errors_ns:
        return {"replies": 0, "p50_us": None, "p99_us": None, "max_us": None}
    ordered = sorted(errors_ns)
    return {
        "replies": len(ordered),
        "p50_us": ordered[len(ordered) // 2] / 1000,
        "p99_us": ordered[len(ordered) * 99 // 100] / 1000,
        "max_us": ordered[-1] / 1000,
    }


def behave_like_hardware() -> str:
    """Ask for a device's punctuality: real devices do not share a processor with the gateway.

    Lowest real-time priority and an exact timer, where that is allowed; the answer says which.
    """
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, TIMER_SLACK_ns, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return "normal: real-time scheduling is not permitted"
    return "fifo 1"


def write_line(file: TextIO, entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry) + "\n")
    file.flush()


def serve(directory: Path, bus_i: int, start_ns: int, stop_fd: int, command_fd: int) -> None:
    tables = load_tables((directory / "tables.json").read_text())
    scenario = load_scenario_json((directory / "scenario.json").read_text())
    bus = tables.buses[bus_i]
    board = Board(tables, directory / "board")
    plant = make_plant(tables, scenario, board, start_ns, chargers_on(tables, bus_i))
    port = PtyPort(directory / f"bus-{bus.name}")
    try:
        with ExitStack() as files:
            log = files.enter_context((directory / f"judged-{bus.name}.jsonl").open("w"))
            note_write = None
            if scenario.logs_writes:
                written = files.enter_context((directory / f"written-{bus.name}.jsonl").open("w"))
                note_write = partial(write_line, written)
            note = partial(write_line, log)
            slaves = make_line(tables, scenario, plant, bus_i, note, note_write)
            server = BusServer(port, Line(bus.baud, bus.frame), slaves)
            sys.stdout.write(READY_LINE + "\n")
            sys.stdout.flush()
            gc.freeze()
            scheduling = behave_like_hardware()
            server.run(stop_fd, command_fd)
            timing = {"scheduling": scheduling, **timing_of(server.errors_ns)}
            write_line(log, {"kind": "timing", "bus": bus.name, **timing})
    finally:
        port.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--bus", type=int, required=True)
    parser.add_argument("--start-ns", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the parent, which ends us
    signal_fd, wake_fd = os.pipe()
    os.set_blocking(wake_fd, False)
    signal.set_wakeup_fd(wake_fd)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # the wake-up descriptor tells
    serve(arguments.directory, arguments.bus, arguments.start_ns, signal_fd, sys.stdin.fileno())


if __name__ == "__main__":
    main()
