"""German EnWG section 14a: what a grid operator must leave the chargers behind one controller.

BNetzA BK6-22-300, annex 1: P = 4.2 kW + (n - 1) x GZF x 4.2 kW for n controllable devices, GZF by
their number. A charging point is one of them when it can take more than 4.2 kW.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadctl.tables import ChargerRow, CircuitRow

ONE_DEVICE_W = 4_200
GZF_PERCENT = {2: 80, 3: 75, 4: 70, 5: 65, 6: 60, 7: 55, 8: 50}
GZF_OF_MORE_PERCENT = 45
uW_PER_W = 1_000_000


def minimum_W(n_devices: int) -> int:
    """The power that n devices together may always take."""
    if n_devices == 0:
        return 0
    percent = GZF_PERCENT.get(n_devices, GZF_OF_MORE_PERCENT)
    return ONE_DEVICE_W + (n_devices - 1) * percent * ONE_DEVICE_W // 100


def guaranteed_W(
    circuit_i: int,
    circuits: Sequence[CircuitRow],
    chargers: Sequence[ChargerRow],
    voltage_mV: int,
) -> int:
    """The minimum for the chargers below one circuit; those switched off for good are none."""
    n_devices = sum(
        1
        for charger in chargers
        if not charger.is_isolated
        and _is_below(charger.circuit, circuit_i, circuits)
        and charger.rated_mA * len(charger.phases) * voltage_mV > ONE_DEVICE_W * uW_PER_W
    )
    return minimum_W(n_devices)


def _is_below(at: int, circuit_i: int, circuits: Sequence[CircuitRow]) -> bool:
    while at >= 0:
        if at == circuit_i:
            return True
        at = circuits[at].parent
    return False
