"""`ThreadPoolExecutor`: the standard library's, on native queues.

What users of the standard library suffer from, and what is done about it here:

- *Waking a thread for every task.* A resting worker is woken only if none is on its way to the queue, and a worker
  that keeps finding tasks keeps the GIL between them, for as long as the interpreter lets it.
- *Tasks that wait for tasks of the same pool.* The worker runs the task it waits for, if nobody has begun it; and
  where a wait could never end, because all workers of the pools involved wait for one another, one more thread works
  until it has ended. Such pools never lock up.
- *Endless inputs of* `map`. ``buffersize=`` bounds how far it runs ahead, on every version of Python.
- *Memory.* What a task was given is gone when it ends, and its result as soon as the caller drops it.
- *The end.* Ctrl-C ends `map`, `Future.result` and `ThreadPoolExecutor.shutdown` at once; with ``daemon=True`` a stuck
  task does not keep the interpreter from ending; what waits when a pool is shut down with ``cancel_futures=True`` is
  settled, so that nobody waits for it in vain.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from types import GenericAlias
from typing import Any, TypeVar

from tercet import _tercet
from tercet.machine import has_gil, processors
from tercet.progress import Callback
from tercet.spread import check_buffersize, map_by_submit

__all__ = ["ThreadPoolExecutor", "before_the_end"]

T = TypeVar("T")

_AT_HAND = (list, tuple, range, str, bytes, dict, set, frozenset)
_LINES_MOST = 64

_threads: set[Thread] = set()
"""The threads to wait for before the interpreter ends."""

_hirers: weakref.WeakSet[_Hirer] = weakref.WeakSet()


class _Thread(Thread):
    """A thread that may be joined while another one is still about to start it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._is_settled = threading.Event()
        self._process = os.getpid()

    def start(self) -> None:
        try:
            super().start()
        finally:
            self._is_settled.set()

    def join(self, timeout: float | None = None) -> None:
        # In a child process nobody is left to start it.
        if os.getpid() != self._process or not self._is_settled.wait(timeout):
            return
        if self.ident is not None:
            super().join(timeout)


def _join_all(threads: set[Thread]) -> None:
    """Wait for threads, and for those that they start on their way out; not for the one that asks."""
    joined = {threading.current_thread()}
    while left := threads.copy() - joined:
        for thread in left:
            thread.join()
        joined |= left


class _Hirer:
    """Starts the threads of one pool, and knows them. It does not know the pool, which may be gone before they are."""

    __slots__ = ("__weakref__", "_count", "initargs", "initializer", "is_daemon", "prefix", "threads")

    def __init__(
        self, prefix: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], *, is_daemon: bool
    ) -> None:
        self.prefix = prefix
        self.initializer = initializer
        self.initargs = initargs
        self.is_daemon = is_daemon
        self.threads: set[Thread] = set()
        self._count = itertools.count()
        _hirers.add(self)

    def __call__(self, work: _tercet.Work) -> None:
        name = f"{self.prefix}_{next(self._count)}"
        thread = _Thread(target=self._serve, name=name, args=(work,), daemon=self.is_daemon or None)
        self.threads.add(thread)
        if not self.is_daemon:
            _threads.add(thread)
        try:
            thread.start()
        except Exception:
            self.threads.discard(thread)
            _threads.discard(thread)
            raise

    def _serve(self, work: _tercet.Work) -> None:
        thread = threading.current_thread()
        try:
            if work(self.initializer, self.initargs):
                self.threads.discard(thread)
        finally:
            _threads.discard(thread)


