"""What must hold after every call of the core, whatever came in: design, sections 4 and 5.

Judged from a stranger's book (`core_book`) and the site's tables. The core is asked for what it
decided and what it reserves; what these rest on is worked out anew.
"""

from __future__ import annotations

from typing import Any

from loadctl.reasons import NO_ROOM_FOR_MINIMUM, NO_ROOM_FROM_OUTSIDE
from loadctl.tables import Phases
from tests.support.core_book import KIND_CHARGERS, KIND_POWER, Book
from tests.support.core_sites import RUN
from tests.support.reference import chain

SOURCE_METER, SOURCE_STALE = 1, 2  # as in loadctl/law/estimate.pxd
EXCHANGES_ns = 200_000_000  # between the reads of one scan; as in loadctl/law/draws.pxd

Rows = list[dict[str, Any]]


def rows_of(book: Book) -> Rows:
    return [book.core.charger(i) for i in range(len(book.chargers))]


# at any time


def check_reserves(book: Book) -> None:
    """Never less than anything that may be in force or was seen; silent means able."""
    for i, (row, mine) in enumerate(zip(rows_of(book), book.chargers, strict=True)):
        table, where = mine.row, f"charger {i}"
        if table.is_isolated:
            assert row["reserve_mA"] == 0, where
            continue
        assert row["reserve_mA"] >= max(row["setpoint_mA"], row["ceiling_mA"]), where
        assert row["reserve_mA"] >= mine.may_mA, where
        assert bool(row["is_silent"]) == mine.is_silent, where
        assert bool(row["is_armed"]) == mine.is_armed, where
        if mine.is_armed:
            assert row["setpoint_mA"] == mine.told_mA, where
        if mine.is_silent:
            assert row["reserve_mA"] >= table.fallback_mA, where
        if not mine.is_armed:
            assert row["reserve_mA"] >= table.rated_mA, where
        assert set(table.phases) - set(book.core.used_phases()[i]) <= mine.unused, where
        if mine.samples and not mine.is_silent:
            assert row["reserve_mA"] >= max(mine.samples[-1][1]), where


# after step


def check_step(book: Book) -> None:
    rows = rows_of(book)
    for c, now in enumerate(book.in_force):
        assert tuple(book.core.circuit(c)["limit_mA"]) == now.limit_mA
    check_grants(book, rows)
    check_takes(book, rows)
    check_probes(book, rows)
    if book.mode == RUN:
        check_shed(book, rows)
        check_excess(book, rows)
        check_refusals(book, rows)


def check_grants(book: Book, rows: Rows) -> None:
    """0 or at least the minimum, on the step grid, within the maximum, and summed up right."""
    for row, mine in zip(rows, book.chargers, strict=True):
        table, grant_mA = mine.row, row["grant_mA"]
        assert grant_mA == 0 or table.min_mA <= grant_mA <= table.max_mA
        assert grant_mA % table.step_mA == 0
    for c in range(len(book.tables.circuits)):
        circuit = book.core.circuit(c)
        for p in range(3):
            below = users(book, c, p)
            assert circuit["granted_mA"][p] == sum(rows[i]["grant_mA"] for i in below)


def check_takes(book: Book, rows: Rows) -> None:
    orders = book.core.takes()
    assert len(dict(orders)) == len(orders)
    for i, setpoint_mA in orders:
        mine = book.chargers[i]
        assert setpoint_mA <= mine.told_mA
        assert can_be_told(book, i)
    for i, mine in enumerate(book.chargers):
        if book.mode != RUN and can_be_told(book, i):
            least_mA = min(mine.told_mA, rows[i]["failsafe_mA"])
            assert rows[i]["grant_mA"] <= least_mA
            assert rows[i]["failsafe_mA"] <= mine.row.failsafe_mA


