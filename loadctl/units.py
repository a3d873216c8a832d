"""Conversions at the edge of the program.

Inside, quantities are integers: mA, mV, W, ns. Amps, seconds and milliseconds exist only in files,
on screens and in device tables; they become integers here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000

N_PHASES = 3
LEAST_CHARGING_mA = 6_000  # IEC 61851-1 knows no current below it
PHASE_NAMES = ("L1", "L2", "L3")


def mA_from_A_floor(value_A: float | int | Decimal) -> int:
    """Round down to whole mA: for anything that is allowed (limits, maxima, grants)."""
    return int((Decimal(str(value_A)) * 1000).to_integral_value(ROUND_FLOOR))


def mA_from_A_ceil(value_A: float | int | Decimal) -> int:
    """Round up to whole mA: for anything that is a load (background, margins, minima, draw)."""
    return int((Decimal(str(value_A)) * 1000).to_integral_value(ROUND_CEILING))


def W_from_kW_floor(value_kW: float | int | Decimal) -> int:
    """Whole watts, as for whatever is allowed."""
    return mA_from_A_floor(value_kW)


def A_from_mA(value_mA: int) -> float:
    """Amps for a screen or JSON, exact to three decimals."""
    return round(value_mA / 1000, 3)


def kW_from_W(value_W: int) -> float:
    """Kilowatts for a screen or JSON, exact to three decimals."""
    return A_from_mA(value_W)


def A_list_from_mA(values_mA: Iterable[int]) -> list[float]:
    return [A_from_mA(value_mA) for value_mA in values_mA]


def ns_from_s(value_s: float | int | Decimal) -> int:
    return int(Decimal(str(value_s)) * NS_PER_S)


def ns_from_ms(value_ms: float | int | Decimal) -> int:
    return int(Decimal(str(value_ms)) * NS_PER_MS)


def s_from_ns(value_ns: int) -> float:
    return value_ns / NS_PER_S


def ms_from_ns(value_ns: int) -> float:
    return value_ns / NS_PER_MS
