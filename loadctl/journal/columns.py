"""The journal as tables with named columns, for spreadsheets and data frames.

Every name of a quantity ends in its unit: `_A`, `_kWh`, `_min`, `_utc`. A table is a list of
columns and rows of plain values; None is "no value".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from loadctl.journal.fold import Session
from loadctl.journal.notes import Source, kind_name
from loadctl.journal.reading import Asked, HistoryRow, JournalFile, Span
from loadctl.journal.shape import (
    CURRENTS,
    DRAW_AT,
    HAS_DRAW_AT,
    HAS_METER_AT,
    REASON_AT,
    STATE_AT,
    Shape,
)
from loadctl.journal.sql import EventRow
from loadctl.reasons import state_letter
from loadctl.units import N_PHASES, PHASE_NAMES, A_from_mA

Value = int | float | str | bool | datetime | None
uWs_PER_kWh = 3_600 * 10**9


class Column(NamedTuple):
    name: str
    type: type  # datetime, int, float, str or bool


class Table(NamedTuple):
    columns: list[Column]
    rows: Iterator[list[Value]]


def events_table(journal: JournalFile, span: Span) -> Table:
    columns = [
        Column("at_utc", datetime),
        Column("monotonic_ns", int),
        Column("source", str),
        Column("kind", str),
        Column("who", str),
        Column("text", str),
        *(Column(name, int) for name in ("first", "second", "third", "fourth")),
        Column("user", str),
        Column("since_utc", datetime),
    ]
    return Table(columns, (_event(row) for _, row in journal.events(Asked(span))))


def _event(row: EventRow) -> list[Value]:
    since = None if row.since_utc_ms is None else _at(row.since_utc_ms)
    return [
        _at(row.utc_ms),
        row.mono_ns,
        Source(row.source).name.lower(),
        kind_name(row.source, row.kind),
        row.who or None,
        row.text,
        row.first,
        row.second,
        row.third,
        row.fourth,
        row.user,
        since,
    ]


def sessions_table(journal: JournalFile, span: Span) -> Table:
    columns = [
        Column("session", int),
        Column("charger", str),
        Column("begin_utc", datetime),
        Column("end_utc", datetime),
        Column("is_begin_seen", bool),
        Column("energy_kWh", float),
        Column("estimated_kWh", float),
        Column("is_estimated", bool),
        Column("max_A", float),
        Column("charging_min", float),
        Column("waiting_min", float),
        Column("missing_min", float),
    ]
    return Table(columns, (_session(session) for session in journal.sessions(span)))


def _session(session: Session) -> list[Value]:
    total_uWs = session.measured_uWs + session.estimated_uWs
    return [
        session.number,
        session.charger,
        _at(session.begin_utc_ms),
        None if session.end_utc_ms is None else _at(session.end_utc_ms),
        session.is_begin_seen,
        round(total_uWs / uWs_PER_kWh, 3),
        round(session.estimated_uWs / uWs_PER_kWh, 3),
        session.estimated_uWs > 0,
        A_from_mA(session.max_mA),
        round(session.charging_s / 60, 1),
        round(session.waiting_s / 60, 1),
        round(session.missing_s / 60, 1),
    ]


def history_table(journal: JournalFile, span: Span) -> Table:
    return _history(journal, "second", span, _second_columns, _second)


def minutes_table(journal: JournalFile, span: Span) -> Table:
    return _history(journal, "minute", span, _minute_columns, _minute)


def _history(
    journal: JournalFile,
    table: str,
    span: Span,
    columns_of: Callable[[Shape], list[Column]],
    values_of: Callable[[Shape, Sequence[int]], list[Value]],
) -> Table:
    """The columns of every shape that the site had; where one has no such column there is none."""
    columns = {"at_utc": Column("at_utc", datetime)}
    for shape in journal.shapes_in(table, span):
        columns |= {column.name: column for column in columns_of(shape)}
    names = list(columns)

    def rows() -> Iterator[list[Value]]:
        shape, places = None, dict.fromkeys(names, -1)
        for row in journal.history(table, span):
            if row.shape is not shape:
                shape = row.shape
                places = {column.name: i for i, column in enumerate(columns_of(shape))}
            yield _spread(row, values_of(row.shape, row.values), names, places)

    return Table(list(columns.values()), rows())


def _spread(
    row: HistoryRow, values: list[Value], names: list[str], places: dict[str, int]
) -> list[Value]:
    found: list[Value] = [_at(row.utc_ms)]
    found += [values[places[name]] if name in places else None for name in names[1:]]
    return found


def _second_columns(shape: Shape) -> list[Column]:
    found = [
        Column(f"{circuit}.{phase}.{what}_A", float)
        for circuit in shape.circuits
        for what in CURRENTS
        for phase in PHASE_NAMES
    ]
    for charger in shape.chargers:
        found.append(Column(f"{charger}.setpoint_A", float))
        found += [Column(f"{charger}.{phase}.draw_A", float) for phase in PHASE_NAMES]
        found += [Column(f"{charger}.state", str), Column(f"{charger}.reason", int)]
    return found


def _second(shape: Shape, values: Sequence[int]) -> list[Value]:
    found: list[Value] = []
    for circuit_i in range(len(shape.circuits)):
        at = shape.circuit_at(circuit_i)
        found += [A_from_mA(value_mA) for value_mA in values[at : at + HAS_METER_AT - N_PHASES]]
        found += _present(values, at + HAS_METER_AT - N_PHASES, values[at + HAS_METER_AT])
    for charger_i in range(len(shape.chargers)):
        at = shape.charger_at(charger_i)
        found.append(A_from_mA(values[at]))
        found += _present(values, at + DRAW_AT, values[at + HAS_DRAW_AT])
        found += [_letter(values[at + STATE_AT]), values[at + REASON_AT]]
    return found


def _minute_columns(shape: Shape) -> list[Column]:
    found = [Column("seconds_s", int)]
    for circuit in shape.circuits:
        found += [
            Column(f"{circuit}.{phase}.{what}_{how}_A", float)
            for how in ("mean", "max")
            for what in CURRENTS
            for phase in PHASE_NAMES
        ]
    for charger in shape.chargers:
        found += [Column(f"{charger}.setpoint_{how}_A", float) for how in ("mean", "max")]
        found += [
            Column(f"{charger}.{phase}.draw_{how}_A", float)
            for how in ("mean", "max")
            for phase in PHASE_NAMES
        ]
        found += [Column(f"{charger}.state", str), Column(f"{charger}.reason", int)]
    return found


def _minute(shape: Shape, values: Sequence[int]) -> list[Value]:
    found: list[Value] = [values[0]]
    n_currents = len(CURRENTS) * N_PHASES
    for circuit_i in range(len(shape.circuits)):
        at = shape.minute_circuit_at(circuit_i)
        n_meter = values[at + 2 * n_currents]
        for first in (at, at + n_currents):
            n_plain = n_currents - N_PHASES
            found += [A_from_mA(value_mA) for value_mA in values[first : first + n_plain]]
            found += _present(values, first + n_plain, n_meter)
    for charger_i in range(len(shape.chargers)):
        at = shape.minute_charger_at(charger_i)
        n_draw, state, reason = values[at + 8 : at + 11]
        found += [A_from_mA(values[at]), A_from_mA(values[at + 1])]
        found += _present(values, at + 2, n_draw) + _present(values, at + 5, n_draw)
        found += [_letter(state), reason]
    return found


def _present(values: Sequence[int], at: int, is_there: int) -> list[Value]:
    """The three phases, or no value."""
    if not is_there:
        return [None] * N_PHASES
    return [A_from_mA(value_mA) for value_mA in values[at : at + N_PHASES]]


def _letter(state: int) -> str | None:
    return state_letter(state) if state else None


def _at(utc_ms: int) -> datetime:
    return datetime.fromtimestamp(utc_ms // 1_000, UTC).replace(microsecond=utc_ms % 1_000 * 1_000)