def check_probes(book: Book, rows: Rows) -> None:
    """Failsafe never raises, and whoever is starved gets nothing."""
    for i, mine in enumerate(book.chargers):
        assert book.core.probe_mA(i) <= min(mine.told_mA, rows[i]["failsafe_mA"])
    starving = set(book.core.starving())
    acted = {i for i, _ in book.core.takes()} | set(book.core.looks())
    assert starving & acted == set()


def check_shed(book: Book, rows: Rows) -> None:
    """What those who ask keep fits beside the lowest background and all that others may draw who
    have a car; of those who do not ask nobody keeps more than failsafe."""
    for i, row in enumerate(rows):
        if row["is_candidate"]:
            assert can_be_told(book, i)
        elif can_be_told(book, i):
            assert row["grant_mA"] <= row["failsafe_mA"]
    asking = [i for i, row in enumerate(rows) if row["is_candidate"]]
    kept = {i: min(rows[i]["grant_mA"], book.chargers[i].told_mA) for i in asking}
    fixed = {
        i: row["reserve_mA"]
        for i, row in enumerate(rows)
        if i not in asking and not (can_be_told(book, i) and book.chargers[i].has_left)
    }
    for place, most_mA in caps_mA(book, backgrounds_low_mA(book)).items():
        counts = book.counts[place]
        assert used_mA(counts, kept) <= max(0, most_mA - used_mA(counts, fixed)), place


def check_excess(book: Book, rows: Rows) -> None:
    """What a meter reads above a limit, beyond takes that are still to be followed, is cut."""
    for c, circuit in enumerate(book.tables.circuits):
        if circuit.meter < 0 or book.core.circuit(c)["source"] != SOURCE_METER:
            continue
        for p in range(3):
            over_mA = abs(book.meters[circuit.meter].load_mA[p])
            if circuit.counts_export:
                over_mA = book.meters[circuit.meter].load_mA[p]
            over_mA -= book.in_force[c].limit_mA[p]
            below = users(book, c, p)
            late_mA = sum(late_of_mA(book, rows, i, p) for i in below)
            told = [i for i in below if can_be_told(book, i) and rows[i]["has_status"]]
            before_mA = sum(drawn_mA(book, i, p) for i in told)
            after_mA = sum(min(rows[i]["grant_mA"], book.chargers[i].told_mA) for i in told)
            if over_mA > late_mA:
                assert after_mA <= max(0, before_mA - (over_mA - late_mA))


def drawn_mA(book: Book, i: int, p: int) -> int:
    """What is drawn of a setpoint: what nobody draws is no relief. Unknown: all of it."""
    mine = book.chargers[i]
    if not mine.samples or book.now_ns - mine.samples[-1][0] > book.tuning.meter_stale_ns:
        return mine.told_mA
    return min(mine.told_mA, mine.samples[-1][1][p])


def late_of_mA(book: Book, rows: Rows, i: int, p: int) -> int:
    """What the meters' values may still show of a take: all that is reserved above the setpoint,
    and what was drawn at the time that they may stem from."""
    mine = book.chargers[i]
    lag_ns = max((book.tables.meters[m].lag_ns for m in meters_above(book, i)), default=0)
    from_ns = book.now_ns - lag_ns - EXCHANGES_ns
    before = [at_ns for at_ns, _ in mine.samples if at_ns <= from_ns]
    drawn_mA = [draw_mA[p] for at_ns, draw_mA in mine.samples if not before or at_ns >= before[-1]]
    return max(0, max([rows[i]["reserve_mA"], *drawn_mA]) - rows[i]["setpoint_mA"])


def meters_above(book: Book, i: int) -> list[int]:
    circuits = [book.tables.circuits[c] for c in chain(book.tables, i)]
    return [circuit.meter for circuit in circuits if circuit.meter >= 0]


