"""`Pool`: `multiprocessing.Pool`, on the workers of `ProcessPoolExecutor`.

What users of the standard library suffer from, and what is done about it here:

- *A dead worker hangs the caller for ever.* Here the task that it ran gets a `WorkerCrashed`, and everything else goes
  on in another worker.
- *What cannot be unpickled here hangs the pool.* Here it is an error of its own task.
- *An endless input is drawn without end.* ``buffersize=`` bounds what `imap` draws ahead.
- *What `terminate` cuts off is waited for without end.* Here it is a `PoolTerminated`.

`pool_executor` has the workers, the feeders and the callbacks; `pool_result` and `pool_iterator` are what the methods
return.
"""

from __future__ import annotations

import multiprocessing.pool
from collections.abc import Callable, Iterable, Mapping, Sized
from itertools import islice
from multiprocessing.context import BaseContext
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from tercet.machine import processors
from tercet.parcel import CALL, EACH, EACH_STARRED, PoolTask
from tercet.pool_executor import PoolExecutor
from tercet.pool_iterator import IMapIterator, IMapUnorderedIterator
from tercet.pool_result import ApplyResult, MapResult
from tercet.spread import check_buffersize

__all__ = ["Pool"]

S = TypeVar("S")
T = TypeVar("T")
P = TypeVar("P", bound="Pool")

_EXIT_PRIORITY = 15
"""Pools end before the managers and queues of `multiprocessing`, as they do there."""


