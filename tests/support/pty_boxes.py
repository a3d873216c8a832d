"""Chargers as registers on a pseudo-terminal, with a log of every message that reached one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.pty_device import Arrivals, PtyDevice
from tests.support.rtu_frames import frame, read_reply, refusal

TURNAROUND_ns = 1_000_000
WRITES = (6, 16)


class Message(NamedTuple):
    address: int
    is_write: bool
    register: int
    value: int | None


class PtyBoxes(PtyDevice):
    """`registers[address][register]`; deaf addresses hear nothing, stubborn ones refuse writes."""

    def __init__(self, link: Path, registers: dict[int, dict[int, int]]) -> None:
        self.registers = registers
        self.deaf: set[int] = set()
        self.stubborn: set[int] = set()
        self.after_write: dict[tuple[int, int], int] = {}  # what the box makes of a write
        self.messages: list[Message] = []
        super().__init__(link, self._answer)

    def setpoint_writes(self, register: int = 100) -> list[tuple[int, int | None]]:
        return [
            (message.address, message.value)
            for message in self.messages
            if message.is_write and message.register == register
        ]

    def _answer(self, request: bytes) -> Arrivals:
        address, function = request[0], request[1]
        register = int.from_bytes(request[2:4], "big")
        word_at = 7 if function == 16 else 4
        word = int.from_bytes(request[word_at : word_at + 2], "big")
        is_write = function in WRITES
        self.messages.append(Message(address, is_write, register, word if is_write else None))
        if address in self.deaf or address not in self.registers:
            return []
        if is_write and address in self.stubborn:
            return [(TURNAROUND_ns, refusal(address, function, 4))]
        held = self.registers[address]
        if is_write:
            held[register] = self.after_write.get((address, register), word)
            return [(TURNAROUND_ns, frame(request[:6]))]
        values = [held.get(register + i, 0) for i in range(word)]
        payload = b"".join(value.to_bytes(2, "big") for value in values)
        return [(TURNAROUND_ns, read_reply(address, function, payload))]
