"""The rows that a site file becomes: every key, rounding, order, floors, identity."""

from pathlib import Path

from loadctl import tables
from loadctl.tables import BusRow, ChargerRow, CircuitRow, MeterRow, SiteRow
from tests.support.site_files import GARAGE, changed, in_table, site_of, write_map

EVERY_KEY = """\
[site]
name = "Harbour garage"
period_ms = 250
missed_limit = 4
voltage_V = 231.5

[bus.garage]
port = "socket://10.0.0.7:4001"
baud = 9600
frame = "8N1"
turnaround_ms = 20.5
timeout_ms = 80
echo = true
rs485_mode = true

[circuit.sub]
parent = "main"
limit_A = [63.0009, 50, 40]
limit_kW = 30.5
fuse = { type = "B", rated_A = 63.5 }
unbalance_A = 20
mode = "dynamic"
meter = "grid"
background_A = [1, 2.0001, 3]
margin_A = 0.0001
counts_export = true

[circuit.main]
limit_A = 100
mode = "static"
background_A = 0

[meter.grid]
bus = "garage"
model = "reference-meter"
address = 1

[charger.bay1]
bus = "garage"
model = "reference-charger"
address = 2
connector = 1
circuit = "sub"
phases = ["L3", "L1"]
min_A = 6.5
max_A = 16.1
failsafe_A = 7
rated_A = 20
priority = -3
weight = 5
never_pause = true
unprotected = "accept"
unmeasured = "accept"
isolated = true
"""


def test_compile_every_key_becomes_its_field(tmp_path: Path) -> None:
    rows = site_of(tmp_path, EVERY_KEY).tables
    assert rows.site == SiteRow("Harbour garage", 250_000_000, 4, 231_500)
    assert rows.buses == (
        BusRow(
            name="garage",
            port="socket://10.0.0.7:4001",
            baud=9600,
            frame="8N1",
            turnaround_ns=20_500_000,
            timeout_ns=80_000_000,
            has_echo=True,
            uses_rs485_mode=True,
        ),
    )
    assert rows.meters == (MeterRow("grid", 0, "reference-meter", 1, 0),)
    assert rows.circuits[1] == CircuitRow(
        name="sub",
        parent=0,
        limit_mA=(63_000, 50_000, 40_000),
        limit_W=30_500,
        unbalance_mA=20_000,
        margin_mA=1,
        background_mA=(1_000, 2_001, 3_000),
        is_dynamic=True,
        meter=0,
        counts_export=True,
        fuse_type="B",
        fuse_rated_mA=63_500,
    )
    assert rows.chargers == (
        ChargerRow(
            name="bay1",
            bus=0,
            model="reference-charger",
            address=2,
            connector=1,
            circuit=1,
            phases=(2, 0),
            min_mA=6_500,
            max_mA=16_100,
            step_mA=100,
            failsafe_mA=7_000,
            fallback_mA=7_000,
            rated_mA=20_000,
            priority=-3,
            weight=5,
            never_pause=True,
            is_unprotected=True,
            is_unmeasured_accepted=True,
            is_isolated=True,
            has_measured_current=True,
            hold_ns=500_000_000,
            min_change_ns=0,
            watchdog_ns=30_000_000_000,
            watchdog_fed_by="writes",
        ),
    )


