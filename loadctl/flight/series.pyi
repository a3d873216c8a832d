"""Typing of the curves; `series.pyx` holds the words on each call."""

from collections.abc import Sequence

from typing_extensions import Buffer

CIRCUIT_CURVES: tuple[str, ...]
CHARGER_CURVES: tuple[str, ...]

def chargers_of(
    plant: Buffer, n_circuits: int, n_meters: int, n_chargers: int
) -> list[tuple[int, tuple[int, int, int], bool]]: ...

class Series:
    """`meter_of` per circuit, -1 for none; `n_wired` phases per charger."""

    def __init__(
        self,
        meter_of: Sequence[int],
        n_wired: Sequence[int],
        n_meters: int,
        from_ns: int,
        to_ns: int,
        n_stretches: int,
    ) -> None: ...
    def take(self, plant: Buffer, at_ns: int) -> None: ...
    def circuit(self, circuit_i: int, what: str, phase: int) -> list[tuple[int, int] | None]:
        """(least, most) in mA of each stretch; None where there was no sample."""

    def charger(self, charger_i: int, what: str) -> list[tuple[int, int] | None]: ...
    def offered(self) -> list[int]:
        """Setpoint times phases times time of each charger, in mA times ms."""
