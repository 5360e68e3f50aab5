"""What is my Python program waiting on, and which model of concurrency fits it?

`map` measures the first tasks, picks threads, processes, an event loop or the plain loop, and runs the rest that way;
`why` gives the advice alone. The command ``tercet why app.py`` asks the same question of a whole program.

Examples
--------
>>> import tercet
>>> list(tercet.map(abs, [-1, 2, -3]))
[1, 2, 3]
"""

# General layout: `auto` is the face of map; `pilot` decides, `course` carries the items and the results, `sizer` grows
# and shrinks; `engine` is the seam behind which the engines stand (`thread_engine`, `process_engine`, `loop_engine`);
# `portable` and `purity` say what may go to another process; `advice` tells it all to a person. `thread_pool` is the
# pool of threads that people use and that `thread_engine` runs on; `futures` is what its tasks will have come to.
# `process_pool` is the pool of processes; `starter` and `zygote` start its workers, `parcel` is what goes to and fro.
# `loop` is the event loop, `loop_selector` a window into it, `streams` its readers and writers, `guard` what tells of a
# blocked one. `_tercet` is the native half.
# This file only names what is public.

from __future__ import annotations

from tercet._tercet import __version__
from tercet.advice import Advice
from tercet.auto import Map, map, why
from tercet.errors import NotPortable, RemoteError, WorkerDied
from tercet.executor import Executor
from tercet.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, as_completed, wait
from tercet.thread_pool import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tercet.loop import EventLoop, EventLoopPolicy, install, new_event_loop, run
    from tercet.process_pool import ProcessPoolExecutor, WorkerCrashed

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Advice",
    "EventLoop",
    "EventLoopPolicy",
    "Executor",
    "Future",
    "Map",
    "NotPortable",
    "ProcessPoolExecutor",
    "RemoteError",
    "ThreadPoolExecutor",
    "WorkerCrashed",
    "WorkerDied",
    "__version__",
    "as_completed",
    "install",
    "map",
    "new_event_loop",
    "run",
    "wait",
    "why",
]


# What is imported when it is asked for: with the pool of processes comes `multiprocessing`, with the loop `asyncio`.
LATER = {
    "EventLoop": "loop",
    "EventLoopPolicy": "loop",
    "ProcessPoolExecutor": "process_pool",
    "WorkerCrashed": "process_pool",
    "install": "loop",
    "new_event_loop": "loop",
    "run": "loop",
}


def __getattr__(name: str) -> object:
    """Import an engine when it is asked for."""
    module = LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found: object = getattr(importlib.import_module(f"tercet.{module}"), name)
    globals()[name] = found
    return found
