"""The scan, but one that a signal sends into an endless loop in its main thread.

SIGUSR1: a loop in Python. SIGUSR2: a loop in machine code with the interpreter's lock released, as
a call of C code that does not come back. Started by a guard as `--scan-module` of a test.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import sys

from loadctl.start import main

JUMP_TO_ITSELF = {
    "x86_64": b"\xeb\xfe",
    "aarch64": b"\x00\x00\x00\x14",
    "armv7l": b"\xfe\xff\xff\xea",
}


def loop_in_python(number: int, frame: object) -> None:
    while True:
        pass


def endless_code(page: mmap.mmap) -> int:
    """Put the loop into a page; its address."""
    code = JUMP_TO_ITSELF[platform.machine()]
    page[: len(code)] = code
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def run() -> int:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    never_back = ctypes.CFUNCTYPE(None)(endless_code(page))  # a call through it releases the lock

    def loop_without_lock(number: int, frame: object) -> None:
        never_back()

    signal.signal(signal.SIGUSR1, loop_in_python)
    signal.signal(signal.SIGUSR2, loop_without_lock)
    return main()


if __name__ == "__main__":
    sys.exit(run())
