"""A check run over many seeds by one process per core. What fails is named by its seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

BATCH = 250

Check = Callable[[int], str]


def sweep(check: Check, seeds: range, n_workers: int | None = None) -> list[str]:
    """What the check says of each seed that fails. The check must be importable by name."""
    n_workers = n_workers or len(os.sched_getaffinity(0))
    batches = [seeds[k : k + BATCH] for k in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(failures, check), batches)
        return [text for texts in found for text in texts]


def failures(check: Check, seeds: range) -> list[str]:
    found = []
    for seed in seeds:
        try:
            said = check(seed)
        except Exception as error:
            error.add_note(f"{check.__name__}, seed {seed}")
            raise
        if said:
            found.append(f"{check.__name__}, seed {seed}: {said}")
    return found
