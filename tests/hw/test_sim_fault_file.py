"""Files of faults: what each line becomes, and the words for what is wrong."""

from pathlib import Path

import pytest

from hw.sim.fault import BOUNDS, KINDS, Fault
from hw.sim.fault_file import EVERY_KIND, NUMBERS, keys_of, load_faults
from loadctl.errors import ConfigError
from loadctl.units import NS_PER_MS as MS
from loadctl.units import NS_PER_S as S
from tests.support.sim_sites import metered_site

TABLES = metered_site(2)
README = Path(__file__).resolve().parents[2] / "hw" / "sim" / "README.md"


def read(tmp_path: Path, text: str) -> tuple[Fault, ...]:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    return load_faults(path, TABLES)


def refused(tmp_path: Path, line: str) -> list[str]:
    """What is said of one fault that is well but for this line."""
    rows = {"kind": '"silence"', "who": '"meter.grid"', "at_s": "1"}
    key, value = line.split(" = ")
    rows[key] = value
    text = "\n".join(f"{name} = {raw}" for name, raw in rows.items() if raw != "-")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[[fault]]\n{text}\n")
    return [said.removeprefix(f"{tmp_path}/faults.toml: fault[1].") for said in caught.value.lines]


def test_every_key_becomes_its_field(tmp_path: Path) -> None:
    text = """
    [[fault]]
    kind = "late"
    who = "bus.one"
    at_s = 1.5
    for_s = 0.25
    percent = 30
    late_s = 0.07
    [[fault]]
    kind = "reboot"
    who = "charger.bay2"
    at_s = 0
    setpoint_A = 13.5
    fallback_A = 6
    watchdog_s = 20
    [[fault]]
    kind = "voltage"
    who = "meter.grid"
    at_s = 2
    phase = "L3"
    voltage_V = 80
    [[fault]]
    kind = "foreign"
    who = "meter.grid"
    at_s = 3
    form = "count"
    [[fault]]
    kind = "refuse"
    who = "charger.bay1"
    at_s = 4
    exception = 6
    [[fault]]
    kind = "babble"
    who = "bus.one"
    at_s = 5
    every_s = 0.1
    """
    assert read(tmp_path, text) == (
        Fault("late", "bus.one", 250 * MS, 1_500 * MS, share_percent=30, late_ns=70 * MS),
        Fault("reboot", "charger.bay2", setpoint_mA=13_500, fallback_mA=6_000, watchdog_ns=20 * S),
        Fault("voltage", "meter.grid", at_ns=2 * S, phase=2, voltage_mV=80_000),
        Fault("foreign", "meter.grid", at_ns=3 * S, form="count"),
        Fault("refuse", "charger.bay1", at_ns=4 * S, exception=6),
        Fault("babble", "bus.one", at_ns=5 * S, every_ns=100 * MS),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('kind = "sillence"', 'kind: "sillence" is not known here; the nearest is silence'),
        ("kind = 3", "kind: 3 is not known here; known: " + ", ".join(KINDS)),
        ('who = "meter.gird"', 'who: "meter.gird" is not known here; the nearest is meter.grid'),
        ("who = -", "who: missing; one of bus.one, meter.grid, charger.bay1, charger.bay2"),
        ("at_s = -", "at_s: missing; seconds from the start"),
        ("at_s = -1", "at_s: -1 is outside 0 to 604800"),
        ("at_s = nan", "at_s: NaN is outside 0 to 604800"),
        ("for_s = true", "for_s: True is no number"),
        ("percent = 101", "percent: 101 is outside 1 to 100"),
        ("percent = 0", "percent: 0 is outside 1 to 100"),
        ('form = "dumb"', 'form: "dumb" is not known here; known: deaf, mute'),
        ("percnt = 5", "percnt: no such key for silence; the nearest is percent"),
        ("late_s = 1", "late_s: no such key for silence; the nearest is at_s"),
        ('kind = "reboot"', 'who: "meter.grid" cannot have reboot; only a charger can'),
    ],
)
def test_what_is_wrong_is_said_with_place_value_and_bound(
    tmp_path: Path, line: str, said: str
) -> None:
    assert refused(tmp_path, line) == [said]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = '[[fault]]\nkind = "x"\n[[fault]]\nkind = "crc"\nwho = "bus.two"\nat_s = 0\n[faults]\n'
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    path = tmp_path / "faults.toml"
    assert [line.split(";")[0] for line in caught.value.lines] == [
        f"{path}: faults: no such key",
        f'{path}: fault[1].kind: "x" is not known here',
        f'{path}: fault[2].who: "bus.two" is not known here',
    ]


def test_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^.*/none\.toml: No such file or directory$"):
        load_faults(tmp_path / "none.toml", TABLES)
    with pytest.raises(ConfigError, match=r"fault: write each one as \[\[fault\]\]$"):
        read(tmp_path, "fault = 3")


def test_every_kind_stands_in_the_readme_with_its_keys() -> None:
    text = README.read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    told = {}
    for row in rows:
        for kind in row[1].replace("`", "").split(","):
            told[kind.strip()] = {key.strip() for key in row[4].replace("`", "").split(",")} - {""}
    assert told == {kind: set(keys_of(kind)) for kind in KINDS}


def test_example_of_the_readme_is_read(tmp_path: Path) -> None:
    example = README.read_text().split("```toml\n")[1].split("```")[0]
    example = example.replace("bus.garage", "bus.one")
    assert [fault.kind for fault in read(tmp_path, example)] == ["silence", "reboot", "unplug"]


def test_every_value_has_a_bound_and_a_key() -> None:
    values = {value for kind in KINDS.values() for value in kind.values}
    fields = {field for field, _ in NUMBERS.values()}
    assert values - {"phase"} <= fields
    assert fields | {"phase"} == set(BOUNDS)
    assert set(EVERY_KIND) - {"kind", "who"} <= set(NUMBERS)
