"""Simulated chargers: what writes do to their outlets, and what they do when they are ill.

Owns the registers of a charger. What becomes of a setpoint behind the terminals is the plant's
affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from hw.device_map import (
    FED_BY_ANY,
    FED_BY_KICK,
    FED_BY_READS,
    FED_BY_WRITES,
    DeviceMap,
    Fallback,
)
from hw.registers import Register, decode_raw
from hw.sim.device import ModbusDevice
from hw.sim.fault import Fault
from hw.sim.image import RefusalError, Registers
from hw.sim.judge import Judge
from hw.sim.outlet import BoxFacts, Outlet
from hw.sim.plant import Plant
from hw.sim.rtu import ILLEGAL_VALUE
from hw.wire import WRITE_FUNCTIONS, WRITE_ONE
from loadctl.units import NS_PER_S

CHARGER_ILLS = ("refuse", "ignore")


@dataclass(frozen=True, slots=True)
class _Connector:
    charger_i: int
    image: Registers


class ChargerDevice(ModbusDevice):
    """A charger with one or more outlets; `outlets`: connector number to charger row."""

    def __init__(
        self,
        device_map: DeviceMap,
        address: int,
        outlets: Mapping[int, int],
        turnaround_ns: int,
        plant: Plant,
        judge: Judge,
    ) -> None:
        connectors = [
            _Connector(i, Registers(device_map, (number - 1) * device_map.connector_stride))
            for number, i in sorted(outlets.items())
        ]
        rows, buses = plant.tables.chargers, plant.tables.buses
        names = {f"charger.{rows[i].name}" for i in outlets.values()}
        bus_name = f"bus.{buses[rows[connectors[0].charger_i].bus].name}"
        images = [c.image for c in connectors]
        super().__init__(device_map, address, turnaround_ns, images, frozenset({*names, bus_name}))
        self._ills: list[Fault] = []
        self._connectors = connectors
        self._plant = plant
        self._judge = judge
        assert device_map.setpoint is not None
        self._setpoint = device_map.setpoint
        self._raw_of_state = {
            letter: raw for raw, letter in sorted(device_map.states.items(), reverse=True)
        }
        for connector in connectors:
            self._put_setpoint(connector)

    def _put_setpoint(self, connector: _Connector) -> None:
        """The setpoint register shows what the box starts with."""
        register, setpoint_mA = self._setpoint.register, self._outlet(connector).setpoint_mA
        if not register.read_function:
            return
        if setpoint_mA == 0:
            connector.image.put(register, self._setpoint.pause_raw)
        else:
            connector.image.put_micro(register, setpoint_mA * 1000)

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        reply = super().reply(request, now_ns)
        if reply is not None:
            self._feed(FED_BY_ANY, self._connectors, now_ns)
            for connector in self._connectors:
                self._plant.publish(connector.charger_i)
        return reply

    def _outlet(self, connector: _Connector) -> Outlet:
        return self._plant.outlets[connector.charger_i]

    def _feed(self, how: str, connectors: list[_Connector], now_ns: int) -> None:
        if self.map.watchdog is not None and self.map.watchdog.fed_by == how:
            for connector in connectors:
                self._outlet(connector).feed(now_ns)

    def before_read(
        self, registers: Registers, function: int, address: int, count: int, now_ns: int
    ) -> None:
        connector = next(c for c in self._connectors if c.image is registers)
        outlet = self._outlet(connector)
        outlet.advance(now_ns)
        self._feed(FED_BY_READS, [connector], now_ns)
        if self.map.state is not None:
            registers.put(self.place(self.map.state), self._raw_of_state[outlet.state])
        shown_mA = outlet.shown_mA()
        for terminal, place in enumerate(self.map.current or ()):
            registers.put_micro(self.place(place), shown_mA[terminal] * 1000)
        if self.map.setpoint_in_force is not None:
            register = self.place(self.map.setpoint_in_force)
            registers.put_micro(register, outlet.in_force_mA * 1000)

    # faults of its own

    def fall_ill(self, fault: Fault, now_ns: int) -> None:
        if fault.kind in CHARGER_ILLS:
            self._ills.append(fault)
            self._set_deaf()
        if fault.kind == "reboot":
            self.is_off = True
            for connector in self._connectors:
                self._power_off(connector, fault, now_ns)

    def get_well(self, fault: Fault, now_ns: int) -> None:
        if fault in self._ills:
            self._ills.remove(fault)
            self._set_deaf()
        if fault.kind == "reboot":
            self.is_off = False
            for connector in self._connectors:
                self._outlet(connector).power_on(now_ns)
                self._plant.publish(connector.charger_i)

    def _set_deaf(self) -> None:
        deaf = {fault.who for fault in self._ills if fault.kind == "ignore"}
        for connector in self._connectors:
            name = f"charger.{self._plant.tables.chargers[connector.charger_i].name}"
            self._outlet(connector).is_deaf = name in deaf

    def _power_off(self, connector: _Connector, fault: Fault, now_ns: int) -> None:
        outlet, facts = self._outlet(connector), self._outlet(connector).facts
        outlet.power_off(
            _given(fault.setpoint_mA, facts.power_on_setpoint_mA),
            _given(fault.fallback_mA, facts.power_on_fallback_mA),
            _given(fault.watchdog_ns, facts.power_on_watchdog_ns),
            now_ns,
        )
        connector.image.reset()
        self._put_setpoint(connector)
        self._put_arming(connector)
        self._plant.publish(connector.charger_i)

    def _put_arming(self, connector: _Connector) -> None:
        """The registers of watchdog and fallback show what the box wakes with."""
        outlet, watchdog, fallback = self._outlet(connector), self.map.watchdog, self.map.fallback
        if watchdog is not None and watchdog.register is not None:
            register = watchdog.read_back or watchdog.register
            connector.image.put_micro(register, outlet.watchdog_ns // 1000)
        if fallback is not None and fallback.register is not None:
            register = fallback.read_back or fallback.register
            if outlet.fallback_mA == 0:
                connector.image.put(register, fallback.pause_raw)
            else:
                connector.image.put_micro(register, outlet.fallback_mA * 1000)

    # writes

    def setpoints_in(self, request: bytes) -> list[tuple[int, int]]:
        address = int.from_bytes(request[2:4], "big")
        if request[1] not in WRITE_FUNCTIONS:
            return []
        try:
            connector, parts = self._parts(
                address, request[4:6] if request[1] == WRITE_ONE else request[7:-2]
            )
            return [
                (connector.charger_i, _milli(self._checked(register, part)))
                for register, part in parts
                if register == self._setpoint.register
            ]
        except RefusalError:
            return []

    def write(self, address: int, data: bytes, now_ns: int) -> None:
        for fault in self._ills:
            if fault.kind == "refuse":
                raise RefusalError(fault.exception)
        connector, parts = self._parts(address, data)
        checked = [(register, part, self._checked(register, part)) for register, part in parts]
        for register, part, value in checked:
            connector.image.store(register, part)
            self._obey(connector, register, value, now_ns)

    def _parts(self, address: int, data: bytes) -> tuple[_Connector, list[tuple[Register, bytes]]]:
        for connector in self._connectors[:-1]:
            try:
                return connector, connector.image.split(address, data)
            except RefusalError:
                continue
        last = self._connectors[-1]
        return last, last.image.split(address, data)

    def _checked(self, register: Register, data: bytes) -> Fraction:
        """The value in the register's unit; a value outside the box's table is refused."""
        raw = decode_raw(register, data)
        if raw != raw or raw in (float("inf"), float("-inf")):
            raise RefusalError(ILLEGAL_VALUE)
        value = Fraction(raw) * register.scale
        setpoint, fallback = self._setpoint, self.map.fallback
        if register == setpoint.register:
            if raw == setpoint.pause_raw:
                return Fraction(0)
            is_good = setpoint.min_mA <= _milli(value) <= setpoint.max_mA
        elif fallback is not None and register == fallback.register:
            if raw == fallback.pause_raw:
                return Fraction(0)
            is_good = fallback.min_mA <= _milli(value) <= fallback.max_mA
        else:
            bounds = register.plausible
            is_good = bounds is None or bounds[0] <= value <= bounds[1]
        if not is_good:
            raise RefusalError(ILLEGAL_VALUE)
        return value

    def _obey(
        self, connector: _Connector, register: Register, value: Fraction, now_ns: int
    ) -> None:
        outlet, watchdog, fallback = self._outlet(connector), self.map.watchdog, self.map.fallback
        ignores_all = outlet.is_deaf and any(f.form == "all" for f in self._ills)
        if register == self._setpoint.register and outlet.is_deaf:
            outlet.write_setpoint(_milli(value), now_ns)
            self._feed(FED_BY_WRITES, [connector], now_ns)
            self._judge.not_obeyed(connector.charger_i)
        elif register == self._setpoint.register:
            outlet.advance(now_ns)
            before_mA, written_mA = outlet.in_force_mA, outlet.setpoint_mA
            told_mA = outlet.told_mA
            setpoint_mA = _milli(value)
            outlet.write_setpoint(setpoint_mA, now_ns)
            self._feed(FED_BY_WRITES, [connector], now_ns)
            self._feed(FED_BY_ANY, [connector], now_ns)
            self._plant.publish(connector.charger_i)
            is_repeat = told_mA != written_mA and setpoint_mA <= told_mA
            self._judge.setpoint(
                connector.charger_i, before_mA, written_mA, setpoint_mA, now_ns, is_repeat
            )
        elif ignores_all:
            return
        elif watchdog is not None and register == watchdog.register:
            outlet.write_watchdog(int(value * NS_PER_S), now_ns)
        elif fallback is not None and register == fallback.register:
            outlet.write_fallback(_milli(value), now_ns)
        elif (
            watchdog is not None
            and register == watchdog.kick
            and value == watchdog.kick_raw * register.scale
        ):
            self._feed(FED_BY_KICK, [connector], now_ns)


def _given(value: int | None, usual: int) -> int:
    return usual if value is None else value


def _milli(value: Fraction) -> int:
    """To the nearest thousandth: a float register holds 13.4 A only nearly."""
    return int((2000 * value + 1) // 2)


def box_facts(device_map: DeviceMap, rated_mA: int, power_on_mA: int) -> BoxFacts:
    """How a box of this model stands when it is switched on, as the factory left it."""
    assert device_map.setpoint is not None
    return BoxFacts(
        rated_mA=rated_mA,
        hold_ns=device_map.setpoint.hold_ns,
        power_on_setpoint_mA=power_on_mA,
        power_on_fallback_mA=_factory_fallback_mA(device_map.fallback),
        power_on_watchdog_ns=_factory_watchdog_ns(device_map),
        lag_ns=device_map.lag_ns,
    )


def _factory_fallback_mA(fallback: Fallback | None) -> int:
    if fallback is None:
        return 0
    if fallback.fixed_mA is not None:
        return fallback.fixed_mA
    register = fallback.register
    if register is None or register.factory_raw in (None, fallback.pause_raw):
        return 0
    return _milli(Fraction(register.factory_raw or 0) * register.scale)


def _factory_watchdog_ns(device_map: DeviceMap) -> int:
    watchdog = device_map.watchdog
    if watchdog is None:
        return 0
    if watchdog.register is None or watchdog.register.factory_raw is None:
        return watchdog.timeout_ns
    return int(Fraction(watchdog.register.factory_raw) * watchdog.register.scale * NS_PER_S)
