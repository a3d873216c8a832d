"""The time of the core: `share` alone, whole `step` and `confirm`, and peers on the same sites.

The bare fill in C runs in turn with the kernel, batch by batch, so that their ratio holds on a
busy machine too. Scans alternate between two loads of the building, so that each orders something.
"""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass

from bench.kernel import share_times_ns, shares
from bench.peers import ACNPORTAL, Acnportal, BareFill, NumpyFill, has_acnportal
from bench.scans import Scans
from bench.sites import panels
from loadctl.tables import Tables

TARGETS_us = {54: (6, 18), 200: (25, 75), 1000: (130, 390), 10_000: (3500, 10_500)}
SETTLING_SCANS = 40
BATCHES = 10
LOADS_mA = (0, 30_000)
ACNPORTAL_CHARGERS = 200  # beyond, one allocation takes minutes


@dataclass(frozen=True)
class Times:
    median: float
    p99: float
    n: int


@dataclass(frozen=True)
class Peer:
    """Ratio: its time by that of share. Jain: 1 where all have equal currents."""

    median_us: float
    ratio: float
    jain: float
    total_A: float


@dataclass
class Result:
    share_us: Times
    step_us: Times
    confirm_us: Times
    peers: dict[str, Peer]


def measure(n_chargers: int, n_scans: int) -> Result:
    tables = panels(n_chargers)
    scans = Scans(tables)
    scans.run(SETTLING_SCANS)
    bare = BareFill(tables)
    n_calls = max(5, 200_000 // n_chargers // BATCHES)
    share_ns: list[int] = []
    bare_ns: list[int] = []
    for _ in range(BATCHES):
        bare_ns += bare.times_ns(n_calls)
        share_ns += share_times_ns(scans.core, n_calls)
    shares_mA = [float(x_mA) for x_mA, _ in shares(scans.core)]
    scans.step_ns.clear()
    scans.confirm_ns.clear()
    for k in range(n_scans):
        scans.run(1, LOADS_mA[k % 2])
    share_us = times_us(share_ns)
    peers = {
        "loadctl share": peer(share_ns, share_us, shares_mA),
        "bare fill in C": peer(bare_ns, share_us, bare.shares_mA),
    }
    for name, other in others(n_chargers, tables).items():
        peers[name] = peer(other.times_ns(1), share_us, other.shares_mA)
    return Result(share_us, times_us(scans.step_ns), times_us(scans.confirm_ns), peers)


def others(n_chargers: int, tables: Tables) -> dict[str, NumpyFill | Acnportal]:
    found: dict[str, NumpyFill | Acnportal] = {"numpy fill": NumpyFill(tables)}
    if has_acnportal() and n_chargers <= ACNPORTAL_CHARGERS:
        for name, words in ACNPORTAL.items():
            found[name] = Acnportal(tables, *words)
    return found


def times_us(spans_ns: list[int]) -> Times:
    ordered = sorted(spans_ns)
    p99_ns = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return Times(statistics.median(ordered) / 1000, p99_ns / 1000, len(ordered))


def peer(spans_ns: list[int], share_us: Times, shares_mA: list[float]) -> Peer:
    median_us = statistics.median(spans_ns) / 1000
    squares = sum(x_mA * x_mA for x_mA in shares_mA)
    jain = sum(shares_mA) ** 2 / (len(shares_mA) * squares)
    return Peer(median_us, median_us / share_us.median, jain, sum(shares_mA) / 1000)


def as_json(results: dict[int, Result]) -> dict[str, dict[str, object]]:
    """`share_us`, `step_us`, `confirm_us` and `peers`, each by number of chargers."""
    names = [field.name for field in dataclasses.fields(Result)]
    by_chargers = {str(n): dataclasses.asdict(result) for n, result in results.items()}
    return {name: {n: result[name] for n, result in by_chargers.items()} for name in names}


def lines(n_chargers: int, result: Result) -> list[str]:
    text = [f"{n_chargers} chargers            median us       p99 us     target us"]
    for name, times, target_us in zip(
        ("share", "step", "confirm"),
        (result.share_us, result.step_us, result.confirm_us),
        (*TARGETS_us.get(n_chargers, ("", "")), ""),
        strict=True,
    ):
        text.append(f"  {name:<20}{times.median:>12.1f} {times.p99:>12.1f} {target_us:>13}")
    text.append("  allocation by              median us   by share    Jain    total A")
    for name, found in result.peers.items():
        text.append(
            f"  {name:<24}{found.median_us:>12.1f} {found.ratio:>10.1f} {found.jain:>7.3f} "
            f"{found.total_A:>10.1f}"
        )
    return text