def check_refusals(book: Book, rows: Rows) -> None:
    """A limit that is named as too full for a minimum is: nobody is skipped who would fit, but for
    one who has waited for long."""
    for i, row in enumerate(rows):
        if row["reason"] not in (NO_ROOM_FOR_MINIMUM, NO_ROOM_FROM_OUTSIDE):
            continue
        c, kind = row["binding_circuit"], row["binding_kind"]
        circuit = book.core.circuit(c)
        if any(circuit["is_overloaded"]) or is_room_kept(book, rows, book.counts[c, kind]):
            continue
        wanted = minima(rows, book)
        wanted[i] += book.tables.chargers[i].min_mA
        room_mA = cap_mA(book, c, kind, backgrounds_most_mA(book)[c])
        assert room_mA is not None
        assert used_mA(book.counts[c, kind], wanted) > room_mA, f"charger {i}"


def is_room_kept(book: Book, rows: Rows, counts: dict[int, int]) -> bool:
    return any(
        rows[i]["is_waiting"]
        and not rows[i]["is_admitted"]
        and book.now_ns - rows[i]["waits_since_ns"] >= 2 * book.tuning.rotate_ns
        for i in counts
    )


# after confirm


def check_confirm(book: Book) -> None:
    """With all gives in force reserves and backgrounds fit every limit above each of them."""
    rows = rows_of(book)
    check_grants(book, rows)
    gives = dict(book.core.gives())
    if not gives:
        return
    assert book.mode == RUN
    check_backgrounds(book)
    for i, setpoint_mA in gives.items():
        mine = book.chargers[i]
        assert can_be_told(book, i)
        assert mine.is_acknowledged
        assert mine.told_mA < setpoint_mA <= mine.row.max_mA
        assert i not in dict(book.core.takes())
        check_eyes(book, i)
        if mine.raised_at_ns is not None:
            pause_ns = max(book.tuning.raise_every_ns, mine.row.min_change_ns)
            assert book.now_ns - mine.raised_at_ns >= pause_ns
    after_mA = {
        i: max(rows[i]["reserve_mA"], mine.may_mA, gives.get(i, 0))
        for i, mine in enumerate(book.chargers)
        if not mine.row.is_isolated
    }
    for place, most_mA in caps_mA(book, book.core.backgrounds_high_mA()).items():
        if set(book.counts[place]) & set(gives):
            assert used_mA(book.counts[place], after_mA) <= most_mA, place


def check_eyes(book: Book, i: int) -> None:
    """Every dynamic circuit above was read in this scan, or silent or frozen for long."""
    for c in chain(book.tables, i):
        circuit = book.tables.circuits[c]
        if circuit.is_dynamic and not book.meters[circuit.meter].is_fresh:
            assert book.core.circuit(c)["source"] == SOURCE_STALE
            since_ns = book.meters[circuit.meter].read_at_ns
            if since_ns is None:
                since_ns = book.first_step_at_ns
            elif book.core.meter(circuit.meter)["is_frozen"]:
                since_ns = book.meters[circuit.meter].changed_at_ns
            assert since_ns is not None
            assert book.now_ns - since_ns >= book.tuning.meter_stale_ns


def check_backgrounds(book: Book) -> None:
    """What the core leaves room for is at least the meter less what is drawn for sure."""
    high = book.core.backgrounds_high_mA()
    for c, circuit in enumerate(book.tables.circuits):
        for p in range(3):
            if is_read(book, c):
                load_mA = book.meters[circuit.meter].load_mA[p]
                least_mA = load_mA if circuit.counts_export else abs(load_mA)
                drawn_mA = drawn_below_mA(book, c, p)
                assert high[c][p] >= least_mA - drawn_mA
            elif not circuit.is_dynamic:
                assert high[c][p] >= circuit.background_mA[p]


def is_read(book: Book, c: int) -> bool:
    circuit = book.tables.circuits[c]
    return circuit.is_dynamic and book.core.circuit(c)["source"] == SOURCE_METER


def drawn_below_mA(book: Book, c: int, p: int) -> int:
    """The most that is drawn below a circuit for sure at the moment of its meter and all above."""
    total_mA = sum(
        least_draw_mA(book, i, p) for i, row in enumerate(book.tables.chargers) if row.circuit == c
    )
    for sub, circuit in enumerate(book.tables.circuits):
        if circuit.parent == c:
            total_mA += max(drawn_below_mA(book, sub, p), metered_below_mA(book, sub, p))
    return total_mA


