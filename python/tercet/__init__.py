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
# pool of threads that people use and that `thread_engine` runs on; `futures` is what its tasks will have come to, and
# `spread` the `map` of all executors.
# `process_pool` is the pool of processes; `lead` knows its leader, `starter` starts its workers, `parcel` is what goes
# to and fro. `estate` keeps the processes that workers are forked from: `root` and `nursery` speak with them, `zygote`
# and `cradle` are their far sides, `standing` and `inheritance` what they have from the program. `process_engine` runs
# on such workers too: `worker` is what they learn, `seat` what they do, and `seat_starter` starts them.
# `pool` is `multiprocessing.Pool` on the same workers, which `pool_executor` feeds; `pool_result` and `pool_iterator`
# are what it returns.
# `queues`, `synchronize`, `connection`, `sharedctypes` and `arrays` are what processes share; `handle` is how it gets
# from one to another, `message` what goes through a queue.
# `loop` is the event loop, `loop_selector` a window into it, `streams` its readers and writers, `guard` what tells of a
# blocked one. `_tercet` is the native half.
# This file only names what is public.

from __future__ import annotations

from importlib import import_module

from tercet._tercet import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tercet.advice import Advice
    from tercet.arrays import shared_array
    from tercet.auto import Map, map, why
    from tercet.connection import Pipe
    from tercet.errors import NotPortable, PoolTerminated, RemoteError, WorkerDied
    from tercet.executor import Executor
    from tercet.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, as_completed, wait
    from tercet.loop import EventLoop, EventLoopPolicy, install, new_event_loop, run
    from tercet.pool import Pool
    from tercet.process_pool import ProcessPoolExecutor, WorkerCrashed
    from tercet.queues import JoinableQueue, Queue, SimpleQueue
    from tercet.sharedctypes import Array, RawArray, RawValue, Value
    from tercet.synchronize import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore
    from tercet.thread_pool import ThreadPoolExecutor

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Advice",
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "Executor",
    "Future",
    "JoinableQueue",
    "Lock",
    "Map",
    "NotPortable",
    "Pipe",
    "Pool",
    "PoolTerminated",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "RemoteError",
    "Semaphore",
    "SimpleQueue",
    "ThreadPoolExecutor",
    "Value",
    "WorkerCrashed",
    "WorkerDied",
    "__version__",
    "as_completed",
    "install",
    "map",
    "new_event_loop",
    "run",
    "shared_array",
    "wait",
    "why",
]

_LATER = {
    "advice": ("Advice",),
    "arrays": ("shared_array",),
    "auto": ("Map", "map", "why"),
    "connection": ("Pipe",),
    "errors": ("NotPortable", "PoolTerminated", "RemoteError", "WorkerDied"),
    "executor": ("Executor",),
    "futures": ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "Future", "as_completed", "wait"),
    "loop": ("EventLoop", "EventLoopPolicy", "install", "new_event_loop", "run"),
    "pool": ("Pool",),
    "process_pool": ("ProcessPoolExecutor", "WorkerCrashed"),
    "queues": ("JoinableQueue", "Queue", "SimpleQueue"),
    "sharedctypes": ("Array", "RawArray", "RawValue", "Value"),
    "synchronize": ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"),
    "thread_pool": ("ThreadPoolExecutor",),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what is asked for: with processes comes `multiprocessing`, with the loop `asyncio`.

    Workers import the program's main module, which imports tercet, and have use for little of it.
    """
    if name in _HOME:
        found: object = getattr(import_module(f"tercet.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    if name in _LATER:
        return import_module(f"tercet.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
