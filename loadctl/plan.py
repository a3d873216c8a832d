"""The bus plan: every transaction of a scan laid out in time before anything runs.

Owns the static slot table per bus, the phase deadlines they add up to, and the refusal when they do
not fit the period. Arithmetic only: no I/O, no clock. The scan runs to these deadlines and measures
itself against them; `loadctl/slots.py` knows what one slot costs.

read   meters, each given up once | n status blocks | one more timeout
take   a setpoint for every charger, on all buses | then the probe of one silent charger
give   at a fixed point: raises and refreshes

The one more timeout is the scan's: it is spent in the read phase or in the take phase, on any bus.
Probes begin when every bus has sent its decreases, so that none waits for the dead of another. A
probe may be waited for less long than `timeout_ms` but never less than the device's turnaround;
where the slowest bus has left it less than that, it comes in the next scan. The last give too may
be waited for less long, where the period has no room for its timeout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hw.devices import DeviceMap
from loadctl.errors import CheckRefused
from loadctl.slots import (
    BusSlots,
    Slot,
    STATUS_AGE_MAX_ns,
    bus_slots,
    gap_before_status_ns,
    gap_before_takes_ns,
    refreshes_per_scan,
    status_per_scan,
)
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, ms_from_ns, s_from_ns

__all__ = ["BusPlan", "Plan", "Slot", "describe", "gives_words", "make_plan"]

# Time of the gateway itself, beside the wire. The law takes far less than a millisecond; the
# rest is room for waking the I/O threads of a loaded machine wherever all buses meet.
STEP_ns = 3 * NS_PER_MS
CONFIRM_ns = 2 * NS_PER_MS
KEEP_ns = 5 * NS_PER_MS

# Gives beyond the necessary ones leave this part of the period free, for a late wake.
FREE_PART = 25

PERIOD_STEP_ns = 10 * NS_PER_MS  # of the periods that a refusal proposes


@dataclass(frozen=True, slots=True)
class BusPlan:
    bus: int
    meter_slots: tuple[Slot, ...]  # every scan
    setpoint_slots: tuple[Slot, ...]  # every scan: room for a decrease of every charger
    status_slots: tuple[
        Slot, ...
    ]  # all chargers' status blocks; `n_status_per_scan` of them a scan
    n_status_per_scan: int
    status_age_ns: int  # oldest that a status block gets while it is in use
    probe_slot: Slot | None  # the last of the take phase
    gap_ns: int  # waiting for gaps of devices that no order of the exchanges avoids
    n_refreshes_per_scan: int  # of the gives: what unchanged setpoints need
    n_gives_per_scan: int  # setpoint writes that fit after the give point
    timeout_ns: int  # the one more that the sum has room for
    busy_ns: int  # sum of everything mandatory on this bus, timeouts counted


@dataclass(frozen=True, slots=True)
class Plan:
    """Offsets from the start of the scan.

    A phase begins as soon as the one before it is complete on all buses; its deadline is fixed. The
    give point is fixed too.
    """

    period_ns: int
    read_free_ns: int  # all that must be read is read, every meter given up: from here on a read
    # that fails is the one more timeout
    read_end_ns: int
    take_end_ns: int
    give_at_ns: int
    give_end_ns: int
    worst_scan_ns: int
    buses: tuple[BusPlan, ...]

    @property
    def margin_ns(self) -> int:
        return self.period_ns - self.worst_scan_ns


def make_plan(tables: Tables, maps: dict[str, DeviceMap]) -> Plan:
    """Lay out the scan; CheckRefused with one line for each reason why it cannot be."""
    buses = _slots_of(tables, maps)
    refusals = [line for bus in buses for line in _broken_rules(tables, bus)]
    if refusals:
        raise CheckRefused(*refusals)
    plan = _lay_out(tables, buses)
    if plan.margin_ns < 0:
        raise CheckRefused(_excess(tables, maps, plan))
    return _with_more_gives(plan)


def _slots_of(tables: Tables, maps: dict[str, DeviceMap]) -> list[BusSlots]:
    return [bus_slots(tables, maps, bus) for bus in range(len(tables.buses))]


def _broken_rules(tables: Tables, bus: BusSlots) -> list[str]:
    """What no period sum can mend: ages and refreshes that a scan of this period cannot keep."""
    period_ns = tables.site.period_ns
    found = [f"bus.{tables.buses[bus.bus].name}: {line}" for line in bus.complaints]
    if bus.status_slots and period_ns > STATUS_AGE_MAX_ns:
        found.append(
            f"site.period_ms: {_ms(period_ns)} lets status blocks grow older than"
            f" {_ms(STATUS_AGE_MAX_ns)}"
        )
    for name, refresh_ns in bus.refreshes:
        if refresh_ns < period_ns:
            found.append(
                f"charger.{name}: a third of its watchdog time is {_ms(refresh_ns)}, less than"
                f" site.period_ms = {ms_from_ns(period_ns):g}"
            )
    return found


def _lay_out(tables: Tables, buses: Sequence[BusSlots]) -> Plan:
    """The mandatory plan, whether it fits or not."""
    bus_plans = tuple(_bus_plan(tables.site.period_ns, bus) for bus in buses)
    reads_ns = [_read_ns(plan) for plan in bus_plans]
    takes_ns = [_take_ns(plan) for plan in bus_plans]
    read_end_ns = _largest(
        read_ns + plan.timeout_ns for read_ns, plan in zip(reads_ns, bus_plans, strict=True)
    )
    spent_in_take_ns = _largest(reads_ns) + _largest(
        take_ns + plan.timeout_ns for take_ns, plan in zip(takes_ns, bus_plans, strict=True)
    )
    spent_in_read_ns = read_end_ns + _largest(takes_ns)
    take_end_ns = max(spent_in_read_ns, spent_in_take_ns) + STEP_ns
    give_at_ns = take_end_ns + CONFIRM_ns
    give_end_ns = give_at_ns + _largest(_give_ns(plan) for plan in bus_plans)
    return Plan(
        period_ns=tables.site.period_ns,
        read_free_ns=_largest(reads_ns),
        read_end_ns=read_end_ns,
        take_end_ns=take_end_ns,
        give_at_ns=give_at_ns,
        give_end_ns=give_end_ns,
        worst_scan_ns=give_end_ns + KEEP_ns,
        buses=bus_plans,
    )


def _bus_plan(period_ns: int, bus: BusSlots) -> BusPlan:
    n_status = status_per_scan(bus, period_ns)
    n_scans = -(-len(bus.status_slots) // n_status) if n_status else 0
    n_refreshes = refreshes_per_scan(bus, period_ns)
    others = (*bus.status_slots, *bus.setpoint_slots)
    gap_ns = gap_before_status_ns(bus, n_status, KEEP_ns) + gap_before_takes_ns(bus, n_status)
    plan = BusPlan(
        bus=bus.bus,
        meter_slots=bus.meter_slots,
        setpoint_slots=bus.setpoint_slots,
        status_slots=bus.status_slots,
        n_status_per_scan=n_status,
        status_age_ns=n_scans * period_ns,
        probe_slot=Slot("probe", *_longest(bus.setpoint_slots)) if bus.setpoint_slots else None,
        gap_ns=gap_ns,
        n_refreshes_per_scan=n_refreshes,
        n_gives_per_scan=max(1, n_refreshes) if bus.setpoint_slots else 0,
        timeout_ns=_largest(slot.failed_ns - slot.worst_ns for slot in others),
        busy_ns=0,
    )
    busy_ns = _read_ns(plan) + _take_ns(plan) + plan.timeout_ns + _give_ns(plan)
    return replace(plan, busy_ns=busy_ns)


def _read_ns(plan: BusPlan) -> int:
    """Every meter given up, and the longest status blocks of one scan."""
    status_ns = sorted((slot.worst_ns for slot in plan.status_slots), reverse=True)
    return sum(slot.failed_ns for slot in plan.meter_slots) + sum(
        status_ns[: plan.n_status_per_scan]
    )


def _take_ns(plan: BusPlan) -> int:
    """A setpoint for each charger and the probe; the wait for gaps is counted here."""
    probe_ns = plan.probe_slot.worst_ns if plan.probe_slot else 0
    return plan.gap_ns + sum(slot.worst_ns for slot in plan.setpoint_slots) + probe_ns


def _give_ns(plan: BusPlan) -> int:
    return plan.n_gives_per_scan * _longest(plan.setpoint_slots)[0]


def _with_more_gives(plan: Plan) -> Plan:
    """Use what the period has left for more raises in one scan, at most one for each charger; and
    where it has room for that too, wait for the last of them as long as for any other exchange."""
    free_ns = plan.margin_ns - plan.period_ns // FREE_PART
    phase_ns = plan.give_end_ns - plan.give_at_ns + max(0, free_ns)
    buses = []
    for bus in plan.buses:
        slot_ns = _longest(bus.setpoint_slots)[0]
        n_gives = min(len(bus.setpoint_slots), phase_ns // slot_ns) if slot_ns else 0
        buses.append(replace(bus, n_gives_per_scan=max(bus.n_gives_per_scan, n_gives)))
    give_end_ns = plan.give_at_ns + _largest(_give_ns(bus) for bus in buses)
    wait_ns = _largest(bus.timeout_ns for bus in buses)
    if give_end_ns + wait_ns + KEEP_ns <= plan.period_ns - plan.period_ns // FREE_PART:
        give_end_ns += wait_ns
    return replace(
        plan, give_end_ns=give_end_ns, worst_scan_ns=give_end_ns + KEEP_ns, buses=tuple(buses)
    )


def _longest(slots: Sequence[Slot]) -> tuple[int, int]:
    """Worst and failed time of the longest slot; 0 where there is none."""
    return _largest(slot.worst_ns for slot in slots), _largest(slot.failed_ns for slot in slots)


def _largest(values_ns: Iterable[int]) -> int:
    return max(values_ns, default=0)


# The refusal, and what would help


def _excess(tables: Tables, maps: dict[str, DeviceMap], plan: Plan) -> str:
    """One line: the slot that no longer fits, by how much, and what would make it fit."""
    busiest = max(plan.buses, key=lambda bus: bus.busy_ns)
    bus_row = tables.buses[busiest.bus]
    help_words = [
        *_period_that_fits(tables, maps),
        *_baud_that_fits(tables, maps, busiest.bus),
        *_chargers_to_move(tables, maps, busiest.bus),
    ]
    remedy = f"would fit with {' or '.join(help_words)}" if help_words else "split the bus"
    return (
        f"bus.{bus_row.name}: slot '{_slot_that_is_late(plan, busiest)}' does not fit: the"
        f" worst-case scan of {_ms(plan.worst_scan_ns)} is {_ms(-plan.margin_ns)} longer than"
        f" site.period_ms = {ms_from_ns(plan.period_ns):g}; {remedy}"
    )


def _slot_that_is_late(plan: Plan, bus: BusPlan) -> str:
    """The first slot that ends after the period, in the order of the scan."""
    latest_first = sorted(bus.status_slots, key=lambda slot: slot.worst_ns, reverse=True)
    reads = [(slot.what, slot.failed_ns) for slot in bus.meter_slots]
    reads += [(slot.what, slot.worst_ns) for slot in latest_first[: bus.n_status_per_scan]]
    reads.append(("one more timeout", bus.timeout_ns))
    takes = [(slot.what, slot.worst_ns) for slot in bus.setpoint_slots]
    if bus.probe_slot:
        takes.append((bus.probe_slot.what, bus.probe_slot.worst_ns))
    at_ns = 0
    for what, slot_ns in reads:
        at_ns += slot_ns
        if at_ns > plan.period_ns:
            return what
    at_ns = plan.take_end_ns - _take_ns(bus) + bus.gap_ns
    for what, slot_ns in takes:
        at_ns += slot_ns
        if at_ns > plan.period_ns:
            return what
    return "give"


def _fits(tables: Tables, maps: dict[str, DeviceMap]) -> bool:
    buses = _slots_of(tables, maps)
    if any(_broken_rules(tables, bus) for bus in buses):
        return False
    return _lay_out(tables, buses).margin_ns >= 0


def _period_that_fits(tables: Tables, maps: dict[str, DeviceMap]) -> list[str]:
    """The shortest longer period, in whole tens of milliseconds."""
    first_ns = (tables.site.period_ns // PERIOD_STEP_ns + 1) * PERIOD_STEP_ns
    for period_ns in range(first_ns, STATUS_AGE_MAX_ns + 1, PERIOD_STEP_ns):
        if _fits(replace(tables, site=replace(tables.site, period_ns=period_ns)), maps):
            return [f"site.period_ms = {ms_from_ns(period_ns):g}"]
    return []


def _baud_that_fits(tables: Tables, maps: dict[str, DeviceMap], bus: int) -> list[str]:
    """The lowest speed that every device on the bus can be set to and that fits: a faster one."""
    models = {row.model for row in tables.meters if row.bus == bus}
    models |= {row.model for row in tables.chargers if row.bus == bus}
    common = set.intersection(*(set(maps[model].bauds) for model in models))
    for baud in sorted(common):
        faster = _with_bus(tables, bus, baud)
        if _fits(faster, maps):
            return [f"bus.{tables.buses[bus].name}.baud = {baud} ({_ms(_scan_ns(faster, maps))})"]
    return []


def _chargers_to_move(tables: Tables, maps: dict[str, DeviceMap], bus: int) -> list[str]:
    """The last chargers of the bus, as few as leave a scan that fits, theirs on a bus like it."""
    other = replace(tables.buses[bus], name=f"{tables.buses[bus].name} 2")
    names = [row.name for row in tables.chargers if row.bus == bus and not row.is_isolated]
    for n_moved in range(1, len(names) + 1):
        moved = names[-n_moved:]
        parted = replace(
            tables,
            buses=(*tables.buses, other),
            chargers=tuple(
                replace(row, bus=len(tables.buses)) if row.name in moved else row
                for row in tables.chargers
            ),
        )
        if _fits(parted, maps):
            which = (
                ", ".join(moved) if n_moved <= 3 else f"the last {n_moved} of {len(names)} chargers"
            )
            return [f"{which} on another bus ({_ms(_scan_ns(parted, maps))} then)"]
    return []


def _with_bus(tables: Tables, bus: int, baud: int) -> Tables:
    buses = list(tables.buses)
    buses[bus] = replace(buses[bus], baud=baud)
    return replace(tables, buses=tuple(buses))


def _scan_ns(tables: Tables, maps: dict[str, DeviceMap]) -> int:
    return _lay_out(tables, _slots_of(tables, maps)).worst_scan_ns


# The plan in words


def describe(plan: Plan, tables: Tables) -> list[str]:
    """The plan for a terminal: what each bus does in a worst-case scan, the phases, the margin."""
    lines = []
    for bus in plan.buses:
        row = tables.buses[bus.bus]
        lines.append(f"bus {row.name}, {row.baud} {row.frame}")
        lines += [f"  {words:<44}{_ms(time_ns):>10}" for words, time_ns in _bus_lines(bus)]
    lines += [
        f"{words:<46}{_ms(at_ns):>10}"
        for words, at_ns in (
            ("read ends at the latest after", plan.read_end_ns),
            ("take ends at the latest after", plan.take_end_ns),
            ("gives begin after", plan.give_at_ns),
            ("gives end at the latest after", plan.give_end_ns),
            ("worst-case scan, the gateway's own time in it", plan.worst_scan_ns),
            ("period", plan.period_ns),
        )
    ]
    percent = 100 * plan.margin_ns // plan.period_ns
    lines.append(f"{f'margin, {percent} % of the period':<46}{_ms(plan.margin_ns):>10}")
    return lines


def gives_words(bus: BusPlan) -> str:
    n = bus.n_gives_per_scan
    return "1 raise or refresh" if n == 1 else f"{n} raises or refreshes"


def _bus_lines(bus: BusPlan) -> list[tuple[str, int]]:
    found = []
    if bus.meter_slots:
        given_up_ns = sum(slot.failed_ns for slot in bus.meter_slots)
        found.append((f"{_count(bus.meter_slots, 'meter')}, each given up", given_up_ns))
    if bus.status_slots:
        age_s = s_from_ns(bus.status_age_ns)
        share = f"{bus.n_status_per_scan} of {_count(bus.status_slots, 'status block')}"
        status_ns = _read_ns(bus) - sum(slot.failed_ns for slot in bus.meter_slots)
        found.append((f"{share}, none older than {age_s:g} s", status_ns))
    if bus.timeout_ns:
        found.append(("one more timeout", bus.timeout_ns))
    if bus.gap_ns:
        found.append(("gaps that devices need", bus.gap_ns))
    if bus.probe_slot:
        takes_ns = sum(slot.worst_ns for slot in bus.setpoint_slots)
        found.append((f"{_count(bus.setpoint_slots, 'setpoint')}, decreases", takes_ns))
        found.append(("1 probe of a silent charger", bus.probe_slot.worst_ns))
        gives = gives_words(bus)
        found.append((gives, _give_ns(bus)))
    return found


def _count(slots: Sequence[Slot], noun: str) -> str:
    return f"{len(slots)} {noun}{'s' if len(slots) > 1 else ''}"


def _ms(value_ns: int) -> str:
    return f"{ms_from_ns(value_ns):.1f} ms"