class Pool(multiprocessing.pool.Pool):
    """Processes that run calls: `multiprocessing.Pool`, with the same parameters.

    Parameters
    ----------
    processes
        How many processes there are; ``None`` for as many as there are processors.
    initializer
        Called in each process before its first task; if it raises, every task gets a `BrokenProcessPool`.
    initargs
        Its arguments.
    maxtasksperchild
        After how many tasks, that is calls of `apply` or chunks of `map`, a process is replaced; ``None`` keeps it.
    context
        A context of `multiprocessing`: its processes start at once. ``None`` forks them from a clean zygote, when the
        first task is there; they import what the task needs, and know nothing that the program has done since it
        began. What they are to know goes through `initializer`, or a context that forks the program itself.

    Examples
    --------
    >>> with Pool(2) as pool:
    ...     pool.map(abs, [-1, 2, -3])
    [1, 2, 3]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
    ) -> None:
        # What the standard library's class does in its place starts threads.
        self._state = INIT
        self._ctx = context
        if processes is None:
            processes = processors()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and not _is_count(maxtasksperchild):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs
        self._executor = PoolExecutor(processes, context, initializer, tuple(initargs), maxtasksperchild)
        self._terminate = Finalize(self, self._executor.terminate, exitpriority=_EXIT_PRIORITY)
        if context is not None:
            try:
                self._executor.start()
            except BaseException:
                self._terminate()
                raise
        self._state = RUN

    # `__del__` is the standard library's: it warns of a pool that was not closed.

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} state={self._state} pool_size={self._processes}>"

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    @property
    def _pool(self) -> list[Any]:
        """The processes, for programs that look into it."""
        if self._state == RUN:
            self._executor.start()
        return self._executor.processes()

    def _repopulate_pool(self) -> None:
        self._executor.start()

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}) -> T:
        """Return ``func(*args, **kwds)``, called in a worker.

        Parameters
        ----------
        func
            The function.
        args, kwds
            Its arguments.
        """
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ApplyResult[T]:
        """Have a worker call ``func(*args, **kwds)``, and return at once what will tell of it.

        Parameters
        ----------
        func
            The function.
        args, kwds
            Its arguments.
        callback
            Called with the result, before `get` returns. The callbacks of a pool are called one after the other, in
            the order in which the tasks end, in one thread that is not the caller's.
        error_callback
            Called with the exception in the same way, if there is one.
        """
        self._check_running()
        future = self._executor.send(PoolTask(func, CALL), *args, **kwds)
        return ApplyResult._of(self, [future], callback, error_callback)

    def map(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> list[T]:
        """Return the list of ``func(item)`` for all items.

        Parameters
        ----------
        func
            The function.
        iterable
            The items.
        chunksize
            How many of them a worker gets at once; ``None`` makes four chunks for each process.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[T]:
        """Do as `map` does, and return at once what will tell of it.

        Parameters
        ----------
        func, iterable, chunksize
            As in `map`.
        callback
            Called with the list, when all is done.
        error_callback
            Called with the first exception, when all is done.
        """
        return self._send_all(PoolTask(func, EACH), iterable, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """Return the list of ``func(*item)`` for all items.

        Parameters
        ----------
        func, iterable, chunksize
            As in `map`.
        """
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[T]:
        """Do as `starmap` does, and return at once what will tell of it.

        Parameters
        ----------
        func, iterable, chunksize, callback, error_callback
            As in `map_async`.
        """
        return self._send_all(PoolTask(func, EACH_STARRED), iterable, chunksize, callback, error_callback)

    def imap(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = 1,
        *,
        buffersize: int | None = None,
    ) -> multiprocessing.pool.IMapIterator[T]:
        """Return an iterator of ``func(item)`` for all items, in order.

        Parameters
        ----------
        func
            The function.
        iterable
            The items; they are drawn in another thread, as fast as the workers take them.
        chunksize
            How many of them a worker gets at once.
        buffersize
            How many tasks may be under way or done ahead of the results that were taken; items are then drawn only as
            results are taken, and not at all once the pool is closed. ``None`` sets no bound to the results.
        """
        results: multiprocessing.pool.IMapIterator[T] = self._stream(
            IMapIterator, func, iterable, chunksize, buffersize
        )
        return results

    def imap_unordered(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = 1,
        *,
        buffersize: int | None = None,
    ) -> multiprocessing.pool.IMapIterator[T]:
        """Do as `imap` does, but with the results in the order in which they come.

        Parameters
        ----------
        func, iterable, chunksize, buffersize
            As in `imap`.
        """
        results: multiprocessing.pool.IMapIterator[T] = self._stream(
            IMapUnorderedIterator, func, iterable, chunksize, buffersize
        )
        return results

    def close(self) -> None:
        """Take no more tasks; the workers leave when those that there are have ended."""
        if self._state == RUN:
            self._state = CLOSE
            self._executor.close()

    def terminate(self) -> None:
        """End the workers at once, whatever they run, and wait for their ends.

        A task that ran gets a `WorkerCrashed`, one that waited a `PoolTerminated`; callbacks are not called any more.
        """
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until all tasks have ended, their callbacks were called and the workers have left.

        Raises
        ------
        ValueError
            If the pool was neither closed nor terminated.
        """
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._executor.join()

    def __enter__(self: P) -> P:
        self._check_running()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Terminate it, as in the standard library."""
        self.terminate()

    def _send_all(
        self,
        task: PoolTask,
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> MapResult[T]:
        self._check_running()
        items = iterable if isinstance(iterable, Sized) else list(iterable)
        if chunksize is None:
            # As many as `_processes * 4` chunks.
            chunksize = max(1, -(-len(items) // (self._processes * 4)))
        _check_chunksize(chunksize)
        with self._executor.feeding():
            futures = list(self._executor.sent(task, _chunks(items, chunksize)))
        return MapResult._of(self, futures, callback, error_callback, chunksize)

    def _stream(
        self,
        kind: type[IMapIterator],
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        buffersize: int | None,
    ) -> Any:
        self._check_running()
        check_buffersize(buffersize)
        if chunksize is None:
            chunksize = 1
        _check_chunksize(chunksize)
        if chunksize == 1:
            return kind._of(self, PoolTask(func, CALL), iterable, buffersize)
        chunks = kind._of(self, PoolTask(func, EACH), _chunks(iterable, chunksize), buffersize)
        return (item for chunk in chunks for item in chunk)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _check_chunksize(chunksize: int) -> None:
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize}")


def _chunks(iterable: Iterable[T], size: int) -> Iterable[tuple[T, ...]]:
    source = iter(iterable)
    while chunk := tuple(islice(source, size)):
        yield chunk
