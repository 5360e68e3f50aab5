"""The machine that the first tasks are measured on: its processors, and what the engines cost on it.

`machine` gives what `decide` reads as ``profile["machine"]``. Processors and the GIL come from the native side;
the costs begin as medians of a 2-core machine and become this machine's own as the engines are used.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import ModuleType

__all__ = ["Costs", "costs", "has_gil", "machine", "native", "processors"]


def native() -> ModuleType:
    """Return the extension module, which only this function names."""
    from tercet import _tercet

    return _tercet


def has_gil() -> bool:
    """Whether the interpreter has a GIL that is on."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def processors() -> int:
    """Return how many processors the standard library counts on, in this version of Python."""
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
    return count() or 1


class Costs:
    """What the engines cost, in seconds, learnt from every use of them in this interpreter.

    Attributes
    ----------
    thread_task_s
        Hand-over of one task to a thread and back.
    process_start_s
        From the decision to the first worker process that can take a task.
    process_trip_s
        One trip to a worker process and back, whatever it carries.
    """

    def __init__(self) -> None:
        self.thread_task_s = 25e-6
        self.process_start_s = 0.045
        self.process_trip_s = 250e-6
        self._has_started = False
        self._lock = threading.Lock()

    def started(self, seconds: float) -> None:
        """Learn how long a process engine took to start."""
        with self._lock:
            share = 0.5 if self._has_started else 1.0
            self._has_started = True
            self.process_start_s += share * (seconds - self.process_start_s)

    def travelled(self, seconds: float) -> None:
        """Learn how long one trip to a worker process took, beside the work itself."""
        with self._lock:
            self.process_trip_s += 0.05 * (seconds - self.process_trip_s)


costs = Costs()
"""What the engines cost in this interpreter."""


def machine(items_per_trip: float = 1.0) -> dict[str, float | bool]:
    """Return the facts of the machine under the names that `decide` reads.

    Parameters
    ----------
    items_per_trip
        How many items travel to a process together: they share the cost of the trip.
    """
    known: dict[str, float | bool] = dict(native().machine())
    known.update(
        thread_task_s=costs.thread_task_s,
        process_start_s=costs.process_start_s,
        process_task_s=costs.process_trip_s / max(1.0, items_per_trip),
    )
    return known
