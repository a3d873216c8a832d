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
    said = zip(seeds, gather(check, seeds, n_workers), strict=True)
    return [f"{check.__name__}, seed {seed}: {text}" for seed, text in said if text]


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
            error.add_note(f"{measure.__name__}, seed {seed}")
            raise
    return found
