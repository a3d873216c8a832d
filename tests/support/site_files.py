"""Site files for tests: small valid ones on the reference devices, and ways to change them."""

from pathlib import Path

from hw.map_file import SHIPPED_DIR
from loadctl.site.load import Site, load_site

GARAGE = """\
[site]
name = "Test garage"

[bus.rs485]
port = "/dev/ttyUSB0"
baud = 19200
frame = "8E1"

[circuit.main]
limit_A = 100
mode = "dynamic"
meter = "grid"
background_A = 40
margin_A = 5

[circuit.garage]
parent = "main"
limit_A = 63
mode = "static"
background_A = 0
margin_A = 5

[meter.grid]
bus = "rs485"
model = "reference-meter"
address = 1

[charger.bay1]
bus = "rs485"
model = "reference-charger"
address = 2
circuit = "garage"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
rated_A = 16
failsafe_A = 6

[charger.bay2]
bus = "rs485"
model = "reference-charger"
address = 3
circuit = "garage"
phases = ["L2"]
min_A = 6
max_A = 32
rated_A = 32
failsafe_A = 10
"""

ONE_BAY = """\
[site]
name = "{name}"
period_ms = {period_ms}
[bus.one]
port = "{port}"
baud = 19200
frame = "8E1"
[circuit.main]
limit_A = 32
mode = "static"
background_A = {background_A}
[charger.bay1]
bus = "one"
model = "reference-charger"
address = 11
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
failsafe_A = 6
"""


def changed(*changes: tuple[str, str], text: str = GARAGE) -> str:
    """The text with the first occurrence of each piece replaced; every piece must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def one_bay(port: str, *, background_A: int, period_ms: int = 500, name: str = "Rig") -> str:
    """One charger of 6 to 16 A, and at its failsafe of 6 A, under a static limit of 32 A."""
    return ONE_BAY.format(port=port, background_A=background_A, period_ms=period_ms, name=name)


def in_table(header: str, *changes: tuple[str, str], text: str = GARAGE) -> str:
    """The text with pieces replaced after this table header only."""
    before, found, after = text.partition(f"[{header}]\n")
    assert found, header
    return before + found + changed(*changes, text=after)


def write_site(directory: Path, text: str = GARAGE) -> Path:
    path = directory / "site.toml"
    path.write_text(text)
    return path


def site_of(directory: Path, text: str = GARAGE) -> Site:
    """Load a site with the maps that `write_map` put beside it."""
    maps = directory / "maps"
    return load_site(write_site(directory, text), [maps] if maps.exists() else [])


def write_map(
    directory: Path,
    map_id: str,
    *changes: tuple[str, str],
    without: str = "",
    base: str = "reference-charger",
) -> Path:
    """A variant of a shipped model as a map of its own; `without` names sections to cut."""
    text = (SHIPPED_DIR / f"{base}.toml").read_text()
    text = changed((f'id = "{base}"', f'id = "{map_id}"'), *changes, text=text)
    for section in without.split():
        before, found, after = text.partition(f"[{section}]\n")
        assert found, section
        text = before + after.partition("\n\n")[2]
    maps = directory / "maps"
    maps.mkdir(exist_ok=True)
    (maps / f"{map_id}.toml").write_text(text)
    return maps
