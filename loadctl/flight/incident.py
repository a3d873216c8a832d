"""A replay with all that may go with it: a plot, and a core with other values beside it.

Owns how these are put together, and what is said of the difference. Commands only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadctl.errors import UsageError
from loadctl.flight.marks import All, Mark, Marks
from loadctl.flight.other import Other
from loadctl.flight.plot import Frame, draw, make_series
from loadctl.flight.replay import Played, Range, Recording, Replay
from loadctl.flight.settings import chosen
from loadctl.flight.told import clock, verdict
from loadctl.units import NS_PER_S

W_PER_mA_V = 1 / 1_000
AS_RECORDED = (
    "The same inputs, other values: every car behaves as it was recorded, but takes no more than it"
    " is allowed."
)


class Incident:
    """One replay of a recording."""

    def __init__(self, recording: Recording, span: Range, settings: Sequence[str] = ()) -> None:
        self.recording, self.span, self.settings = recording, span, settings
        self.replay = Replay(recording, span)
        items = [item for item in self.replay.within() if item.meta is not None]
        heads = dict(recording.files)
        tables = [heads[item.path].tables for item in items]
        if settings and any(one != tables[-1] for one in tables):
            raise UsageError("--set: the site was changed meanwhile; choose a time with --from")
        last = items[-1].meta
        assert last is not None
        offset_ns = last.wall_ns - last.mono_ns
        self.replay.offset_ns = offset_ns
        from_ns, to_ns = _edges(items, span, offset_ns)
        self.frame = Frame(tables[-1], from_ns, to_ns, offset_ns)
        self.series = make_series(tables[-1], from_ns, to_ns)
        self.marks = Marks()
        self.other: Other | None = None
        self.other_series = None
        if settings:
            self.other_series = make_series(tables[-1], from_ns, to_ns)
            self.other = Other(tables[-1], chosen(tables[-1], settings), self.other_series)
        self.replay.series = self.series
        self.replay.listener = self.marks if self.other is None else All(self.marks, self.other)

    def run(self) -> Played:
        return self.replay.run()

    def plot(self, played: Played) -> str:
        """As SVG."""
        frame = self.frame
        marks = [
            *self.marks.marks,
            *(Mark(d.mono_ns, f"scan {d.scan_i}: not as recorded") for d in played.differences),
            *(Mark(n.mono_ns, n.words) for n in played.notes if n.mono_ns is not None),
        ]
        title = (
            f"{frame.tables.site.name}: {clock(frame.from_ns + frame.offset_ns)} to"
            f" {clock(frame.to_ns + frame.offset_ns)}"
        )
        if self.settings:
            title += f"; with {', '.join(self.settings)}"
        elif not played.is_equal:
            title += f"; {verdict(played)}"
        return draw(frame, title, self.series, sorted(marks), self.other_series)

    # what other values would have made of it

    def asked(self) -> dict[str, Any] | None:
        """As JSON; None where nothing was asked for."""
        other, other_series = self.other, self.other_series
        if other is None or other_series is None:
            return None
        tables = self.frame.tables
        energies = [
            [mAms * tables.site.voltage_mV / 1e6 / 3.6e9 for mAms in series.offered()]
            for series in (self.series, other_series)
        ]
        first_ns = other.first_at_ns
        return {
            "set": list(self.settings),
            "note": AS_RECORDED,
            "scans": other.n_scans,
            "first": None if first_ns is None else clock(first_ns + self.frame.offset_ns),
            "chargers": {
                row.name: {
                    "different_scans": other.n_different[i],
                    "offered_kWh": round(energies[0][i], 3),
                    "would_be_offered_kWh": round(energies[1][i], 3),
                }
                for i, row in enumerate(tables.chargers)
            },
            "circuits": {
                row.name: {
                    "most_granted_A": _most_granted(self.series, c),
                    "would_be_granted_A": _most_granted(other_series, c),
                    "least_limit_A": _least_limit(self.series, c),
                    "would_be_limit_A": _least_limit(other_series, c),
                }
                for c, row in enumerate(tables.circuits)
            },
        }


def asked_lines(asked: dict[str, Any]) -> list[str]:
    """The same in words."""
    lines = ["", f"With {', '.join(asked['set'])}:", AS_RECORDED]
    if asked["first"] is None:
        return [*lines, "No setpoint would have been another."]
    different = {k: v for k, v in asked["chargers"].items() if v["different_scans"]}
    recorded, would = (
        sum(row[key] for row in asked["chargers"].values())
        for key in ("offered_kWh", "would_be_offered_kWh")
    )
    lines.append(
        f"The first other setpoint at {asked['first']}; offered {would:.2f} kWh in all, as recorded"
        f" {recorded:.2f} kWh."
    )
    for name, row in different.items():
        share = 100 * row["different_scans"] / max(1, asked["scans"])
        lines.append(
            f"  {name}: another setpoint in {share:.0f} % of the scans; offered"
            f" {row['would_be_offered_kWh']:.2f} kWh, as recorded {row['offered_kWh']:.2f} kWh"
        )
    for name, row in asked["circuits"].items():
        lines.append(
            f"  {name}: granted at most {_amps(row['would_be_granted_A'])}, as recorded"
            f" {_amps(row['most_granted_A'])}; least limit {_amps(row['would_be_limit_A'])}"
        )
    return lines


def _amps(values_A: Sequence[float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:g}" for value in values_A) + " A"


def _most_granted(series: Any, circuit_i: int) -> list[float | None]:
    return [
        max((pair[1] for pair in curve if pair is not None), default=0) / 1000
        for curve in (series.circuit(circuit_i, "granted", phase) for phase in range(3))
    ]


def _least_limit(series: Any, circuit_i: int) -> list[float | None]:
    return [
        min((pair[0] for pair in curve if pair is not None), default=0) / 1000
        for curve in (series.circuit(circuit_i, "limit", phase) for phase in range(3))
    ]


def _edges(items: Sequence[Any], span: Range, offset_ns: int) -> tuple[int, int]:
    """The first and the last time that is shown, monotonic, of the boot with this offset."""
    metas = [
        item.meta
        for item in items
        if abs(item.meta.wall_ns - item.meta.mono_ns - offset_ns) < 60 * NS_PER_S
    ]
    from_ns, to_ns = metas[0].first_at_ns, metas[-1].last_at_ns
    for meta in metas:
        n = max(1, meta.last_scan - meta.first_scan)
        a_scan_ns = (meta.last_at_ns - meta.first_at_ns) / n
        for edge in (span.from_scan, span.to_scan):
            if edge is not None and meta.first_scan <= edge <= meta.last_scan:
                at_ns = meta.first_at_ns + round((edge - meta.first_scan) * a_scan_ns)
                from_ns = at_ns if edge == span.from_scan else from_ns
                to_ns = at_ns if edge == span.to_scan else to_ns
    if span.from_ns is not None:
        from_ns = max(from_ns, span.from_ns - offset_ns)
    if span.to_ns is not None:
        to_ns = min(to_ns, span.to_ns - offset_ns)
    return from_ns, max(to_ns, from_ns + 1)
