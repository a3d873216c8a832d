"""What the scan tells its guard and learns from it, as field and scan see it.

Owns the shape of that border only; `loadctl/guarded.py` has the real one, over shared memory. The
calls never wait. `tell` comes from the threads of the buses, each for its own chargers; the rest
from the main thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from loadctl.tables import Phases
from loadctl.tuning import Layer


class ExternalCommand(NamedTuple):
    """What was said last from outside of one circuit, on the monotonic clock; neither current nor
    power: there is no limit."""

    limit_mA: Phases | None
    power_W: int | None
    until_ns: int | None  # None: until the next
    heard_at_ns: int


class GuardSide(Protocol):
    """`told` is never above what a charger may have: it is what a takeover starts from."""

    def beat(self) -> None: ...
    def gone(self, now_ns: int) -> str:
        """Empty while the guard is well, else one line why it is not."""
        ...

    def tell(self, charger_i: int, setpoint_mA: int) -> None: ...
    def told_mA(self, charger_i: int) -> int | None: ...
    def set_failsafe(self, charger_i: int, failsafe_mA: int) -> None: ...
    def set_starved(self, charger_i: int, is_starved: bool) -> None: ...
    def set_seen_background(self, circuit_i: int, seen_mA: Phases) -> None: ...
    def seen_background_mA(self, circuit_i: int) -> Phases | None: ...
    def set_external(self, circuit_i: int, command: ExternalCommand) -> None: ...
    def external(self, circuit_i: int) -> ExternalCommand | None:
        """What an earlier scan was told of this circuit."""
        ...

    def set_tuned(self, layers: Mapping[int, Layer]) -> None:
        """What is asked for in these slots from now on, all at once."""
        ...

    def tuned(self) -> dict[int, Layer]:
        """What an earlier scan was asked for."""
        ...

    def ports(self) -> None:
        """Hand new descriptors of ports on to their buses; never waits."""
        ...


class NoGuard:
    """Nobody watches this scan: a rig, or a scan that was started by itself."""

    def beat(self) -> None:
        pass

    def gone(self, now_ns: int) -> str:
        return ""

    def tell(self, charger_i: int, setpoint_mA: int) -> None:
        pass

    def told_mA(self, charger_i: int) -> int | None:
        return None

    def set_failsafe(self, charger_i: int, failsafe_mA: int) -> None:
        pass

    def set_starved(self, charger_i: int, is_starved: bool) -> None:
        pass

    def set_seen_background(self, circuit_i: int, seen_mA: Phases) -> None:
        pass

    def seen_background_mA(self, circuit_i: int) -> Phases | None:
        return None

    def set_external(self, circuit_i: int, command: ExternalCommand) -> None:
        pass

    def external(self, circuit_i: int) -> ExternalCommand | None:
        return None

    def set_tuned(self, layers: Mapping[int, Layer]) -> None:
        pass

    def tuned(self) -> dict[int, Layer]:
        return {}

    def ports(self) -> None:
        pass
