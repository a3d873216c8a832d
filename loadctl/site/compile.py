"""From the tables of a valid site file to the plain rows that everything else runs on.

The one place where amps and seconds of a site become mA and ns: what is allowed rounds down,
what is a load rounds up.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hw.devices import DeviceMap
from loadctl.site.enwg14a import guaranteed_W
from loadctl.site.model import (
    BusTable,
    ChargerTable,
    CircuitTable,
    ExternalTable,
    MeterTable,
    SiteTable,
    TuningTable,
)
from loadctl.tables import (
    BusRow,
    ChargerRow,
    CircuitRow,
    MeterRow,
    Phases,
    SiteRow,
    Tables,
    Tuning,
    hash_of,
)
from loadctl.tuning import Floor
from loadctl.units import (
    PHASE_NAMES,
    A_list_from_mA,
    mA_from_A_ceil,
    mA_from_A_floor,
    ns_from_ms,
    ns_from_s,
)

thousandths_floor = mA_from_A_floor  # the same step from V to mV and from kW to W


def compile_site(
    site: SiteTable,
    tuning: TuningTable,
    buses: dict[str, BusTable],
    circuits: dict[str, CircuitTable],
    meters: dict[str, MeterTable],
    chargers: dict[str, ChargerTable],
    raw_maps: dict[str, dict[str, Any]],
    maps: dict[str, DeviceMap],
    text: str,
) -> Tables:
    """The rows of a site that keeps every rule of `rules.py`."""
    period_ns = ns_from_ms(site.period_ms)
    bus_order, meter_order = list(buses), list(meters)
    circuit_order = parents_first(circuits)
    charger_rows = tuple(
        charger_row(name, row, bus_order.index(row.bus), circuit_order.index(row.circuit), maps)
        for name, row in chargers.items()
    )
    meter_rows = tuple(
        MeterRow(name, bus_order.index(row.bus), row.model, row.address, maps[row.model].lag_ns)
        for name, row in meters.items()
    )
    voltage_mV = thousandths_floor(site.voltage_V)
    circuit_rows = [
        circuit_row(name, circuits[name], circuit_order, meter_order) for name in circuit_order
    ]
    for circuit_i, name in enumerate(circuit_order):
        if circuits[name].enwg14a:
            power_W = guaranteed_W(circuit_i, circuit_rows, charger_rows, voltage_mV)
            circuit_rows[circuit_i] = dataclasses.replace(
                circuit_rows[circuit_i], guaranteed_W=power_W
            )
    used_maps = {model: raw_maps[model] for model in sorted(maps)}
    return Tables(
        site=SiteRow(
            name=site.name,
            period_ns=period_ns,
            missed_limit=site.missed_limit,
            voltage_mV=voltage_mV,
        ),
        buses=tuple(bus_row(name, row) for name, row in buses.items()),
        circuits=tuple(circuit_rows),
        meters=meter_rows,
        chargers=charger_rows,
        tuning=tuning_row_of(tuning),
        maps=used_maps,
        site_hash=hash_of(text, json.dumps(used_maps, sort_keys=True)),
    )


def lifted(tables: Tables, floor: Floor) -> Tables:
    """The same site with this value of [tuning] at its floor."""
    tuning = dataclasses.replace(tables.tuning, **{floor.field: floor.least_ns})
    return dataclasses.replace(tables, tuning=tuning)


def with_backgrounds_of_children(tables: Tables) -> tuple[Tables, list[str]]:
    """What is declared behind a circuit is behind its parent too: the higher one counts."""
    rows, warnings = list(tables.circuits), []
    for circuit in reversed(tables.circuits):
        if circuit.parent < 0:
            continue
        child = rows[tables.circuits.index(circuit)]
        parent = rows[circuit.parent]
        higher_mA = _phases([*map(max, parent.background_mA, child.background_mA)])
        if higher_mA != parent.background_mA:
            warnings.append(
                f"circuit.{parent.name}.background_A: counts as {A_list_from_mA(higher_mA)} A:"
                f" circuit {child.name} behind it declares {A_list_from_mA(child.background_mA)} A"
            )
            rows[circuit.parent] = dataclasses.replace(parent, background_mA=higher_mA)
    return dataclasses.replace(tables, circuits=tuple(rows)), warnings


def parents_first(circuits: dict[str, CircuitTable]) -> list[str]:
    """File order, but every parent before its children."""
    order: list[str] = []
    waiting = list(circuits)
    while waiting:
        ready = [name for name in waiting if circuits[name].parent in {None, *order}]
        order.append(ready[0])
        waiting.remove(ready[0])
    return order


def bus_row(name: str, bus: BusTable) -> BusRow:
    return BusRow(
        name=name,
        port=bus.port,
        baud=bus.baud,
        frame=bus.frame,
        turnaround_ns=None if bus.turnaround_ms is None else ns_from_ms(bus.turnaround_ms),
        timeout_ns=None if bus.timeout_ms is None else ns_from_ms(bus.timeout_ms),
        has_echo=bus.echo,
        uses_rs485_mode=bus.rs485_mode,
    )


def circuit_row(
    name: str, circuit: CircuitTable, circuit_order: list[str], meter_order: list[str]
) -> CircuitRow:
    fuse, external = circuit.fuse, circuit.external or ExternalTable()
    limit_W = None if circuit.limit_kW is None else thousandths_floor(circuit.limit_kW)
    unbalance_mA = None if circuit.unbalance_A is None else mA_from_A_floor(circuit.unbalance_A)
    return CircuitRow(
        name=name,
        parent=-1 if circuit.parent is None else circuit_order.index(circuit.parent),
        limit_mA=_phases([mA_from_A_floor(limit_A) for limit_A in circuit.limit_A]),
        limit_W=limit_W,
        unbalance_mA=unbalance_mA,
        margin_mA=mA_from_A_ceil(circuit.margin_A),
        background_mA=_phases([mA_from_A_ceil(load_A) for load_A in circuit.background_A]),
        is_dynamic=circuit.mode == "dynamic",
        meter=-1 if circuit.meter is None else meter_order.index(circuit.meter),
        counts_export=circuit.counts_export,
        fuse_type=None if fuse is None else fuse.type,
        fuse_rated_mA=0 if fuse is None else mA_from_A_floor(fuse.rated_A),
        takes_external=circuit.external is not None,
        loss_mA=None
        if external.at_loss_A is None
        else _phases([mA_from_A_floor(loss_A) for loss_A in external.at_loss_A]),
        loss_W=None if external.at_loss_kW is None else thousandths_floor(external.at_loss_kW),
        loss_after_ns=None if external.timeout_s is None else ns_from_s(external.timeout_s),
    )


def charger_row(
    name: str, charger: ChargerTable, bus_i: int, circuit_i: int, maps: dict[str, DeviceMap]
) -> ChargerRow:
    device_map = maps[charger.model]
    setpoint, watchdog = device_map.setpoint, device_map.watchdog
    assert setpoint is not None, "the map of a charger has a setpoint"
    rated_mA = device_map.rated_mA if charger.rated_A is None else mA_from_A_floor(charger.rated_A)
    assert rated_mA is not None, "rules.py asks for a rating"
    failsafe_mA = mA_from_A_floor(charger.failsafe_A)
    return ChargerRow(
        name=name,
        bus=bus_i,
        model=charger.model,
        address=charger.address,
        connector=charger.connector,
        circuit=circuit_i,
        phases=tuple(PHASE_NAMES.index(phase_name) for phase_name in charger.phases),
        min_mA=mA_from_A_ceil(charger.min_A),
        max_mA=mA_from_A_floor(charger.max_A),
        step_mA=setpoint.step_mA,
        failsafe_mA=failsafe_mA,
        fallback_mA=fallback_mA(device_map, failsafe_mA, rated_mA),
        rated_mA=rated_mA,
        priority=charger.priority,
        weight=charger.weight,
        never_pause=charger.never_pause,
        is_unprotected=charger.unprotected == "accept",
        is_unmeasured_accepted=charger.unmeasured == "accept",
        is_isolated=charger.isolated,
        has_measured_current=device_map.has_measured_current,
        hold_ns=setpoint.hold_ns,
        min_change_ns=setpoint.min_change_ns,
        watchdog_ns=None if watchdog is None else watchdog.timeout_ns,
        watchdog_fed_by=None if watchdog is None else watchdog.fed_by,
        min_pause_ns=setpoint.min_pause_ns,
        is_enabled=charger.enable,
        draw_lag_ns=device_map.lag_ns,
    )


def fallback_mA(device_map: DeviceMap, failsafe_mA: int, rated_mA: int) -> int:
    """What the box falls to by itself: the failsafe current where its register takes that, else the
    nearest that it takes; its rating where nothing is known or nothing would make it fall."""
    fallback = device_map.fallback
    if device_map.watchdog is None or fallback is None:
        return rated_mA
    if fallback.register is None:
        return rated_mA if fallback.fixed_mA is None else fallback.fixed_mA
    if failsafe_mA == 0:
        return 0
    return min(max(failsafe_mA, fallback.min_mA), fallback.max_mA)


def tuning_row_of(tuning: TuningTable) -> Tuning:
    return Tuning(
        peak_hold_ns=ns_from_s(tuning.peak_hold_s),
        raise_delay_ns=ns_from_s(tuning.raise_delay_s),
        ramp_mA_per_s=mA_from_A_floor(tuning.ramp_A_per_s),
        deadband_mA=mA_from_A_floor(tuning.deadband_A),
        trim_ns=ns_from_s(tuning.trim_s),
        raise_every_ns=ns_from_s(tuning.raise_every_s),
        meter_stale_ns=ns_from_s(tuning.meter_stale_s),
        soft_start_ns=ns_from_s(tuning.soft_start_s),
        unused_ns=ns_from_s(tuning.unused_s),
        wake_ns=ns_from_s(tuning.wake_s),
        retry_ns=ns_from_s(tuning.retry_s),
        car_follow_ns=ns_from_s(tuning.car_follow_s),
        min_on_ns=ns_from_s(tuning.min_on_s),
        min_off_ns=ns_from_s(tuning.min_off_s),
        admit_margin_mA=mA_from_A_ceil(tuning.admit_margin_A),
        rotate_ns=ns_from_s(tuning.rotate_s),
        healthy_scans=tuning.healthy_scans,
        stagger_ns=ns_from_s(tuning.stagger_s),
    )


def _phases(values: list[int]) -> Phases:
    return values[0], values[1], values[2]
