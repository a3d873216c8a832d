"""Imports go one way: each rule is read from the source, not from what happens to be loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"pydantic", "click", "rich"}


def imported(path: Path) -> set[str]:
    """Every module that a Python or Cython file imports, at top level or inside a function."""
    text = path.read_text()
    if path.suffix in {".pyx", ".pxd"}:
        names = set()
        for line in text.splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in {"import", "cimport"}:
                names |= {name.strip(",") for name in words[1:] if name != "as"}
            elif len(words) > 3 and words[0] == "from" and words[2] in {"import", "cimport"}:
                names.add(words[1])
        return names
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def files(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    assert found, patterns
    return found


def offenders(paths: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imported(path))
        if any(name == bad or name.startswith(bad + ".") for bad in forbidden)
    ]


def test_law_imports_nothing_of_ours_but_law() -> None:
    for path in files("loadctl/law/*.pyx", "loadctl/law/*.pxd"):
        ours = {name for name in imported(path) if name.split(".")[0] in {"loadctl", "hw"}}
        assert {name for name in ours if not name.startswith("loadctl.law")} == set(), path


def test_core_imports_only_law_and_the_plain_words_of_the_border() -> None:
    allowed = {"loadctl.law", "loadctl.tables", "loadctl.errors", "loadctl._core"}
    for path in files("loadctl/_core.pyx", "loadctl/_core.pxd"):
        ours = {name for name in imported(path) if name.split(".")[0] in {"loadctl", "hw"}}
        strangers = {n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed)}
        assert strangers == set(), path


def test_hw_imports_only_units_and_errors_of_loadctl() -> None:
    tables_by_design = {ROOT / "hw/sim"}  # the simulator reads the plain tables of a site
    for path in files("hw/**/*.py"):
        allowed = {"loadctl.units", "loadctl.errors"}
        if any(folder in path.parents for folder in tables_by_design):
            allowed.add("loadctl.tables")
        ours = {name for name in imported(path) if name.split(".")[0] == "loadctl"}
        strangers = {n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed)}
        assert strangers == set(), path


def test_gate_imports_neither_the_core_nor_anything_heavy() -> None:
    forbidden = {"loadctl._core", "loadctl.law", *HEAVY}
    assert offenders(files("loadctl/gate.py"), forbidden) == []


SCAN = ("scan", "field", "talk", "runner", "pacer", "external", "commands", "control")


@pytest.mark.parametrize("name", SCAN)
def test_the_scan_imports_nothing_heavy(name: str) -> None:
    assert offenders(files(f"loadctl/{name}.py"), HEAVY) == []


FLIGHT_OF_THE_SCAN = ("tape.pyx", "ring.pyx", "ring.pxd", "words.pxd", "calls.py")


@pytest.mark.parametrize("name", FLIGHT_OF_THE_SCAN)
def test_the_tape_imports_nothing_heavy_and_nothing_of_files(name: str) -> None:
    forbidden = {*HEAVY, "zlib", "struct", "loadctl.flight.files", "loadctl.flight.writer"}
    assert offenders(files(f"loadctl/flight/{name}"), forbidden) == []


def test_control_imports_only_plain_rows_and_errors_of_ours() -> None:
    """Commands and the scan share it: neither may pull the other in."""
    ours = {name for name in imported(ROOT / "loadctl/control.py") if name.startswith("loadctl")}
    assert {name.split(".")[1] for name in ours} == {"errors", "tables"}


def test_serial_and_minimalmodbus_are_imported_in_one_place_each() -> None:
    paths = files("loadctl/**/*.py", "hw/**/*.py")
    not_opening = [path for path in paths if path != ROOT / "hw/opening.py"]
    not_bus = [path for path in paths if path != ROOT / "hw/bus.py"]
    assert offenders(not_opening, {"serial"}) == []
    assert offenders(not_bus, {"minimalmodbus"}) == []


GUARD = ("loadctl/guard/*.py", "loadctl/link.pyx", "loadctl/guarded.py", "loadctl/bound.py")
NOT_IN_THE_GUARD = {*HEAVY, "minimalmodbus", "serial", "loadctl.law", "loadctl._core"}


@pytest.mark.parametrize("pattern", GUARD)
def test_guard_and_link_import_nothing_heavy_and_no_law(pattern: str) -> None:
    assert offenders(files(pattern), NOT_IN_THE_GUARD) == []


@pytest.mark.parametrize("name", ["raw", "descriptor", "handover", "clock", "wire", "lock"])
def test_what_a_takeover_talks_with_imports_no_serial_library(name: str) -> None:
    """Directly or by way of another module of ours."""
    seen: set[str] = set()
    todo = [f"hw.{name}"]
    while todo:
        module = todo.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in seen or not path.exists():
            continue
        seen.add(module)
        assert offenders([path], {"serial", "minimalmodbus"}) == []
        todo += imported(path)


def test_what_the_guard_starts_with_loads_neither_minimalmodbus_nor_anything_heavy() -> None:
    assert {*HEAVY, "minimalmodbus"} & loaded_by("hw.raw, hw.opening, hw.handover") == set()


def loaded_by(modules: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after importing some."""
    code = f"import sys, {modules}; print(*(m for m in sys.modules if '.' not in m))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_running_scan_process_loads_nothing_heavy() -> None:
    """The whole tree of what `loadctl.scan` pulls in, in a fresh interpreter."""
    assert HEAVY & loaded_by("loadctl.scan") == set()


def test_the_loop_that_is_measured_loads_nothing_heavy_either() -> None:
    assert HEAVY & loaded_by("loadctl.timing.loop") == set()


# The journal

JOURNAL_ONLY = {"sqlite3", "loadctl.journal", "pyarrow"}
SQL_WORDS = ("SELECT ", "INSERT ", "DELETE ", "PRAGMA ", "CREATE TABLE")


def test_neither_scan_nor_guard_loads_anything_of_the_journal() -> None:
    for modules in ("loadctl.scan", "loadctl.start", "loadctl.guard.process"):
        assert {"sqlite3", "pyarrow"} & loaded_by(modules) == set()
    scan = [f"loadctl/{name}.py" for name in (*SCAN, "start")]
    assert offenders(files(*scan, "loadctl/guard/*.py"), JOURNAL_ONLY) == []


def test_journal_imports_nothing_heavy_and_knows_no_command_line() -> None:
    assert offenders(files("loadctl/journal/*.py"), {*HEAVY, "loadctl.cli"}) == []


def test_only_the_journal_speaks_sql_of_its_tables_in_one_module() -> None:
    speaking = [
        path.name
        for path in files("loadctl/**/*.py")
        if any(word in path.read_text() for word in SQL_WORDS)
    ]
    assert sorted(speaking) == ["sql.py", "whole.py"]


def test_metrics_alone_import_prometheus_client_and_nothing_else_that_is_heavy() -> None:
    ours = {ROOT / "loadctl/cli/metrics.py", *files("loadctl/metrics/*.py")}
    others = [path for path in files("loadctl/**/*.py", "hw/**/*.py") if path not in ours]
    assert offenders(others, {"prometheus_client", "loadctl.metrics"}) == []
    assert offenders(files("loadctl/metrics/*.py"), HEAVY) == []
    assert "prometheus_client" not in loaded_by("loadctl.scan, loadctl.guard, loadctl.status")
