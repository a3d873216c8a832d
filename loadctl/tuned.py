"""What was tuned of a running site, as the scan has it: adopted as a whole, fallen back in time.

Owns what was asked for in each slot, for good and for a time above that. Judges every change by the
rules of `loadctl.tuning`, whatever its sender has judged; hands the values that then count to the
core, which checks once more, and to the gate, by its own reckoning; keeps what was asked for in the
link, where a scan that is started anew finds it; and writes an event for each. Runs in the scan's
main thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hw.devices import DeviceMap
from loadctl._core import Core
from loadctl.control import Answer, Change, Code, Field
from loadctl.errors import CoreFault
from loadctl.events import Event
from loadctl.gate import Gate
from loadctl.guardside import GuardSide
from loadctl.image import Writer
from loadctl.tables import Tables
from loadctl.tuning import (
    HEALTHY_SCANS,
    KEYS,
    N_CHARGER,
    N_CIRCUIT,
    N_TUNING,
    NOTHING,
    TUNING,
    Layer,
    Rules,
    Slots,
    first_broken,
    fresh_layers,
    values_at,
)

HIGHEST_USER = 2**31 - 1  # of those that an event holds as they are


class Tuned:
    """All live values of a site."""

    def __init__(
        self,
        tables: Tables,
        maps: Mapping[str, DeviceMap],
        core: Core,
        gate: Gate,
        image: Writer,
        guarded: GuardSide,
    ) -> None:
        self.slots = Slots(tables)
        self.rules = Rules(self.slots, maps)
        self.core = core
        self.gate = gate
        self.image = image
        self.guarded = guarded
        self.layers: dict[int, Layer] = {}
        self.counts = self.slots.lifted(self.slots.site)  # what the core decides by
        self._next_end_ns: int | None = None

    @property
    def healthy_scans(self) -> int:
        return self.counts[HEALTHY_SCANS]

    def take_over(self, now_ns: int) -> None:
        """Go on with what an earlier scan of this site was asked for; what has run out meanwhile
        counts no longer, and `begin` says so."""
        self.layers = dict(self.guarded.tuned())
        self._note_ends()
        self._fall_to(self._values(self.layers, now_ns), now_ns)

    def begin(self, now_ns: int) -> None:
        """Let what was asked for a time fall back."""
        if self._next_end_ns is None or now_ns < self._next_end_ns:
            return
        over = {
            slot: layer._replace(timed=None, until_ns=0)
            for slot, layer in self.layers.items()
            if layer.timed is not None and now_ns >= layer.until_ns
        }
        before = list(self.counts)
        self._keep(over)
        self._fall_to(self._values(self.layers, now_ns), now_ns)
        for slot in over:
            self._event(Event.FELL_BACK, slot, before[slot], 0, now_ns)

    def _fall_to(self, values: list[int], now_ns: int) -> None:
        """Let values count that nobody asks for just now. Were they refused, the site file's would:
        a scan that ends for them would end again and again."""
        try:
            self._let_count(values)
        except CoreFault:
            forgotten = dict.fromkeys(self.layers, NOTHING)
            before = self._values(self.layers, now_ns)
            self._keep(forgotten)
            self._let_count(self._values(self.layers, now_ns))
            for slot in forgotten:
                self._event(Event.FELL_BACK, slot, before[slot], 0, now_ns)

    def stage(self, change: Change) -> Answer:
        """Whether a change may be kept until it is adopted: its key, and the bounds that hold by
        themselves."""
        slot = self.slots.slot_of(change.number, change.who)
        if slot is None:
            return Answer(Code.NO_SUCH_KEY)
        key = KEYS[change.number]
        if change.value is not None and not key.least <= change.value <= key.most:
            return Answer(Code.OUT_OF_BOUNDS, Field.VALUE, key.least, key.most)
        step = 0 if change.value is None else self.rules.on_grid(slot, change.value)
        if step:
            return Answer(Code.OUT_OF_BOUNDS, Field.STEP, step, step)
        return Answer(Code.ACCEPTED)

    def adopt(
        self, changes: Sequence[Change], span_ns: int | None, uid: int, now_ns: int
    ) -> Answer:
        """Let changes that were staged count together from the next scan on, or none of them."""
        until_ns = None if span_ns is None else now_ns + span_ns
        placed = [(self._slot(change), change.value) for change in changes]
        fresh = fresh_layers(self.layers, placed, until_ns)
        layers = {**self.layers, **fresh}
        broken = first_broken(self.rules, layers, fresh, now_ns)
        if broken is not None:
            key, who = self.slots.place_of(broken.slot)
            return Answer(Code.BREAKS_RULE, Field.VALUE, key.number, who)
        before = list(self.counts)
        try:
            self._let_count(self._values(layers, now_ns))
        except CoreFault:  # it knows a bound that the rules do not
            key, who = self.slots.place_of(next(iter(fresh)))
            return Answer(Code.BREAKS_RULE, Field.NONE, key.number, who)
        self._keep(fresh)
        for slot in fresh:
            self._event(Event.TUNED, slot, before[slot], uid, now_ns)
        return Answer(Code.ACCEPTED)

    def _slot(self, change: Change) -> int:
        slot = self.slots.slot_of(change.number, change.who)
        assert slot is not None, "only what has a slot was staged"
        return slot

    def _values(self, layers: Mapping[int, Layer], now_ns: int) -> list[int]:
        return self.slots.lifted(values_at(self.slots.site, layers, now_ns))

    def _let_count(self, values: list[int]) -> None:
        """Hand on what differs: to the core first, which may refuse all of it."""
        changed = [slot for slot, value in enumerate(values) if value != self.counts[slot]]
        if changed:
            self.core.retune([(slot, values[slot]) for slot in changed])
        self.counts = values
        for slot in changed:
            key, who = self.slots.place_of(slot)
            if key.table != TUNING:
                self._tell_gate(slot, who)

    def _tell_gate(self, slot: int, who: int) -> None:
        if slot < self.slots.first_charger:
            first = N_TUNING + N_CIRCUIT * who
            one, two, three, margin_mA = self.counts[first : first + N_CIRCUIT]
            self.gate.tune_circuit(who, (one, two, three), margin_mA)
            return
        first = self.slots.first_charger + N_CHARGER * who
        min_mA, max_mA, _, _, is_enabled, _ = self.counts[first : first + N_CHARGER]
        self.gate.tune_charger(who, min_mA, max_mA, bool(is_enabled))

    def _keep(self, fresh: Mapping[int, Layer]) -> None:
        self.guarded.set_tuned(fresh)
        self.layers.update(fresh)
        for slot, layer in fresh.items():
            if layer == NOTHING:
                del self.layers[slot]
        self._note_ends()

    def _note_ends(self) -> None:
        ends_ns = [layer.until_ns for layer in self.layers.values() if layer.timed is not None]
        self._next_end_ns = min(ends_ns, default=None)

    def _event(self, kind: Event, slot: int, before: int, uid: int, now_ns: int) -> None:
        key, who = self.slots.place_of(slot)
        value, old = self.counts[slot] // key.per_event, before // key.per_event
        signed = uid if uid <= HIGHEST_USER else uid - 2**32
        self.image.event(kind, who, key.number, value, now_ns, old, signed)