class ThreadPoolExecutor(_tercet.ThreadPool, concurrent.futures.ThreadPoolExecutor):
    """Threads that run calls: `concurrent.futures.ThreadPoolExecutor`, with the same parameters and behaviour.

    Parameters
    ----------
    max_workers
        How many threads there may be; ``None`` for four more than processors, at most 32.
    thread_name_prefix
        What the names of the threads begin with.
    initializer
        Called in each thread before its first task; if it raises, the pool is broken.
    initargs
        Its arguments.
    context
        ``"copy"`` runs each task in a copy of the context variables of whoever submitted it.
    daemon
        Whether the interpreter may end while tasks run; what has not begun by then is cancelled.
    idle_timeout
        Seconds without a task after which a thread leaves; ``None`` keeps it.

    Raises
    ------
    ValueError
        If `max_workers` is not greater than 0, or `context` or `idle_timeout` is not one of the above.

    Examples
    --------
    >>> with ThreadPoolExecutor(max_workers=4) as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     list(executor.map(abs, [-1, 2, -3])), future.result()
    ([1, 2, 3], 1024)
    """

    _counter = itertools.count().__next__

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        context: str | None = None,
        daemon: bool = False,
        idle_timeout: float | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = min(32, processors() + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if context not in (None, "copy"):
            raise ValueError(f"context must be None or 'copy': {context!r}")
        if idle_timeout is not None and not idle_timeout >= 0:
            raise ValueError(f"idle_timeout must be None or at least 0: {idle_timeout!r}")
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"
        self._limit = max_workers
        self._hirer = _Hirer(self._thread_name_prefix, initializer, tuple(initargs), is_daemon=daemon)
        self._open(
            max_workers,
            self._hirer,
            lines=1 if has_gil() else min(max_workers, _LINES_MOST),
            idle_timeout=idle_timeout,
            copies_context=context == "copy",
            is_daemon=daemon,
        )

    # `submit` is native.

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002 - it is of no effect on threads in the standard library either
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool | Callback | None = None,
    ) -> Iterator[T]:
        """Return an iterator of `fn` applied to the items; every call is a task of its own.

        Parameters
        ----------
        fn
            The function.
        *iterables
            Where its arguments come from; the shortest ends it.
        timeout
            Seconds, counted from this call, after which a missing result is a `TimeoutError`.
        chunksize
            Of no effect on threads.
        buffersize
            How many calls may be under way or done ahead of the results that were taken; ``None`` reads all items now.
        ordered
            Whether the results come in the order of the items; otherwise as they are there.
        progress
            ``True`` for a bar by tqdm or rich where one of them is installed, or a callable that is given the number of
            items done and of all items; shown by whoever asks for the results.

        Raises
        ------
        TypeError, ValueError
            If `buffersize` is not a positive integer.
        TypeError
            If `progress` is neither a boolean nor callable.

        Notes
        -----
        The first exception of a call is raised in its place; what has not begun by then is cancelled, as it is when
        the iterator is closed or dropped after its first result was asked for.

        Examples
        --------
        >>> import itertools
        >>> with ThreadPoolExecutor() as executor:
        ...     squares = executor.map(lambda number: number**2, itertools.count(), buffersize=8)
        ...     [next(squares) for _ in range(3)]
        [0, 1, 4]
        """
        is_changed = type(self).submit is not ThreadPoolExecutor.submit or "submit" in self.__dict__
        # Whoever has changed `submit` means every task to pass through it.
        if is_changed or not ordered or progress is not None:
            return map_by_submit(self.submit, fn, iterables, timeout, buffersize, ordered=ordered, progress=progress)
        check_buffersize(buffersize)
        is_at_hand = all(type(items) in _AT_HAND for items in iterables)
        if len(iterables) == 1:
            (items,) = iterables
            return self._map(fn, items, timeout, buffersize, is_spread=False, is_at_hand=is_at_hand)
        items = zip(*iterables, strict=False)
        return self._map(fn, items, timeout, buffersize, is_spread=True, is_at_hand=is_at_hand)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Parameters
        ----------
        wait
            Whether to return only when all tasks are done and the threads have ended.
        cancel_futures
            Whether to cancel the tasks that have not begun.
        """
        self._close(cancel_futures)
        if wait:
            _join_all(self._threads)

    # --- what programs reach for behind the interface ---
    # To be read: the types of the standard library call them variables.

    @property
    def _max_workers(self) -> int:
        return self._limit

    @_max_workers.setter
    def _max_workers(self, limit: int) -> None:
        self._limit = limit
        self._resize(limit)

    @property
    def _threads(self) -> set[Thread]:  # type: ignore[override]
        return self._hirer.threads

    @property
    def _initializer(self) -> Callable[..., object] | None:  # type: ignore[override]
        return self._hirer.initializer

    @property
    def _initargs(self) -> tuple[Any, ...]:  # type: ignore[override]
        return self._hirer.initargs

    @property
    def _work_queue(self) -> _Waiting:  # type: ignore[override]
        return _Waiting(self)

    __class_getitem__: Any = classmethod(GenericAlias)


class _Waiting:
    """The tasks that wait, for programs that measure the length of the queue."""

    def __init__(self, pool: _tercet.ThreadPool) -> None:
        self._pool = pool

    def qsize(self) -> int:
        """Return how many tasks wait."""
        return self._pool._waiting()

    def empty(self) -> bool:
        """Return whether none waits."""
        return self.qsize() == 0


def before_the_end(act: Callable[[], object]) -> None:
    """Have `act` called when the interpreter ends, while pools still take tasks."""
    # What is registered last is called first, so before the pools are closed.
    threading._register_atexit(act)  # type: ignore[attr-defined]


def _finish() -> None:
    """Let what was submitted be done before the interpreter ends, as the standard library does."""
    _tercet.close_all_pools()
    _join_all(_threads)


def _begin_anew() -> None:
    """In a child process: no thread of the parent is here."""
    _tercet.forget_threads()
    _threads.clear()
    for hirer in _hirers:
        hirer.threads.clear()


# Before `threading` joins all threads, which is before `atexit`: the standard library's own place for this.
threading._register_atexit(_finish)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_begin_anew)
