"""One thread per bus, and the barrier at the end of each phase. Knows nothing of what they do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

STACK_BYTES = 256 * 1024  # the default of 8 MiB a thread would all be locked into memory


class Runner(Protocol):
    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run one job per bus side by side and return when all are done."""
        ...


class ThreadRunner:
    """One thread per bus, for the life of the process."""

    def __init__(self, names: Sequence[str]) -> None:
        self._todo = [queue.SimpleQueue[Callable[[], None] | None]() for _ in names]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        before_bytes = threading.stack_size(STACK_BYTES)
        self._threads = [
            threading.Thread(target=self._work, args=(todo,), name=f"bus {name}", daemon=True)
            for name, todo in zip(names, self._todo, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        threading.stack_size(before_bytes)

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Whatever a job raises is raised here, once all are done."""
        for todo, job in zip(self._todo, jobs, strict=True):
            todo.put(job)
        errors = [self._done.get() for _ in jobs]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        for todo in self._todo:
            todo.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, todo: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (job := todo.get()) is not None:
            try:
                job()
            except BaseException as error:  # raised again by run(), in the main thread
                self._done.put(error)
            else:
                self._done.put(None)
