"""Typing of the border of the control law; `_core.pyx` holds the words on each call."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import Buffer

from loadctl.tables import Tables, Tuning

class Core:
    """The control law of one site: one deterministic function of (plant block, now).

    All state lives in the plant block, a flat run of bytes that the caller owns (the image's
    private copy, or a bytearray). Same block and same calls in: same bytes out, on every machine.
    """

    plant_bytes: int

    def __init__(self, tables: Tables) -> None: ...
    def attach(self, plant: Buffer) -> None:
        """Use this writable block of `plant_bytes`; a block of zeros becomes a fresh START."""

    # inputs, each with the time it was true
    def set_tuning(self, tuning: Tuning) -> None: ...
    def retune(self, changes: Sequence[tuple[int, int]]) -> None:
        """Let other live values count from the next step on, all of them or, where one is out of
        its bounds, none: CoreFault then says which.

        Each is (slot, value). Slots, in this order: the values of `loadctl.tables.Tuning`; four of
        each circuit: limit_mA of L1, L2, L3, margin_mA; six of each charger: min_mA, max_mA,
        priority, weight, 1 if enabled, 1 if never paused. Limits and maxima are never above those
        of the tables, margins never below, and no failsafe current changes.
        """

    def set_mode(self, mode: int) -> None: ...
    def meter_read(
        self,
        meter_i: int,
        code: int,
        current_mA: tuple[int, int, int] | None,
        power_W: tuple[int, int, int] | None,
        voltage_mV: tuple[int, int, int] | None,
        at_ns: int,
    ) -> None: ...
    def charger_status(
        self,
        charger_i: int,
        code: int,
        state: str | None,
        current_mA: tuple[int, int, int] | None,
        setpoint_mA: int | None,
        at_ns: int,
    ) -> None: ...
    def charger_armed(self, charger_i: int, is_armed: bool, setpoint_mA: int | None) -> None: ...
    def charger_answered(self, charger_i: int, code: int, at_ns: int) -> None: ...
    def external_limit(
        self,
        circuit_i: int,
        limit_mA: tuple[int, int, int] | None,
        power_W: int | None,
        until_ns: int | None,
        at_ns: int,
    ) -> None:
        """What came from outside replaces all that came before; both None: there is no limit.

        `until_ns` None: until the next command, or its source is lost.
        """

    # the scan, in this order
    def step(self, now_ns: int) -> int:
        """Estimate, admit, share, ramp, order. 0 is good; anything else is a fail-safe fact."""

    def takes(self) -> list[tuple[int, int]]:
        """(charger_i, setpoint_mA), largest decrease first."""

    def take_done(self, charger_i: int, code: int, at_ns: int) -> None: ...
    def looks(self) -> list[int]:
        """Chargers whose status must be read again before the gives of this scan can be judged."""

    def confirm(self, now_ns: int) -> int:
        """Judge the gives again with the acknowledgements of the takes and with fresh looks."""

    def gives(self) -> list[tuple[int, int]]:
        """(charger_i, setpoint_mA) that are covered, in order."""

    def give_done(self, charger_i: int, code: int, at_ns: int) -> None: ...
    def refreshed(self, charger_i: int, code: int, at_ns: int) -> None:
        """An unchanged setpoint was written again; for a silent charger: its probe was written."""

    def probe_mA(self, charger_i: int) -> int:
        """What a probe of a silent charger writes: min(last setpoint, failsafe current)."""

    def probe_done(self, charger_i: int, code: int, at_ns: int) -> None:
        """What became of a probe; an acknowledged one ends the silence."""

    # starving, and background above the declared
    def starving(self) -> list[int]:
        """Chargers that must get no message in this scan, so that their own watchdog acts.

        Valid after `step`. They are silent; once the starve is over they are probed as any other.
        """

    def failsafe_mA(self) -> list[int]:
        """Failsafe target of each charger now: its row's, or 0 where the redone proof failed."""

    def seen_backgrounds_mA(self) -> list[tuple[int, int, int] | None]:
        """Per circuit, the highest background seen above the declared, 0 on phases where it never
        was; None where it was on none. It stays for the life of the plant block."""

    def latch_background(self, circuit_i: int, seen_mA: tuple[int, int, int]) -> None:
        """Take in what was seen before this core was made; never lowers anything."""

    def cooling(self) -> list[tuple[int, int]]:
        """(circuit_i, phase) whose fuse has to cool: shares keep lower there and nothing starts."""

    # reading
    def settle(self, wants: list[bool]) -> int:
        """The allocation this comes to rest at for the inputs given: no ramps, timers, caps, debt.

        Grants are in `charger(i)["grant_mA"]` afterwards.
        """

    def site(self) -> dict[str, Any]: ...
    def circuit(self, circuit_i: int) -> dict[str, Any]: ...
    def meter(self, meter_i: int) -> dict[str, Any]: ...
    def charger(self, charger_i: int) -> dict[str, Any]: ...
    def reserves_mA(self) -> list[int]:
        """Per charger, for the gate: what it must be assumed able to draw on each of its phases."""

    def used_phases(self) -> list[tuple[int, ...]]:
        """Per charger, for the gate: the grid phases that its car uses and its reserve is on."""

    def backgrounds_high_mA(self) -> list[tuple[int, int, int]]:
        """Per circuit, for the gate: the highest background a raise must leave room for."""
