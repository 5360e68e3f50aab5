"""What `Pool.imap` and `Pool.imap_unordered` return.

Futures come in through `_take`, from a feeder or, with a bounded buffer, from whoever asks for the next result. In
order the first of them is waited for; without order each comes again when it is done.
"""

from __future__ import annotations

import multiprocessing.pool
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any, TypeVar

from tercet import _tercet
from tercet.futures import ALL_COMPLETED
from tercet.pool_executor import AnyFuture, failed
from tercet.pool_result import failure

if TYPE_CHECKING:
    from tercet.parcel import PoolTask
    from tercet.pool import Pool
    from tercet.pool_executor import PoolExecutor

__all__ = ["IMapIterator", "IMapUnorderedIterator"]

Self = TypeVar("Self", bound="IMapIterator")


class IMapIterator(multiprocessing.pool.IMapIterator):  # type: ignore[type-arg]  # not generic when it runs
    """The results of `imap`, in order."""

    _pool: Pool | None
    _condition: threading.Condition
    _here: deque[AnyFuture]
    _under_way: int
    _is_fed: bool
    _draw: Callable[[], None]

    @classmethod
    def _of(cls: type[Self], pool: Pool, task: PoolTask, items: Iterable[Any], buffersize: int | None) -> Self:
        self = cls.__new__(cls)
        self._pool = pool
        self._condition = threading.Condition()
        self._here = deque()
        self._under_way = 0
        self._is_fed = False
        self._draw = _no_more
        executor = pool._executor
        if buffersize is not None:
            source = _Source(executor, task, iter(items), self._take)
            source.fill(lambda: self._out() < buffersize)
            self._draw = lambda: source.fill(lambda: self._out() <= buffersize)
        elif type(items) in (list, tuple, range) and len(items) < executor.ahead:  # type: ignore[arg-type]
            executor.begin_feeding()
            executor.feed(task, iter(items), self._take)
        else:
            executor.feed_aside(task, _begun(items), self._take)
        return self

    def __iter__(self: Self) -> Self:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise the exception in its place.

        Parameters
        ----------
        timeout
            Seconds to wait at most; ``None`` sets no limit. A result that comes too late is returned by the next call.

        Raises
        ------
        StopIteration
            If there is none.
        multiprocessing.TimeoutError
            If it is not there by then.
        """
        self._draw()
        future = self._next(None if timeout is None else time.monotonic() + timeout)
        if future is None:
            self._pool = None
            raise StopIteration
        error = failure(future)
        if error is None:
            return future.result()
        try:
            raise error
        finally:
            # The exception knows this frame: a circle.
            del error, future

    __next__ = next  # noqa: A003  # it is what the standard library calls it

    def _next(self, deadline: float | None) -> AnyFuture | None:
        while True:
            with self._condition:
                if not self._condition.wait_for(lambda: self._here or self._is_fed, _left(deadline)):
                    raise NotInTime
                if not self._here:
                    return None
                first = self._here[0]
            _tercet.wait([first], _left(deadline), ALL_COMPLETED)
            if not first.done():
                raise NotInTime
            with self._condition:
                # Another thread may have been quicker.
                if self._here and self._here[0] is first:
                    return self._here.popleft()

    def _out(self) -> int:
        return len(self._here)

    def _take(self, future: AnyFuture | None) -> None:
        with self._condition:
            if future is None:
                self._is_fed = True
            else:
                self._here.append(future)
            self._condition.notify_all()


class IMapUnorderedIterator(IMapIterator, multiprocessing.pool.IMapUnorderedIterator):  # type: ignore[type-arg]
    """The results of `imap_unordered`, as they come."""

    def _next(self, deadline: float | None) -> AnyFuture | None:
        with self._condition:
            while not self._here:
                if self._is_fed and not self._under_way:
                    return None
                if not self._condition.wait(_left(deadline)) and not self._here:
                    raise NotInTime
            return self._here.popleft()

    def _out(self) -> int:
        return len(self._here) + self._under_way

    def _take(self, future: AnyFuture | None) -> None:
        if future is None:
            super()._take(None)
            return
        with self._condition:
            self._under_way += 1
        future.add_done_callback(self._arrive)

    def _arrive(self, future: Any) -> None:
        with self._condition:
            self._under_way -= 1
            self._here.append(future)
            self._condition.notify_all()


class _Source:
    """Items that are drawn when there is room for their results."""

    def __init__(
        self,
        executor: PoolExecutor,
        task: PoolTask,
        items: Iterator[Any],
        take: Callable[[AnyFuture | None], None],
    ) -> None:
        self._executor = executor
        self._futures = executor.sent(task, items)
        self._take = take
        self._lock = threading.Lock()
        self._is_dry = False

    def fill(self, has_room: Callable[[], bool]) -> None:
        """Draw items and send their tasks, while there is room."""
        if not self._lock.acquire(blocking=False):
            # Another thread draws, and whoever waits for a result will hear of it.
            return
        try:
            while not self._is_dry and has_room():
                future = self._draw()
                self._is_dry = future is None
                self._take(future)
        finally:
            self._lock.release()

    def _draw(self) -> AnyFuture | None:
        try:
            self._executor.begin_feeding()
        except ValueError as error:
            # The error is the last result.
            self._take(failed(error))
            return None
        try:
            return next(self._futures, None)
        finally:
            self._executor.end_feeding()


def _begun(items: Iterable[Any]) -> Iterator[Any]:
    """Ask for the iterator where its errors are expected."""
    yield from items


def _no_more() -> None: ...


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
