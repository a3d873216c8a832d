"""The scan's side of the link: its heartbeat, what it tells its guard, whether that is still there.

Owns when a silent guard counts as gone. Calls never wait; they come from the scan's main thread,
`tell` also from the threads of the buses, each for its own chargers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hw.handover import PORT, PortChannel, PortSource, close_all
from loadctl.guardside import ExternalCommand
from loadctl.link import Link
from loadctl.tables import Phases
from loadctl.tuning import Layer
from loadctl.units import NS_PER_MS, NS_PER_S, s_from_ns

GONE_WITHIN_ns = 2 * NS_PER_S
GUARD_BEAT_ns = 50 * NS_PER_MS  # the guard's heartbeat changes at least this often
SILENT_MIN_ns = 500 * NS_PER_MS


def silent_after_ns(period_ns: int) -> int:
    """How old an unchanged heartbeat may be, so that its end is known within 2 s.

    The scan looks once a period: it can see the last change one period late, and the age pass this
    bound one period late again.
    """
    return max(SILENT_MIN_ns, GONE_WITHIN_ns - 2 * period_ns - GUARD_BEAT_ns)


class Guarded:
    """A `loadctl.guardside.GuardSide` over shared memory."""

    def __init__(
        self,
        link: Link,
        channel: PortChannel,
        sources: Sequence[PortSource],
        generation: int,
        period_ns: int,
        now_ns: int,
    ) -> None:
        self.link = link
        self.channel = channel
        self.sources = sources
        self.generation = generation
        self.silent_after_ns = silent_after_ns(period_ns)
        self._beat = link.guard_beat()
        self._beat_at_ns = now_ns
        self._lock_fds: dict[int, int] = {}

    # the scan to its guard

    def ready(self) -> None:
        """Everything is built and locked; only the token is missing."""
        self.link.ready(self.generation)

    def has_token(self) -> bool:
        """Whether this scan may talk on the buses."""
        return self.link.token() == self.generation

    def beat(self) -> None:
        self.link.beat()

    def tell(self, charger_i: int, setpoint_mA: int) -> None:
        self.link.tell(charger_i, setpoint_mA)

    def set_failsafe(self, charger_i: int, failsafe_mA: int) -> None:
        self.link.set_failsafe(charger_i, failsafe_mA)

    def set_starved(self, charger_i: int, is_starved: bool) -> None:
        self.link.set_starved(charger_i, is_starved)

    def set_seen_background(self, circuit_i: int, seen_mA: Phases) -> None:
        self.link.set_seen_background(circuit_i, seen_mA)

    def set_external(self, circuit_i: int, command: ExternalCommand) -> None:
        self.link.set_external(circuit_i, *command)

    def set_tuned(self, layers: Mapping[int, Layer]) -> None:
        self.link.set_tuned([(slot, *layer) for slot, layer in layers.items()])

    # the guard to its scan

    def told_mA(self, charger_i: int) -> int | None:
        return self.link.told_mA(charger_i)

    def seen_background_mA(self, circuit_i: int) -> Phases | None:
        return self.link.seen_background_mA(circuit_i)

    def external(self, circuit_i: int) -> ExternalCommand | None:
        found = self.link.external(circuit_i)
        return None if found is None else ExternalCommand(*found)

    def tuned(self) -> dict[int, Layer]:
        return {
            slot: Layer(live, timed, until_ns) for slot, live, timed, until_ns in self.link.tuned()
        }

    def gone(self, now_ns: int) -> str:
        """Empty while the guard is well, else one line why it is not."""
        self.ports()  # the end of the channel is known by reading it only
        beat = self.link.guard_beat()
        if beat != self._beat:
            self._beat, self._beat_at_ns = beat, now_ns
        if self.channel.is_closed:
            return "the guard is gone"
        age_ns = now_ns - self._beat_at_ns
        if age_ns >= self.silent_after_ns:
            return f"the guard is silent for {s_from_ns(age_ns):.2f} s"
        return ""

    def ports(self) -> None:
        """Hand new descriptors of ports on to their buses; the newest lock of each is kept."""
        for message in self.channel.receive():
            if message.kind != PORT or not 0 <= message.bus_i < len(self.sources):
                close_all(message.data_fd, message.lock_fd)
                continue
            if message.lock_fd != message.data_fd:
                self._keep_lock(message.bus_i, message.lock_fd)
            self.sources[message.bus_i].put(message.data_fd)

    def _keep_lock(self, bus_i: int, lock_fd: int) -> None:
        """The lock of a port on a network is a file of its own: held as long as this process."""
        before_fd = self._lock_fds.get(bus_i)
        self._lock_fds[bus_i] = lock_fd
        if before_fd is not None:
            os.close(before_fd)