def metered_below_mA(book: Book, c: int, p: int) -> int:
    """What a sub-circuit's own meter shows beyond its declared background."""
    circuit = book.tables.circuits[c]
    if circuit.meter < 0 or not book.meters[circuit.meter].is_fresh:
        return 0
    meter = book.meters[circuit.meter]
    if meter.before_mA is None:
        return 0
    return min(meter.load_mA[p], meter.before_mA[p]) - circuit.background_mA[p]


def least_draw_mA(book: Book, i: int, p: int) -> int:
    spans = [
        (meter.read_at_ns - book.tables.meters[m].lag_ns, meter.read_at_ns)
        for c in chain(book.tables, i)
        if (m := book.tables.circuits[c].meter) >= 0
        and (meter := book.meters[m]).is_fresh
        and meter.read_at_ns is not None
    ]
    if not spans:
        return 0
    first_ns, last_ns = min(span[0] for span in spans), max(span[1] for span in spans)
    return book.chargers[i].least_draw_mA(p, first_ns, last_ns)


# parts


def can_be_told(book: Book, i: int) -> bool:
    mine = book.chargers[i]
    return (
        mine.is_armed
        and not mine.is_silent
        and not mine.row.is_isolated
        and i not in book.core.starving()
    )


def users(book: Book, c: int, p: int) -> list[int]:
    """Chargers anywhere below a circuit that use a phase."""
    return list(book.counts[c, p])


def caps_mA(book: Book, backgrounds_mA: list[Phases]) -> dict[tuple[int, int], int]:
    """What chargers may draw together, by circuit and kind, beside these backgrounds."""
    caps = {}
    for place in book.counts:
        most_mA = cap_mA(book, *place, backgrounds_mA[place[0]])
        if most_mA is not None:
            caps[place] = most_mA
    return caps


def cap_mA(book: Book, c: int, kind: int, background_mA: Phases) -> int | None:
    circuit, now = book.tables.circuits[c], book.in_force[c]
    if kind < KIND_POWER:
        return now.limit_mA[kind] - circuit.margin_mA - background_mA[kind]
    if kind == KIND_POWER:
        return mA_of(book, now.power_W, sum(background_mA))
    if kind == KIND_CHARGERS:
        return mA_of(book, now.chargers_W, 0)
    return circuit.unbalance_mA


def mA_of(book: Book, power_W: int | None, less_mA: int) -> int | None:
    if power_W is None:
        return None
    return power_W * 1_000_000 // book.tables.site.voltage_mV - less_mA


def used_mA(counts: dict[int, int], currents_mA: dict[int, int]) -> int:
    return sum(count * currents_mA.get(i, 0) for i, count in counts.items())


def backgrounds_low_mA(book: Book) -> list[Phases]:
    return [
        tuple(book.core.circuit(c)["background_low_mA"]) for c in range(len(book.tables.circuits))
    ]


def backgrounds_most_mA(book: Book) -> list[Phases]:
    """The higher of what cuts are judged by and what shares leave room for."""
    circuits = [book.core.circuit(c) for c in range(len(book.tables.circuits))]
    return [
        tuple(map(max, zip(row["background_low_mA"], row["background_mA"], strict=True)))
        for row in circuits
    ]


def minima(rows: Rows, book: Book) -> dict[int, int]:
    held: dict[int, int] = {}
    for i, (row, table) in enumerate(zip(rows, book.tables.chargers, strict=True)):
        held[i] = table.min_mA if row["is_admitted"] else 0
        if not row["is_candidate"]:
            held[i] += row["reserve_mA"]
        elif row["is_overdue"]:
            held[i] += max(0, row["reserve_mA"] - table.min_mA)
        elif not row["is_acknowledged"]:
            held[i] += max(0, row["reserve_mA"] - row["setpoint_mA"])
    return held
