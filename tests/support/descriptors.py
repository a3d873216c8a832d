"""The descriptors of this process, to show that a call leaves none of its own open.

A whole test run holds descriptors of its own, and a thread or a finalizer of an
earlier test may close one at any moment: what is told is what came, never a count.
"""

import os


def open_descriptors() -> dict[int, str]:
    """Every open descriptor with what it stands for: a path, or a kind and its inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one that listed the folder, or closed since
    return found


def came_since(before: dict[int, str]) -> dict[int, str]:
    """The descriptors that are open now and were not, or stood for something else, then."""
    return dict(open_descriptors().items() - before.items())
