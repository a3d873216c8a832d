"""One device as it is read: in which way, which parts of a reading are there, what is asked next.

Owns the fallback from a refused block to shorter reads, for the life of the process. No I/O, no
clock. Written by the I/O thread of the bus.

state         event                                        next
usual way     a block is refused 3 times in a row          next shorter way, from its first part
shorter way   a part is refused 3 times in a row           next shorter way; the last one stays
any           a part is good                               its own refusals are forgotten
any           a part is not good                           the reading begins anew
any           the first part is older than PARTS_ns        that part is asked again
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hw.devices import DeviceMap, Step, measure_exchanges
from hw.reads import ways_to_read
from hw.wire import Code, Reply

REFUSALS = 3  # one can be the late answer to something else, or to the longer form of a read
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3  # of an exception: not these registers; not so many

# Values of one reading lie no further apart than the control law counts for the time of exchanges.
PARTS_ns = 200_000_000


class Part(NamedTuple):
    begun_at_ns: int
    payload: bytes


class Reading:
    """The parts of one device's reading. `map` decodes `payloads` once it is whole."""

    def __init__(self, device_map: DeviceMap, address: int, connector: int = 1) -> None:
        gap_ns = device_map.patience.gap_ns
        usual, *shorter = ways_to_read(device_map)
        # Parts so far apart would never come together.
        self.ways = [usual, *(w for w in shorter if (len(w.blocks) - 1) * gap_ns < PARTS_ns)]
        self.way_i = 0
        self._refusals: Counter[str] = Counter()  # in a row, by block
        self._steps = [measure_exchanges(way, address, connector) for way in self.ways]
        self._parts: dict[str, Part] = {}

    @property
    def map(self) -> DeviceMap:
        return self.ways[self.way_i]

    @property
    def steps(self) -> list[Step]:
        return self._steps[self.way_i]

    @property
    def is_usual(self) -> bool:
        return self.way_i == 0

    @property
    def is_begun(self) -> bool:
        """Some parts are there and some are not."""
        return bool(self._parts)

    def next_step(self) -> Step:
        """The first part that is missing."""
        return next(step for step in self.steps if step.what not in self._parts)

    def took(self, step: Step, reply: Reply) -> dict[str, bytes] | None:
        """Note a reply to `step`; all payloads by block name once they are there."""
        if reply.code is Code.NOT_SENT:
            return None
        if reply.code is not Code.GOOD:
            self._parts.clear()
            return None
        del self._refusals[step.what]
        self._parts[step.what] = Part(reply.begun_at_ns, reply.payload)
        if len(self.steps) > 1:
            oldest_ns = reply.ended_at_ns - PARTS_ns
            self._parts = {w: p for w, p in self._parts.items() if p.begun_at_ns >= oldest_ns}
        if len(self._parts) < len(self.steps):
            return None
        payloads = {what: part.payload for what, part in self._parts.items()}
        self._parts.clear()
        return payloads

    def refused(self, step: Step, exception_code: int) -> bool:
        """Note that `step` was refused; True when the device is read in a shorter way from now
        on."""
        if exception_code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
            return False
        self._refusals[step.what] += 1
        if self._refusals[step.what] < REFUSALS or self.way_i + 1 == len(self.ways):
            return False
        self.way_i += 1
        self._refusals.clear()
        return True
