"""The descriptors of this process, to show that a call leaves none of its own open.

A whole test run holds descriptors of its own, and a thread or a finalizer of an
earlier test may close one at any moment: what is told is what came, never a count.
"""

import os


def open_descriptors() -> dict[int, str]:
    """Every open descriptor with what it stands for: a path, there or gone, or a kind and inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{name}")
            found[int(name)] = what.removesuffix(" (deleted)")  # a terminal whose other end closed
        except FileNotFoundError:
            continue  # the one that listed the folder, or closed since
    return found


def came_since(before: dict[int, str]) -> dict[int, str]:
    """The descriptors that are open now and were not, or stood for something else, then."""
    return dict(open_descriptors().items() - before.items())
