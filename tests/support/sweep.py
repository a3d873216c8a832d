"""A check run over many seeds by one process per core. What fails is named by its seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

BATCH = 250

Check = Callable[[int], str]
T = TypeVar("T")


def sweep(check: Check, seeds: range, n_workers: int | None = None) -> list[str]:
    """What the check says of each seed that fails."""
    return [text for text in gather(partial(named, check), seeds, n_workers) if text]


def named(check: Check, seed: int) -> str:
    text = check(seed)
    return f"{check.__name__}, seed {seed}: {text}" if text else ""


def gather(measure: Callable[[int], T], seeds: range, n_workers: int | None = None) -> list[T]:
    """What is measured for every seed. The function must be importable by name."""
    n_workers = n_workers or len(os.sched_getaffinity(0))
    batches = [seeds[k : k + BATCH] for k in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(measured, measure), batches)
        return [one for batch in found for one in batch]


def measured(measure: Callable[[int], T], seeds: range) -> list[T]:
    found = []
    for seed in seeds:
        try:
            found.append(measure(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    return found
