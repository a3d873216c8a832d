"""The names of all metrics, with type, words and labels; and the families of one scrape.

Names follow the conventions of Prometheus: prefix loadctl_, base units (seconds, amperes, watts,
ratios), _total for what only counts up. A name never changes its meaning. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

MAKERS = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
    "info": InfoMetricFamily,
}
PHASE_OF_CIRCUIT = ("site", "circuit", "phase")
CIRCUIT = ("site", "circuit")
CHARGER = ("site", "charger", "circuit")
METER = ("site", "meter")
PHASE_OF_METER = ("site", "meter", "phase")
BUS = ("site", "bus")


class Spec(NamedTuple):
    kind: str
    words: str
    labels: tuple[str, ...] = ("site",)


# Counters without their _total, infos without their _info: the library adds both.
SPECS: Mapping[str, Spec] = {
    "up": Spec("gauge", "1 while the scan publishes: all else is at most 3 periods old."),
    "image_age_seconds": Spec("gauge", "Age of the last scan that was published."),
    "site": Spec("info", "The site file and the version that reads it."),
    "mode": Spec("gauge", "1 for the mode in force.", ("site", "mode")),
    # guard
    "guard_up": Spec("gauge", "1 while a guard watches the scan."),
    "guard_takeovers": Spec("counter", "Times that the guard took the buses over."),
    "guard_restarts": Spec("counter", "Times that the guard started the scan again."),
    "guard_takeover_duration_seconds": Spec("gauge", "How long the last takeover took."),
    # scan
    "scan_period_seconds": Spec("gauge", "Period of the scan."),
    "scans": Spec("counter", "Completed scans since the scan was started."),
    "scans_missed": Spec("counter", "Cycles not complete at their next grid point."),
    "scan_periods_skipped": Spec("counter", "Further periods that missed cycles swallowed."),
    "scan_span_seconds": Spec(
        "histogram", "Time of each part of a scan; whole: all of it.", ("site", "span")
    ),
    "scan_span_worst_seconds": Spec("gauge", "Longest since the start.", ("site", "span")),
    "gate_drops": Spec("counter", "Frames that the second judge before the wire dropped."),
    "slow_replies": Spec("counter", "Replies slower than the plan counts for them."),
    "events": Spec("counter", "Events since the scan was started."),
    "real_time_setting_applied": Spec(
        "gauge", "1 where a real-time setting that was asked for is in force.", ("site", "setting")
    ),
    # circuits
    "circuit_limit_amperes": Spec("gauge", "Limit in force.", PHASE_OF_CIRCUIT),
    "circuit_rated_amperes": Spec("gauge", "Limit of the site file.", PHASE_OF_CIRCUIT),
    "circuit_load_amperes": Spec("gauge", "Current by its own meter, read well.", PHASE_OF_CIRCUIT),
    "circuit_background_amperes": Spec(
        "gauge",
        "Load that is not a charger: the peak that shares leave room for.",
        PHASE_OF_CIRCUIT,
    ),
    "circuit_headroom_amperes": Spec("gauge", "Limit - margin - background.", PHASE_OF_CIRCUIT),
    "circuit_granted_amperes": Spec("gauge", "Setpoints below, summed.", PHASE_OF_CIRCUIT),
    "circuit_may_carry_amperes": Spec(
        "gauge", "The most that can flow now, whatever cars and building do.", PHASE_OF_CIRCUIT
    ),
    "circuit_fuse_heat_ratio": Spec(
        "gauge", "Heat of the fuse; 1 trips it in the end.", PHASE_OF_CIRCUIT
    ),
    "circuit_fuse_cooling": Spec("gauge", "1 while the fuse has to cool.", PHASE_OF_CIRCUIT),
    "circuit_limit_watts": Spec("gauge", "Power limit in force.", CIRCUIT),
    "circuit_charger_limit_watts": Spec("gauge", "Power limit of its chargers.", CIRCUIT),
    "circuit_externally_limited": Spec("gauge", "1 while a limit from outside counts.", CIRCUIT),
    "circuit_alarm": Spec("gauge", "1: background above the declared one was seen.", CIRCUIT),
    # meters
    "meter_good": Spec("gauge", "1 while its values are read and believed.", METER),
    "meter_age_seconds": Spec("gauge", "Age of its last good value.", METER),
    "meter_current_amperes": Spec(
        "gauge", "Current; negative where power flows back. Absent unless good.", PHASE_OF_METER
    ),
    "meter_power_watts": Spec("gauge", "Power. Absent unless good.", PHASE_OF_METER),
    "meter_voltage_volts": Spec("gauge", "Voltage. Absent unless good.", PHASE_OF_METER),
    "meter_exchanges": Spec(
        "counter",
        "Exchanges on the bus by what became of them.",
        ("site", "meter", "bus", "result"),
    ),
    # chargers
    "charger_setpoint_amperes": Spec("gauge", "Current that it is told to allow.", CHARGER),
    "charger_draw_amperes": Spec(
        "gauge", "Current that it measures. Absent while it is not heard.", (*CHARGER, "phase")
    ),
    "charger_reserve_amperes": Spec("gauge", "What it must be assumed able to draw.", CHARGER),
    "charger_max_amperes": Spec("gauge", "Its maximum.", CHARGER),
    "charger_state": Spec("gauge", "1 for its IEC 61851 state.", (*CHARGER, "state")),
    "charger_rule": Spec("gauge", "1 for what holds it there.", (*CHARGER, "rule", "binding")),
    "charger_enabled": Spec("gauge", "0: given no current, by site file or tune.", CHARGER),
    "charger_armed": Spec("gauge", "1: its watchdog and fallback are set.", CHARGER),
    "charger_silent": Spec("gauge", "1 while it does not answer.", CHARGER),
    "charger_starved": Spec("gauge", "1 while its own watchdog is left to act.", CHARGER),
    "charger_waiting_seconds": Spec("gauge", "How long its car has waited for current.", CHARGER),
    "charger_session_charge_coulombs": Spec(
        "gauge", "Charge of this session over all phases; times the voltage: its energy.", CHARGER
    ),
    "charger_reboots": Spec("counter", "Times that it forgot what it was told.", CHARGER),
    "charger_exchanges": Spec(
        "counter",
        "Exchanges on the bus by what became of them.",
        ("site", "charger", "bus", "result"),
    ),
    # buses
    "bus_open": Spec("gauge", "1 while its port is open.", BUS),
    "bus_busy_seconds": Spec("gauge", "Time on the wire in the last scan.", BUS),
    "bus_busy_worst_seconds": Spec("gauge", "The most in any scan.", BUS),
    "bus_silent_chargers": Spec("gauge", "Chargers on it that do not answer.", BUS),
}


class Families:
    """The families of one scrape, in the order of SPECS; those without a sample are left out."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        self._family(name).add_metric(labels, value)

    def add_info(self, name: str, values: Mapping[str, str], *labels: str) -> None:
        self._family(name).add_metric(labels, dict(values))

    def add_histogram(
        self, name: str, buckets: Sequence[tuple[str, float]], total: float, *labels: str
    ) -> None:
        self._family(name).add_metric(labels, buckets, total)

    def _family(self, name: str) -> Any:
        if name not in self._found:
            spec = SPECS[name]
            make = MAKERS[spec.kind]
            self._found[name] = make(f"loadctl_{name}", spec.words, labels=spec.labels)
        return self._found[name]

    def __iter__(self) -> Iterator[Metric]:
        return (self._found[name] for name in SPECS if name in self._found)
