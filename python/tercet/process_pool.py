"""`ProcessPoolExecutor`: the standard library's, over shared memory, where one crash costs one task.

What users of the standard library suffer from, and what is done about it here:

- *A dead worker breaks the pool.* Here the task that it ran gets a `WorkerCrashed`, everything else goes on in another
  worker, and the pool stays usable. ``on_crash="break"`` gives the standard behaviour.
- *A task crosses five threads and processes.* Here the caller puts it into the worker's memory itself, and one thread
  brings the results home, without the GIL.
- *Locks that were copied locked.* Workers are forked from a zygote, an interpreter that never has a second thread.
- *Lambdas and local functions* go by `cloudpickle` where it is installed.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.context import BaseContext
from threading import Thread
from types import EllipsisType, TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tercet import _tercet
from tercet.errors import WorkerDied
from tercet.lead import Lead
from tercet.machine import processors
from tercet.progress import Callback
from tercet.spread import map_by_submit
from tercet.starter import starter

__all__ = ["Limited", "ProcessPoolExecutor", "Worker", "WorkerCrashed"]

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_S = 2.0


class WorkerCrashed(WorkerDied, BrokenProcessPool):
    """A worker process ended in the middle of a task; the pool goes on without it."""


class ProcessPoolExecutor(_tercet.ProcessPool, concurrent.futures.ProcessPoolExecutor):  # type: ignore[misc]
    """Processes that run calls: `concurrent.futures.ProcessPoolExecutor`, with the same parameters.

    Parameters
    ----------
    max_workers
        How many processes there may be; ``None`` for as many as there are processors.
    mp_context
        A context of `multiprocessing`, whose start method is used; ``None`` forks from a clean zygote.
    initializer
        Called in each process before its first task; if it raises, the pool is broken.
    initargs
        Its arguments.
    max_tasks_per_child
        After how many tasks a process is replaced; ``None`` keeps it.
    on_crash
        ``"isolate"`` fails the task whose worker died; ``"break"`` breaks the pool, as the standard library does.
    timeout
        Seconds that a task may take; then its worker process is ended, and its future raises a `TimeoutError`.
    retries
        How often a task whose worker died is tried again.
    max_rss
        Bytes of memory of its own above which a worker is replaced, between two tasks.
    preload
        Modules that the zygote imports, once for all workers.

    Examples
    --------
    >>> with ProcessPoolExecutor(2) as executor:
    ...     executor.submit(pow, 2, 10).result()
    1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_crash: str = "isolate",
        timeout: float | None = None,
        retries: int = 0,
        max_rss: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        if max_workers is None:
            max_workers = processors()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if mp_context is not None and mp_context.get_start_method(allow_none=False) == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                    "supply a different mp_context."
                )
        if on_crash not in ("isolate", "break"):
            raise ValueError(f"on_crash must be 'isolate' or 'break': {on_crash!r}")
        if max_rss is not None and max_rss <= 0:
            raise ValueError(f"max_rss must be greater than 0: {max_rss}")
        self._limits = timeout, retries = _limits(timeout, retries)
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._initializer = initializer  # type: ignore[assignment]
        self._initargs = tuple(initargs)
        start = starter(mp_context, initializer, self._initargs, tuple(preload))
        lead = Lead(start)
        self._lead = lead
        self._processes = start.processes
        self._open(
            max_workers,
            timeout=timeout,
            retries=retries,
            hire=start.hire,
            mourn=start.mourn,
            lead=lead,
            tasks_per_worker=max_tasks_per_child,
            starts_at_once=start.starts_at_once,
            breaks_on_crash=on_crash == "break",
            max_rss=max_rss,
        )

    def options(self, *, timeout: float | EllipsisType | None = ..., retries: int | EllipsisType = ...) -> Limited:
        """Return a view of this pool whose tasks have limits of their own. What is not given is as the pool has it.

        Parameters
        ----------
        timeout
            Seconds that a task may take; then its worker process is ended, and its future raises a `TimeoutError`.
            ``None`` for as long as it likes.
        retries
            How often a task whose worker died is tried again.

        Examples
        --------
        >>> with ProcessPoolExecutor(1) as executor:
        ...     executor.options(timeout=60).submit(pow, 2, 10).result()
        1024
        """
        own = self._limits
        return Limited(self, _limits(own[0] if timeout is ... else timeout, own[1] if retries is ... else retries))

    def kill(self, future: concurrent.futures.Future[Any]) -> bool:
        """Cancel a task, also one that runs: its worker process is ended, and another takes its place.

        Parameters
        ----------
        future
            What `submit` returned.

        Returns
        -------
        bool
            Whether the future is cancelled; False if it was done.
        """
        if not isinstance(future, _tercet.Future):
            raise TypeError(f"not a future of this pool: {future!r}")
        return self._kill(future)

    def workers(self) -> list[Worker]:
        """Return what the worker processes are at."""
        return [
            Worker(pid, state, None if call is None else name_of_call(call), since, rss, tasks)
            for pid, state, call, since, rss, tasks in self._workers()
        ]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool | Callback | None = None,
    ) -> Iterator[T]:
        """Return an iterator of `fn` applied to the items.

        Parameters
        ----------
        fn
            The function.
        *iterables
            Where its arguments come from; the shortest ends it.
        timeout
            Seconds, counted from this call, after which a missing result is a `TimeoutError`.
        chunksize
            How many calls go to a worker as one task.
        buffersize
            How many tasks may be under way or done ahead of the results that were taken; ``None`` reads all items now.
        ordered
            Whether the results come in the order of the items; otherwise as they are there.
        progress
            ``True`` for a bar by tqdm or rich where one of them is installed, or a callable that is given the number of
            items done and of all items; shown by whoever asks for the results.

        Raises
        ------
        ValueError
            If `chunksize` or `buffersize` is less than 1.
        TypeError
            If `buffersize` is no integer, or `progress` neither a boolean nor callable.

        Examples
        --------
        >>> with ProcessPoolExecutor(2) as executor:
        ...     sorted(executor.map(abs, [-1, 2, -3], ordered=False))
        [1, 2, 3]
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        is_own = type(self).submit is _tercet.ProcessPool.submit
        return map_by_submit(
            self.submit,
            fn,
            iterables,
            timeout,
            buffersize,
            chunksize=chunksize,
            ordered=ordered,
            progress=progress,
            together=partial(self._submit_each, *self._limits) if is_own else None,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Parameters
        ----------
        wait
            Whether to return only when all tasks are done and the processes have ended.
        cancel_futures
            Whether to cancel the tasks that no worker has got yet.
        """
        self._close(cancel_futures)
        leader = self._lead.thread
        if wait and leader is not None and leader is not threading.current_thread():
            leader.join()

    @property
    def _executor_manager_thread(self) -> Thread | None:  # type: ignore[override]
        return self._lead.thread

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all tasks; after Ctrl-C only for those that run, and not for long."""
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.shutdown()
            return
        self.shutdown(wait=False, cancel_futures=True)
        leader = self._lead.thread
        if leader is not None:
            leader.join(_GRACE_S)
            if leader.is_alive():
                self.kill_workers()
                leader.join()

    def terminate_workers(self) -> None:
        """Ask the processes to end at once, and shut the pool down; tasks that run get an error."""
        import signal

        self._end(signal.SIGTERM)

    def kill_workers(self) -> None:
        """End the processes at once, and shut the pool down; tasks that run get an error."""
        import signal

        self._end(signal.SIGKILL)


class Worker(NamedTuple):
    """What a worker process was at when somebody looked.

    Attributes
    ----------
    pid
        The number of the process.
    state
        ``"starting"``, ``"resting"``, ``"running"`` or ``"leaving"``.
    function
        Module and name of what it calls, or ``None``.
    since
        When that began, on the clock of `time.monotonic`.
    rss
        Bytes of memory that it shares with nobody.
    tasks
        How many tasks it has done.
    """

    pid: int
    state: str
    function: str | None
    since: float | None
    rss: int
    tasks: int


class Limited:
    """A view of a pool whose tasks have limits of their own: see `ProcessPoolExecutor.options`."""

    def __init__(self, pool: ProcessPoolExecutor, limits: tuple[float | None, int]) -> None:
        self._pool = pool
        self._limits = limits

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]:
        """Do what the pool's `submit` does."""
        return self._pool._submit(*self._limits, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool | Callback | None = None,
    ) -> Iterator[T]:
        """Do what the pool's `map` does; each call is a task."""
        return map_by_submit(
            self.submit,
            fn,
            iterables,
            timeout,
            buffersize,
            ordered=ordered,
            progress=progress,
            together=partial(self._pool._submit_each, *self._limits),
        )


def name_of_call(packed: bytes) -> str:
    """Return what is called, by the first name that stands in a packed call."""
    import pickletools

    words: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(packed):
            if opcode.name == "STACK_GLOBAL":
                break
            if isinstance(argument, str):
                words.append(argument)
    except ValueError:
        # Only the beginning is here.
        pass
    return ".".join(words[-2:]) or "?"


def _limits(timeout: float | None, retries: int) -> tuple[float | None, int]:
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be greater than 0: {timeout}")
    if retries < 0:
        raise ValueError(f"retries must not be negative: {retries}")
    return timeout, retries