def test_compile_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    rows = site_of(tmp_path).tables
    assert rows.site == SiteRow("Test garage", 500_000_000, 3, 230_000)
    assert rows.circuits[0].limit_W is None
    assert rows.circuits[0].unbalance_mA is None
    assert rows.circuits[0].fuse_type is None
    assert rows.circuits[1].meter == -1
    assert rows.chargers[0].priority == 0
    assert rows.chargers[0].weight == 1
    second_ns = 1_000_000_000
    assert rows.tuning == tables.Tuning(
        peak_hold_ns=10 * second_ns,
        raise_delay_ns=15 * second_ns,
        ramp_mA_per_s=2_000,
        deadband_mA=500,
        trim_ns=60 * second_ns,
        raise_every_ns=5 * second_ns,
        meter_stale_ns=3 * second_ns,
        soft_start_ns=40 * second_ns,
        unused_ns=60 * second_ns,
        wake_ns=120 * second_ns,
        retry_ns=1_800 * second_ns,
        car_follow_ns=6 * second_ns,
        min_on_ns=300 * second_ns,
        min_off_ns=300 * second_ns,
        admit_margin_mA=1_000,
        rotate_ns=1_800 * second_ns,
        healthy_scans=10,
        stagger_ns=10 * second_ns,
    )


def test_compile_circuits_stand_after_their_parents_else_in_file_order(tmp_path: Path) -> None:
    def circuit(name: str, parent: str) -> str:
        head = f'[circuit.{name}]\nparent = "{parent}"\n'
        return head + 'limit_A = 16\nmode = "static"\nbackground_A = 0\n'

    text = circuit("leaf", "b") + circuit("b", "main") + GARAGE + circuit("a", "main")
    rows = site_of(tmp_path, text).tables
    assert [row.name for row in rows.circuits] == ["main", "b", "leaf", "garage", "a"]
    assert [row.parent for row in rows.circuits] == [-1, 0, 1, 0, 0]


def test_compile_value_below_its_floor_counts_as_the_floor_and_is_told(tmp_path: Path) -> None:
    floor = "its floor on this site: status age 2 s + meter lag 0 s + follow time 8.5 s"
    default = site_of(tmp_path, GARAGE + "[tuning]\ncar_follow_s = 8\n")
    assert default.tables.tuning.peak_hold_ns == 10_500_000_000
    assert default.warnings == (f"tuning.peak_hold_s: 10 s counts as 10.5 s, {floor}",)
    written = site_of(tmp_path, GARAGE + "[tuning]\ncar_follow_s = 8\npeak_hold_s = 3\n")
    assert written.tables.tuning.peak_hold_ns == 10_500_000_000
    assert written.warnings == (f"tuning.peak_hold_s: 3 s counts as 10.5 s, {floor}",)


def test_compile_floor_follows_the_slowest_meter_and_box(tmp_path: Path) -> None:
    write_map(tmp_path, "box", ('hold_s = "0.5"', "hold_s = 4"))
    text = in_table("charger.bay1", ("reference-charger", "box"))
    assert site_of(tmp_path, text).tables.tuning.peak_hold_ns == 12_000_000_000
    text = changed(('"reference-meter"', '"eastron-sdm630"'), text=text)
    assert site_of(tmp_path, text).tables.tuning.peak_hold_ns == 13_000_000_000


def test_compile_pause_that_a_box_wants_is_a_floor_of_min_off(tmp_path: Path) -> None:
    write_map(tmp_path, "box", ("min_change_s = 0", "min_change_s = 0\nmin_pause_s = 400"))
    text = in_table("charger.bay1", ("reference-charger", "box"))
    site = site_of(tmp_path, text)
    assert site.tables.chargers[0].min_pause_ns == 400_000_000_000
    assert site.tables.tuning.min_off_ns == 400_000_000_000
    assert site.warnings == (
        "tuning.min_off_s: 300 s counts as 400 s, its floor on this site: the pause that a"
        " charger's map asks for",
    )


def test_compile_value_at_its_floor_is_taken(tmp_path: Path) -> None:
    site = site_of(tmp_path, GARAGE + "[tuning]\npeak_hold_s = 8.5\nmeter_stale_s = 1\n")
    assert site.tables.tuning.peak_hold_ns == 8_500_000_000
    assert site.tables.tuning.meter_stale_ns == 1_000_000_000
    assert site.warnings == ()


