"""The C that Cython makes of the law: no Python and no allocation in what runs without the lock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LAW = Path(__file__).parents[2] / "loadctl" / "law"
BORDER = ("configure", "retune")  # run with Python, before anything else or beside the scan
PYTHON_API = re.compile(r"\b(?:Py_|Py[A-Z]|__Pyx_(?:Raise|Py|GOTREF|Get|Call|Add|Write))\w*")
MODULES = sorted(path.stem for path in LAW.glob("*.pyx") if path.stem not in BORDER)


def kernel_functions(module: str) -> dict[str, str]:
    """Body by name of every C function that the module's own `cdef ... noexcept nogil` became."""
    source = (LAW / f"{module}.pyx").read_text()
    generated = (LAW / f"{module}.c").read_text()
    bodies = {}
    for name in re.findall(r"^cdef [\w ]+?\*?(\w+)\(", source, re.MULTILINE):
        pattern = rf"^static [^\n;]*__pyx_f_\w+_{name}\([^;{{]*\) {{\n(.*?)^}}"
        found = re.search(pattern, generated, re.MULTILINE | re.DOTALL)
        assert found is not None, f"{module}.{name} is not in the generated C"
        bodies[name] = found.group(1)
    return bodies


@pytest.mark.parametrize("module", MODULES)
def test_kernel_functions_call_no_python(module: str) -> None:
    for name, body in kernel_functions(module).items():
        calls = set(PYTHON_API.findall(re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)))
        assert calls == set(), f"{module}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_kernel_functions_are_all_nogil_and_never_raise(module: str) -> None:
    source = (LAW / f"{module}.pyx").read_text()
    heads = re.findall(r"^cdef [\w ]+?\*?\w+\([^)]*\)([^:]*):", source, re.MULTILINE)
    assert {head.strip() for head in heads} == {"noexcept nogil"}


@pytest.mark.parametrize("module", MODULES)
def test_kernel_uses_neither_floats_nor_memory_of_its_own(module: str) -> None:
    source = (LAW / f"{module}.pyx").read_text()
    words = r"\b(?:float|double|malloc|calloc|realloc|free|PyMem_\w+)\b"
    assert re.findall(words, source) == []


def test_layout_is_int32_and_int64_without_padding() -> None:
    sizes = {"int32_t": 4, "int64_t": 8}
    text = (LAW / "layout.pxd").read_text()
    for name, body in re.findall(r"^ctypedef struct (\w+):\n((?:    .*\n)+)", text, re.MULTILINE):
        offset = 0
        for kind, count in re.findall(r"^    (\w+) \w+(?:\[(\d+)\])?", body, re.MULTILINE):
            assert offset % min(sizes[kind], 8) == 0, f"{name}: padding before {kind}"
            offset += sizes[kind] * int(count or 1)
        assert offset % 8 == 0, name
        sizes[name] = offset
