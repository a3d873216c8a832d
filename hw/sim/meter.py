"""Simulated meters: what they show of the plant, and what they show when they are ill.

Owns the values in a meter's registers. Voltages flicker as on any mains, so that a meter that
answers the same for ever can be told from one that measures.
"""

from __future__ import annotations

from hw.device_map import DeviceMap
from hw.registers import Raw, Register, type_range
from hw.sim.device import ModbusDevice
from hw.sim.fault import Fault
from hw.sim.image import Registers
from hw.sim.judge import Judge
from hw.sim.plant import Plant, Sample
from hw.sim.scenario import PPM, noise_ppm

FLICKER_mV = 400
FLICKER_EVERY_ns = 200_000_000
IMPLAUSIBLE = ("nan", "all_ones", "phase_missing", "voltage")
METER_ILLS = ("frozen", *IMPLAUSIBLE)


class MeterDevice(ModbusDevice):
    """A meter on the circuits that the site file gives it."""

    def __init__(
        self,
        device_map: DeviceMap,
        meter_i: int,
        turnaround_ns: int,
        plant: Plant,
        judge: Judge,
        seed: int,
    ) -> None:
        row = plant.tables.meters[meter_i]
        names = frozenset((f"bus.{plant.tables.buses[row.bus].name}", f"meter.{row.name}"))
        super().__init__(device_map, row.address, turnaround_ns, [Registers(device_map)], names)
        self._meter_i = meter_i
        self._seed = seed * 1_000 + meter_i
        self._ills: list[Fault] = []
        self._circuits = [
            i for i, circuit in enumerate(plant.tables.circuits) if circuit.meter == meter_i
        ]
        self._plant = plant
        self._judge = judge
        self._shown: Sample | None = None
        self._measured_at_ns = 0
        self._is_current_asked = False

    def fall_ill(self, fault: Fault, now_ns: int) -> None:
        if fault.kind in METER_ILLS:
            if self._shown is None:
                self._measure(now_ns)
            self._ills.append(fault)

    def get_well(self, fault: Fault, now_ns: int) -> None:
        if fault in self._ills:
            self._ills.remove(fault)
            self.images[0].reset()

    def _is_ill(self, *kinds: str) -> bool:
        return any(fault.kind in kinds for fault in self._ills)

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        self._is_current_asked = False
        reply = super().reply(request, now_ns)
        if self._is_current_asked:
            self._plant.board.slots[self._plant.board.meter(self._meter_i)] += 1
        return reply

    def arrives(self, now_ns: int) -> None:
        if self._is_current_asked and self._shown is not None:
            self._plant.board.slots[self._plant.board.meter(self._meter_i) + 1] += 1
            if not self._is_ill(*IMPLAUSIBLE):
                self._judge.met(self._meter_i, self._shown, now_ns)

    def before_read(
        self, registers: Registers, function: int, address: int, count: int, now_ns: int
    ) -> None:
        if self.map.current is None:
            return
        first = self.place(self.map.current[0])
        self._is_current_asked = registers.covers(function, address, count, first)
        if not self._is_ill("frozen"):
            self._measure(now_ns)
        self._show(registers)
        for fault in self._ills:
            self._distort(registers, fault)

    def _measure(self, now_ns: int) -> None:
        self._measured_at_ns = now_ns
        if self._circuits:
            self._shown = self._plant.sample_for(self._meter_i, now_ns)

    def _show(self, registers: Registers) -> None:
        """Put what was measured last."""
        voltage_mV = self._plant.tables.site.voltage_mV
        for phase, place in enumerate(self.map.voltage or ()):
            flickers_mV = flicker_mV(self._seed, phase, self._measured_at_ns)
            registers.put_micro(self.place(place), (voltage_mV + flickers_mV) * 1000)
        if self._shown is None:
            return
        load_mA = self._shown.load_mA[self._circuits[0]]
        for phase, place in enumerate(self.map.current or ()):
            registers.put_micro(self.place(place), abs(load_mA[phase]) * 1000)
        for phase, place in enumerate(self.map.power or ()):
            registers.put_micro(self.place(place), load_mA[phase] * voltage_mV)

    def _distort(self, registers: Registers, fault: Fault) -> None:
        """Put what cannot be true over what was measured."""
        currents, voltages = self.map.current or (), self.map.voltage or ()
        if fault.kind == "nan":
            for place in (*currents, *voltages):
                register = self.place(place)
                registers.put(register, no_value(register))
        elif fault.kind == "all_ones":
            registers.fill_ones()
        elif fault.kind == "phase_missing":
            for places in (currents, voltages, self.map.power or ()):
                if places:
                    registers.put_micro(self.place(places[fault.phase or 0]), 0)
        elif fault.kind == "voltage":
            for phase, place in enumerate(voltages):
                if fault.phase in (None, phase):
                    registers.put_micro(self.place(place), fault.voltage_mV * 1000)


def no_value(register: Register) -> Raw:
    """What a device of this type sends where it has no value."""
    if register.is_float:
        return float("nan")
    low, high = type_range(register.type)
    return high if register.type[0] == "u" else low


def flicker_mV(seed: int, phase: int, now_ns: int) -> int:
    """How far the mains is from its nominal voltage: within 0.4 V, anew every 200 ms."""
    return noise_ppm(seed, now_ns // FLICKER_EVERY_ns, phase) * 2 * FLICKER_mV // PPM - FLICKER_mV
