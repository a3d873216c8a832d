"""What a new user may get wrong in a site file, and the one line that each mistake gives."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from loadctl import runtime
from loadctl.errors import ConfigError
from loadctl.site.load import load_site
from tests.support.site_files import GARAGE, changed, in_table, site_of, write_map, write_site

BAY3 = """
[charger.bay3]
bus = "rs485"
model = "reference-charger"
address = 4
circuit = "garage"
phases = ["L1"]
min_A = 6
max_A = 16
failsafe_A = 0
"""

MISTAKES = tomllib.loads((Path(__file__).parent / "site_mistakes.toml").read_text())["case"]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case["name"].replace(" ", "-"))
def test_site_with_one_mistake_gives_one_line(tmp_path: Path, case: dict[str, Any]) -> None:
    pieces = [(old, new) for old, new in case.get("changes", [])]
    text = in_table(case["table"], *pieces) if "table" in case else changed(*pieces)
    path = write_site(tmp_path, text + case.get("append", ""))
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    assert refused.value.lines == (f"{path}:{case['message']}",)
    assert refused.value.exit_code == 3


def test_site_with_many_mistakes_gives_all_of_them_in_the_order_of_their_lines(
    tmp_path: Path,
) -> None:
    text = changed(
        ("baud = 19200", 'baud = "fast"'),
        ("limit_A = 100", "limit_A = 0"),
        ('mode = "static"', 'mode = "off"'),
        ('"L1", "L2", "L3"', '"L2", "L2"'),
        ("address = 3", "address = 2"),
    )
    path = write_site(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    assert refused.value.lines == (
        f'{path}:6: bus.rs485.baud: "fast" is no whole number',
        f"{path}:10: circuit.main.limit_A: 0 A is below 6 A",
        f'{path}:19: circuit.garage.mode: "off" is not one of "static" or "dynamic"',
        f"{path}:33: charger.bay1.phases: L2, L2: each phase at most once; one phase, or an order"
        " of L1, L2, L3",
        f'{path}:42: charger.bay2.address: address 2 of bus "rs485", connector 1 is taken by'
        " charger.bay1",
    )


def test_site_that_is_empty_misses_site_bus_circuit_and_charger(tmp_path: Path) -> None:
    path = write_site(tmp_path, "")
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    assert refused.value.lines == (
        f'{path}: site: missing; a site file begins with [site] and name = "..."',
        f"{path}: bus: missing; a site needs at least one [bus.NAME]",
        f"{path}: circuit: missing; a site needs at least one [circuit.NAME]",
        f"{path}: charger: missing; a site needs at least one [charger.NAME]",
    )


def test_site_file_that_is_not_there_gives_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^.*/nope\.toml: No such file or directory$"):
        load_site(tmp_path / "nope.toml")


def test_site_file_that_is_no_text_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"[site]\n\xff")
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    said = f"{path}:2: is no UTF-8 text, at byte 7; save it as UTF-8"
    assert refused.value.lines == (said,)


def test_site_file_with_a_byte_order_mark_is_the_same_site(tmp_path: Path) -> None:
    path = write_site(tmp_path, changed())
    plain = load_site(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = load_site(path)
    assert marked.tables.chargers == plain.tables.chargers
    assert marked.text.encode() == path.read_bytes()  # what is saved later keeps it
    assert runtime.name_in_file(path) == plain.tables.site.name


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_site_file_in_another_encoding_is_one_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes('[site]\nname = "Prüfstand"\n'.encode(encoding))
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    (line,) = refused.value.lines
    number = 2 if encoding == "latin-1" else 1
    assert line.startswith(f"{path}:{number}: is no UTF-8 text, at byte ")


def test_site_with_a_line_that_a_model_does_not_take_names_what_it_takes(tmp_path: Path) -> None:
    write_map(
        tmp_path,
        "slow-box",
        ("bauds = [19200, 1200, 2400, 4800, 9600, 38400, 57600, 115200]", "bauds = [9600, 4800]"),
        ('frames = ["8E1", "8N1", "8N2", "8O1"]', 'frames = ["8N1"]'),
    )
    text = in_table("charger.bay1", ("reference-charger", "slow-box"))
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, text)
    path = tmp_path / "site.toml"
    assert refused.value.lines == (
        f'{path}:29: charger.bay1.bus: bus "rs485" runs at 19200 baud; slow-box takes 4800, 9600',
        f'{path}:29: charger.bay1.bus: bus "rs485" has frame 8E1; slow-box takes 8N1',
    )


def test_site_with_currents_outside_the_setpoint_of_a_model_is_refused(tmp_path: Path) -> None:
    write_map(
        tmp_path,
        "narrow-box",
        ("min_A = 6\nmax_A = 80\nstep_A", "min_A = 8\nmax_A = 15\nstep_A"),
        ("min_A = 6\nmax_A = 80\nconf", "min_A = 8\nmax_A = 15\nconf"),
    )
    text = in_table("charger.bay1", ("reference-charger", "narrow-box"))
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, text)
    path = tmp_path / "site.toml"
    assert refused.value.lines == (
        f"{path}:34: charger.bay1.min_A: 6 A is below 8 A, the least that narrow-box takes",
        f"{path}:35: charger.bay1.max_A: 16 A is above 15 A, the most that narrow-box takes",
    )


def test_site_without_any_rating_of_a_charger_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path, "unrated-box", without="rating")
    text = in_table("charger.bay1", ("reference-charger", "unrated-box"), ("rated_A = 16\n", ""))
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, text)
    assert refused.value.lines == (
        f"{tmp_path}/site.toml:28: charger.bay1.rated_A: missing; the map of unrated-box does not"
        " say what its hardware is rated for",
    )


def test_site_with_two_outlets_on_one_address_is_good(tmp_path: Path) -> None:
    write_map(
        tmp_path,
        "twin-box",
        ("[states]", '[connectors]\ncount = 2\nstride = 200\nconfidence = "H"\n\n[states]'),
    )
    text = changed(
        ("address = 3", "address = 2\nconnector = 2"),
    ).replace("reference-charger", "twin-box")
    site = site_of(tmp_path, text)
    assert [(row.address, row.connector) for row in site.tables.chargers] == [(2, 1), (2, 2)]


def test_site_with_two_models_on_one_address_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path, "other-box")
    text = in_table(
        "charger.bay2", ("reference-charger", "other-box"), ("address = 3", "address = 2")
    )
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, text)
    assert refused.value.lines == (
        f'{tmp_path}/site.toml:42: charger.bay2.address: address 2 of bus "rs485" is a'
        " reference-charger by charger.bay1, here a other-box",
    )


def test_site_with_an_unused_meter_and_bus_warns(tmp_path: Path) -> None:
    text = GARAGE + BAY3.replace("failsafe_A = 0", "failsafe_A = 0\nisolated = true")
    text += '\n[bus.spare]\nport = "/dev/ttyUSB1"\nbaud = 9600\nframe = "8N1"\n'
    text += '\n[meter.spare]\nbus = "rs485"\nmodel = "reference-meter"\naddress = 9\n'
    assert site_of(tmp_path, text).warnings == (
        "meter.spare: measures no circuit; it costs a slot of every scan",
        "bus.spare: nothing hangs on it",
        "charger.bay3: is isolated; it is never talked to and counts as 0 A",
    )


def test_site_that_counts_export_needs_a_meter_with_signed_power(tmp_path: Path) -> None:
    renames = [(f"power_{terminal}_W", f"demand_{terminal}_W") for terminal in (1, 2, 3)]
    write_map(tmp_path, "plain-meter", *renames, base="reference-meter")
    text = changed(
        ("limit_A = 100", "limit_A = 100\ncounts_export = true"),
        ('"reference-meter"', '"plain-meter"'),
    )
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, text)
    assert refused.value.lines == (
        f"{tmp_path}/site.toml:11: circuit.main.counts_export: needs a meter that measures signed"
        ' power; "grid" measures none',
    )
    site = site_of(tmp_path, changed(("limit_A = 100", "limit_A = 100\ncounts_export = true")))
    assert site.tables.circuits[0].counts_export is True


def test_site_with_a_line_break_in_a_value_still_gives_one_line(tmp_path: Path) -> None:
    path = write_site(tmp_path, changed(('bus = "rs485"', 'bus = "rs\\n485"')))
    with pytest.raises(ConfigError) as refused:
        load_site(path)
    assert refused.value.lines == (
        f'{path}:24: meter.grid.bus: there is no bus "rs\\n485"; the nearest is "rs485"',
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "9" * 6000,
            ":2: circuit.main.limit_A: 999999999999... has 6000 digits, above 4300:"
            " no number here is that large",
        ),
        ("[" * 5000, ": lists or tables nested too deeply"),
    ],
)
def test_site_that_python_cannot_hold_is_one_line(tmp_path: Path, value: str, words: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(f"[circuit.main]\nlimit_A = {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    assert caught.value.lines == (f"{path}{words}",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1e308", "1e+308 A is above 10000 A"),
        ("-1e308", "-1e+308 A is below 6 A"),
        ("9" * 400, "999999999999... is too large to count with"),
        ("9" * 20, "999999999999... A is above 10000 A"),
        ("0x" + "f" * 5000, "398027684033... is too large to count with"),
        ("1000000", "1000000 A is above 10000 A"),
    ],
)
def test_site_with_a_number_that_nobody_means_shows_its_first_digits(
    tmp_path: Path, value: str, said: str
) -> None:
    path = write_site(tmp_path, changed(("limit_A = 100", f"limit_A = {value}")))
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    line = caught.value.lines[0]
    assert line.endswith(said)
    assert len(line) < 200


@pytest.mark.parametrize(
    ("port", "text"),
    [
        ("/tmp", '"/tmp" is a directory, no port'),
        (
            "soket://10.0.0.7:4001",
            'there is no kind of port "soket://"; the nearest is "socket://"',
        ),
        (
            "socket://10.0.0.7",
            '"socket://10.0.0.7" lacks a host or a port: write socket://10.0.0.7:4001',
        ),
        (
            "SOCKET://10.0.0.7",
            '"SOCKET://10.0.0.7" lacks a host or a port: write SOCKET://10.0.0.7:4001',
        ),
        (
            "socket://:4001",
            '"socket://:4001" lacks a host or a port: write socket://10.0.0.7:4001',
        ),
        (
            "rfc2217://nas:70000",
            '"rfc2217://nas:70000" lacks a host or a port: write rfc2217://10.0.0.7:4001',
        ),
        (
            "/dev/tty\\u001bUSB0",
            '"/dev/tty\\u001bUSB0" is no port: spaces around it, or characters that cannot be'
            " printed",
        ),
        (
            " /dev/ttyUSB0",
            '" /dev/ttyUSB0" is no port: spaces around it, or characters that cannot be printed',
        ),
    ],
)
def test_site_with_an_odd_port_is_refused_with_its_line(
    tmp_path: Path, port: str, text: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, changed(("/dev/ttyUSB0", port)))
    assert refused.value.lines == (f"{tmp_path}/site.toml:5: bus.rs485.port: {text}",)


@pytest.mark.parametrize(
    "port",
    [
        "socket://10.0.0.7:4001",
        "SOCKET://[::1]:4001",
        "rfc2217://nas:7000?logging=debug",
        "loop://",
    ],
)
def test_site_with_a_port_on_the_network_is_good(tmp_path: Path, port: str) -> None:
    assert site_of(tmp_path, changed(("/dev/ttyUSB0", port))).tables.buses[0].port == port


@pytest.mark.parametrize("character", ["\\u001b", "\\n", "\\u009b", "\\u202e"])
def test_site_name_with_a_control_character_is_one_line_that_harms_no_terminal(
    tmp_path: Path, character: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, changed(('"Test garage"', f'"Test {character}garage"')))
    assert refused.value.lines == (
        f'{tmp_path}/site.toml:2: site.name: "Test {character}garage" is no name; write printable'
        " characters, no spaces around them",
    )


def test_site_charger_name_with_a_control_character_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        site_of(tmp_path, changed(("[charger.bay2]", '[charger."bay\\u009b2"]')))
    assert refused.value.lines == (
        f'{tmp_path}/site.toml:39: charger."bay\\u009b2": "bay\\u009b2" is no name; write 1 to 40'
        " printable characters",
    )