def test_compile_long_period_lifts_the_stale_time_of_meters(tmp_path: Path) -> None:
    text = changed(("[site]\n", "[site]\nperiod_ms = 2000\n"))
    site = site_of(tmp_path, text)
    assert site.tables.tuning.meter_stale_ns == 4_000_000_000
    assert site.warnings == (
        "tuning.meter_stale_s: 3 s counts as 4 s, its floor on this site: 2 periods",
    )


def test_compile_rating_of_the_map_counts_where_the_file_says_none(tmp_path: Path) -> None:
    rows = site_of(tmp_path, changed(("rated_A = 16\n", ""))).tables
    assert rows.chargers[0].rated_mA == 80_000


def fallback_of(tmp_path: Path, *changes: tuple[str, str]) -> int:
    text = in_table("charger.bay1", ("reference-charger", "box"), *changes)
    return site_of(tmp_path, text).tables.chargers[0].fallback_mA


def test_compile_box_without_watchdog_falls_to_nothing_below_its_rating(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="watchdog fallback")
    text = in_table("charger.bay1", ("reference-charger", "box"))
    charger = site_of(tmp_path, text).tables.chargers[0]
    assert (charger.fallback_mA, charger.watchdog_ns, charger.watchdog_fed_by) == (
        16_000,
        None,
        None,
    )


def test_compile_box_that_says_no_fallback_counts_its_rating(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="fallback")
    assert fallback_of(tmp_path) == 16_000


def test_compile_fixed_fallback_is_taken_as_it_is(tmp_path: Path) -> None:
    old = 'register = "fallback_A"\nmin_A = 6\nmax_A = 80'
    write_map(tmp_path, "box", (old, "fixed_A = 8"))
    assert fallback_of(tmp_path) == 8_000


def test_compile_fallback_is_the_nearest_that_its_register_takes(tmp_path: Path) -> None:
    old = 'register = "fallback_A"\nmin_A = 6\nmax_A = 80'
    write_map(tmp_path, "box", (old, 'register = "fallback_A"\nmin_A = 8\nmax_A = 10'))
    assert fallback_of(tmp_path) == 8_000
    assert fallback_of(tmp_path, ("failsafe_A = 6", "failsafe_A = 0")) == 0
    assert fallback_of(tmp_path, ("failsafe_A = 6", "failsafe_A = 9")) == 9_000
    assert fallback_of(tmp_path, ("failsafe_A = 6", "failsafe_A = 12")) == 10_000


def test_compile_hash_follows_the_file_and_the_maps_in_use(tmp_path: Path) -> None:
    maps = write_map(tmp_path, "box")
    first = site_of(tmp_path, GARAGE).tables.site_hash
    assert site_of(tmp_path, GARAGE).tables.site_hash == first
    assert site_of(tmp_path, GARAGE + "# note\n").tables.site_hash != first
    write_map(tmp_path, "box", ('hold_s = "0.5"', "hold_s = 1"))
    assert site_of(tmp_path, GARAGE).tables.site_hash == first
    text = in_table("charger.bay1", ("reference-charger", "box"))
    with_box = site_of(tmp_path, text).tables.site_hash
    (maps / "box.toml").write_text(
        (maps / "box.toml").read_text().replace("hold_s = 1", "hold_s = 2")
    )
    assert site_of(tmp_path, text).tables.site_hash != with_box


def test_compile_tables_go_to_another_process_and_back_unchanged(tmp_path: Path) -> None:
    rows = site_of(tmp_path, EVERY_KEY).tables
    assert tables.load(tables.dump(rows)) == rows


def test_compile_background_of_a_child_counts_in_its_parent(tmp_path: Path) -> None:
    text = in_table("circuit.garage", ("background_A = 0", "background_A = [0, 45, 0]"))
    site = site_of(tmp_path, text)
    assert site.tables.circuits[0].background_mA == (40_000, 45_000, 40_000)
    assert site.warnings[0] == (
        "circuit.main.background_A: counts as [40.0, 45.0, 40.0] A: circuit garage behind it"
        " declares [0.0, 45.0, 0.0] A"
    )
