"""What may still arrive: the memory that keeps a late reply from being taken for another one.

An RTU reply carries no transaction id. A read reply looks the same for every register with the same
function and count; the acknowledgement of a function 16 write looks the same for all values. One
`LateReplies` per device remembers what was sent and not answered, for as long as an answer may
still come. Pure bookkeeping: no I/O, no clock. Runs in the I/O thread of the bus.

Nothing is assumed about the order in which replies come: a gateway may hold one back.
  unanswered   the exchange may be answered until `late_ns` after it was given up
  answered     while an answer to an earlier, equal exchange was possible, this one's own answer may
               still be on its way: it stays open for another `late_ns`
  read shape   once two registers were read in the same shape, not even the same register is read
               while the shape is open: its late answers would follow one exchange behind for ever,
               until the other register picks one up
  two forms    a read with an alternate is sent in the form of which nothing is open, the usual one
               first; while something is open of both it is not sent. So no old value passes for a
               new one. Without an alternate, a late answer to the same read does.
"""

from __future__ import annotations

from hw.wire import WRITE_MANY, Exchange

Shape = tuple[int, ...]
Content = int | bytes

# A form that rests keeps nobody waiting, for there is the other one: it rests for half as long
# again, so that a reply that comes with the third scan after its own is nobody's either.
PAIRED_NUM, PAIRED_DEN = 3, 2


def shape_of(exchange: Exchange) -> Shape:
    """All that the reply itself says about its request."""
    if exchange.function == WRITE_MANY:
        return (exchange.function, exchange.register, exchange.count)
    if exchange.is_write:  # the reply repeats register and value
        return (exchange.function, exchange.register, int.from_bytes(exchange.values))
    return (exchange.function, exchange.count)


def content_of(exchange: Exchange) -> Content:
    """What the reply leaves open."""
    return exchange.values if exchange.is_write else exchange.register


class LateReplies:
    """Open exchanges of one device, by the shape of their replies."""

    __slots__ = ("_first_register", "_late_ns", "_open", "_paired", "_shared")

    def __init__(self, late_ns: int) -> None:
        self._late_ns = late_ns
        self._open: dict[Shape, list[tuple[Content, int]]] = {}
        self._first_register: dict[Shape, int] = {}
        self._shared: set[Shape] = set()
        self._paired: set[Shape] = set()  # of reads in two forms

    def told_apart(self, exchange: Exchange, now_ns: int) -> Exchange | None:
        """The form of this exchange whose reply can be no late one; None while there is none.

        A write is sent all the same: what may acknowledge it is judged when it is there.
        """
        if exchange.is_write:
            return exchange
        if exchange.alternate is None:
            return None if self.is_ambiguous(exchange, now_ns) else exchange
        for form in (exchange, exchange.alternate):
            shape = self._noted_shape(form)
            self._paired.add(shape)
            if not self._still_open(shape, now_ns):
                return form
        return None

    def is_ambiguous(self, exchange: Exchange, now_ns: int) -> bool:
        """Whether a reply to this exchange could as well be the late one to another."""
        shape = shape_of(exchange) if exchange.is_write else self._noted_shape(exchange)
        entries = self._still_open(shape, now_ns)
        if shape in self._shared:
            return bool(entries)
        content = content_of(exchange)
        return any(entry[0] != content for entry in entries)

    def unanswered(self, exchange: Exchange, now_ns: int) -> None:
        """Note an exchange that was given up: its reply may come until `late_ns` from now."""
        shape = shape_of(exchange)
        content = content_of(exchange)
        late_ns = self._late_ns
        if shape in self._paired:
            late_ns = late_ns * PAIRED_NUM // PAIRED_DEN
        entries = [entry for entry in self._still_open(shape, now_ns) if entry[0] != content]
        entries.append((content, now_ns + late_ns))
        self._open[shape] = entries

    def answered(self, exchange: Exchange, now_ns: int) -> None:
        """Note a good reply: perhaps a late one, with its own still to come."""
        if self._still_open(shape_of(exchange), now_ns):
            self.unanswered(exchange, now_ns)

    def refused(self, exchange: Exchange, now_ns: int) -> None:
        """Note a refusal, which names neither register nor length: while an answer to the other
        form of a read was possible, it may be that one's, and this one's is still to come."""
        if shape_of(exchange) not in self._paired:
            return
        others = [shape for shape in self._paired if shape[0] == exchange.function]
        if any(self._still_open(shape, now_ns) for shape in others):
            self.unanswered(exchange, now_ns)

    def _noted_shape(self, exchange: Exchange) -> Shape:
        """The shape of a read, which from now on counts as one of this register."""
        shape = shape_of(exchange)
        if self._first_register.setdefault(shape, exchange.register) != exchange.register:
            self._shared.add(shape)
        return shape

    def _still_open(self, shape: Shape, now_ns: int) -> list[tuple[Content, int]]:
        entries = self._open.get(shape)
        if not entries:
            return []
        entries = [entry for entry in entries if now_ns < entry[1]]
        if entries:
            self._open[shape] = entries
        else:
            del self._open[shape]
        return entries
