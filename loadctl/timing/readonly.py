"""A wire on which nothing can be written: reads of the devices named, and nothing else.

Owns the border of a measurement on a real site. Denies by default: what is not a plain read, of a
device that may be read, is answered as not sent and never reaches the bus. Runs in the I/O thread
of the bus.
"""

from __future__ import annotations

from collections.abc import Collection

from hw.devices import FED_BY_KICK, FED_BY_WRITES
from hw.wire import READ_FUNCTIONS, Code, Exchange, Patience, Reply
from loadctl.said import FieldWire
from loadctl.tables import Tables


class ReadOnlyWire:
    """A `FieldWire` in front of another."""

    def __init__(self, wire: FieldWire, readable: Collection[int]) -> None:
        self._wire = wire
        self._readable = frozenset(readable)
        self.n_denied = 0

    @property
    def is_open(self) -> bool:
        return self._wire.is_open

    @property
    def hears_itself(self) -> bool:
        return self._wire.hears_itself

    def now_ns(self) -> int:
        return self._wire.now_ns()

    def new_scan(self) -> None:
        self._wire.new_scan()

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        if self._may_leave(exchange):
            return self._wire.transact(exchange, patience, deadline_ns)
        self.n_denied += 1
        now_ns = self._wire.now_ns()
        return Reply(Code.NOT_SENT, b"", 0, now_ns, now_ns)

    def _may_leave(self, exchange: Exchange) -> bool:
        forms = [exchange] if exchange.alternate is None else [exchange, exchange.alternate]
        return all(
            form.function in READ_FUNCTIONS and not form.values and form.address in self._readable
            for form in forms
        )


def readable_addresses(tables: Tables, bus_i: int, reads_chargers: bool) -> set[int]:
    """Every meter, and each box whose own watchdog a read does not feed.

    Where it does, a read may keep a box at an old setpoint that nobody vouches for; such a box is
    read only when the user says so.
    """
    addresses = {row.address for row in tables.meters if row.bus == bus_i}
    chargers = [row for row in tables.chargers if row.bus == bus_i]
    fed_by_reads = {
        row.address
        for row in chargers
        if row.watchdog_ns is not None and row.watchdog_fed_by not in (FED_BY_WRITES, FED_BY_KICK)
    }
    kept = set() if reads_chargers else fed_by_reads
    return addresses | ({row.address for row in chargers} - kept)


def unread_chargers(tables: Tables, reads_chargers: bool) -> list[str]:
    """The names of chargers that are left alone."""
    readable = [
        readable_addresses(tables, bus_i, reads_chargers) for bus_i in range(len(tables.buses))
    ]
    return [row.name for row in tables.chargers if row.address not in readable[row.bus]]
