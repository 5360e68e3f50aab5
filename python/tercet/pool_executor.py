"""The executor behind a `Pool`: its workers, what feeds them, and the thread of its callbacks.

Life cycle
----------
1. `send` gives a task to a worker and returns its future, whatever becomes of it.
2. A *feeder* is whoever still has items to send: a `map` that is being packed, or the thread behind an `imap`. After
   `close` the workers stay until the last feeder has gone.
3. The *clerk* is a thread that starts with the first callback, and calls one after the other. It is asked by the
   futures, in the order in which they end.
4. `terminate` ends the workers, by force where a word is not enough; then the clerk ends, who calls nobody any more.

A pool holds its executor, but nothing here holds a pool: one that is forgotten is collected, and its executor
terminated.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from queue import SimpleQueue
from threading import Thread
from typing import Any

from tercet import _tercet
from tercet.errors import PoolTerminated
from tercet.futures import ALL_COMPLETED, Future
from tercet.parcel import PoolTask
from tercet.process_pool import ProcessPoolExecutor

__all__ = ["AnyFuture", "Clerk", "PoolExecutor", "failed"]

AnyFuture = concurrent.futures.Future[Any]

_GRACE_S = 2.0


class PoolExecutor(ProcessPoolExecutor):
    """A process pool whose workers stay until all feeders have gone."""

    def __init__(
        self,
        processes: int,
        context: BaseContext | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        tasks_per_worker: int | None,
    ) -> None:
        self._tasks_per_worker = tasks_per_worker
        self._changed = threading.Condition()
        self._feeders = 0
        self._is_closed = False
        self.is_terminated = False
        self.clerk = Clerk()
        super().__init__(processes, context, initializer, initargs)
        # A program that ends terminates its pools, and does not wait for them.
        self._lead.is_awaited = False

    def _open(self, limit: int, **hands: Any) -> None:
        # Unlike the executor that people use, a pool may replace workers that it has forked.
        super()._open(limit, **{**hands, "tasks_per_worker": self._tasks_per_worker})

    def start(self) -> None:
        """Start all workers that there may be."""
        # It prepares for a function that needs nothing.
        self._start(len)

    def processes(self) -> list[Any]:
        """Return what stands for the processes that are alive."""
        return list(self._processes.values())

    @property
    def ahead(self) -> int:
        """How many tasks a feeder may send ahead of the workers."""
        return max(32, 4 * self._max_workers)

    def send(self, task: PoolTask, /, *args: Any, **kwargs: Any) -> AnyFuture:
        """Send a task. One that cannot be sent has failed."""
        if self.is_terminated:
            return failed(PoolTerminated())
        try:
            submit: Callable[..., AnyFuture] = self.submit
            return submit(task, *args, **kwargs)
        except BrokenExecutor as error:
            return failed(error)
        except RuntimeError:
            if not self._is_closed:
                raise
            # Between the question whether the pool runs and this, another thread has closed it.
            return failed(self._refusal())

    def _refusal(self) -> Exception:
        return PoolTerminated() if self.is_terminated else ValueError("Pool not running")

    def sent(self, task: PoolTask, source: Iterable[Any]) -> Iterator[AnyFuture]:
        """Send a task for each item; where the items end in an error, that is the end of the tasks as well."""
        try:
            for item in source:
                yield self.send(task, item)
                if self.is_terminated:
                    return
        except Exception as error:
            yield failed(error)

    @contextmanager
    def feeding(self) -> Generator[None]:
        """Keep the workers from leaving meanwhile."""
        self.begin_feeding()
        try:
            yield
        finally:
            self.end_feeding()

    def begin_feeding(self) -> None:
        """Add a feeder."""
        with self._changed:
            if self._is_closed:
                raise ValueError("Pool not running")
            self._feeders += 1

    def end_feeding(self) -> None:
        """Let a feeder go."""
        with self._changed:
            self._feeders -= 1
            is_last = self._is_closed and not self._feeders
            self._changed.notify_all()
        if is_last:
            self._close(False)

    def feed(self, task: PoolTask, source: Iterator[Any], take: Callable[[AnyFuture | None], None]) -> None:
        """Send a task for each item, not too far ahead of the workers, and give the futures away; then nothing."""
        out: deque[AnyFuture] = deque()
        try:
            for future in self.sent(task, source):
                take(future)
                out.append(future)
                if len(out) >= self.ahead:
                    _tercet.wait([out[self.ahead // 2]], None, ALL_COMPLETED)
                    for _ in range(self.ahead // 2):
                        out.popleft()
        finally:
            take(None)
            self.end_feeding()

    def feed_aside(self, *how: Any) -> None:
        """Do as `feed` does, in a thread of its own."""
        self.begin_feeding()
        try:
            Thread(target=self.feed, args=how, name="tercet-feeder", daemon=True).start()
        except BaseException:
            self.end_feeding()
            raise

    def close(self) -> None:
        """Take no more feeders; the workers leave when the last one has gone and all is done."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            is_fed = not self._feeders
        if is_fed and not was_closed:
            self._close(False)

    def terminate(self) -> None:
        """End the workers at once."""
        import signal

        with self._changed:
            self._is_closed = self.is_terminated = True
            self._changed.notify_all()
        self.clerk.is_muted = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._end(number)
            if self._has_left(_GRACE_S):
                break
        self.clerk.leave()

    def join(self) -> None:
        """Wait until all is done, once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_terminated or not self._feeders)
        self._has_left(None)
        self.clerk.leave()

    def _has_left(self, timeout_s: float | None) -> bool:
        leader = self._lead.thread
        if leader is None or leader is threading.current_thread():
            return leader is None
        leader.join(timeout_s)
        return not leader.is_alive()


class Clerk:
    """Calls callbacks, one after the other."""

    def __init__(self) -> None:
        self.is_muted = False
        """Whether callbacks are not called any more: who waits for one learns that it is done."""
        # It may be taken again by a collection in the middle of what it guards.
        self._lock = threading.RLock()
        self._thread: Thread | None = None
        self._calls: SimpleQueue[Callable[[bool], None] | None] = SimpleQueue()
        self._has_left = False

    def begin(self) -> None:
        """Be there for callbacks."""
        with self._lock:
            if self._thread is None and not self._has_left:
                self._thread = Thread(target=self._work, name="tercet-callbacks", daemon=True)
                self._thread.start()

    def ask(self, call: Callable[[bool], None]) -> None:
        """Have something called, in turn; it is told whether callbacks are muted."""
        with self._lock:
            if not self._has_left:
                self._calls.put(call)
                return
        call(True)

    def leave(self) -> None:
        """Do what was asked for, and end."""
        with self._lock:
            self._has_left = True
            self._calls.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call(self.is_muted)
            except BaseException:
                _report()
            del call


def _report() -> None:
    import sys

    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def failed(error: BaseException) -> AnyFuture:
    """Return the future of a task that has failed before it could begin."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
