"""What the asynchronous methods of a `Pool` return.

A result waits for the futures of its tasks. With a callback it waits for a future of its own instead, which the thread
of the callbacks sets when the callback has returned: `get` returns after that, as in the standard library.
"""

from __future__ import annotations

import multiprocessing.pool
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import _RemoteTraceback
from multiprocessing import TimeoutError as NotInTime
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, TypeVar

from tercet import _tercet
from tercet.errors import PoolTerminated
from tercet.futures import ALL_COMPLETED, Future
from tercet.pool_executor import AnyFuture

if TYPE_CHECKING:
    from tercet.pool import Pool

__all__ = ["ApplyResult", "MapResult", "failure"]

T = TypeVar("T")
R = TypeVar("R", bound="ApplyResult[Any]")


class ApplyResult(multiprocessing.pool.ApplyResult[T]):
    """What a call will have come to: `multiprocessing.pool.AsyncResult`.

    Examples
    --------
    >>> from tercet import Pool
    >>> with Pool(1) as pool:
    ...     result = pool.apply_async(pow, (2, 10))
    ...     result.get(), result.ready(), result.successful()
    (1024, True, True)
    """

    _pool: Pool | None
    _futures: list[AnyFuture]
    _awaited: list[AnyFuture]
    _lock: threading.Lock
    _found: tuple[bool, Any] | None

    @classmethod
    def _of(
        cls: type[R],
        pool: Pool,
        futures: list[AnyFuture],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> R:
        self = cls.__new__(cls)
        # A pool is not collected while somebody waits for a result of it.
        self._pool = pool
        self._futures = self._awaited = futures
        self._lock = threading.Lock()
        self._found = None
        if callback or error_callback:
            self._have_told(pool, callback, error_callback)
        return self

    def ready(self) -> bool:
        """Whether it is done, and the callback has returned."""
        return all(future.done() for future in self._awaited)

    def successful(self) -> bool:
        """Whether it came to a result.

        Raises
        ------
        ValueError
            If it is not done.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._outcome()[0]

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is done, or for so many seconds.

        Parameters
        ----------
        timeout
            Seconds; ``None`` sets no limit.
        """
        if self._awaited:
            _tercet.wait(self._awaited, timeout, ALL_COMPLETED)

    def get(self, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise the exception.

        Parameters
        ----------
        timeout
            Seconds to wait at most; ``None`` sets no limit.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not done by then.
        """
        self.wait(timeout)
        if not self.ready():
            raise NotInTime
        is_value, found = self._outcome()
        if is_value:
            value: T = found
            return value
        try:
            raise found
        finally:
            # The exception knows this frame: a circle.
            del found

    def _outcome(self) -> tuple[bool, Any]:
        with self._lock:
            if self._found is None:
                self._found = self._gather()
                # They would hold the results a second time.
                if self._awaited is self._futures:
                    self._awaited = []
                self._futures = []
                self._pool = None
            return self._found

    def _gather(self) -> tuple[bool, Any]:
        (future,) = self._futures
        error = failure(future)
        return (True, future.result()) if error is None else (False, error)

    def _have_told(
        self,
        pool: Pool,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        told: Any = Future()
        clerk = pool._executor.clerk
        clerk.begin()
        self._awaited = [told]

        def tell(is_muted: bool) -> None:
            try:
                is_value, found = self._outcome()
                wanted = callback if is_value else error_callback
                if wanted is not None and not is_muted:
                    wanted(found)
            finally:
                told.set_result(None)

        _when_all_are_done(self._futures, lambda: clerk.ask(tell))


class MapResult(ApplyResult[list[T]], multiprocessing.pool.MapResult):  # type: ignore[type-arg]
    """What the calls of a `map` will have come to."""

    _chunksize: int

    @classmethod
    def _of(  # type: ignore[override]
        cls: type[R],
        pool: Pool,
        futures: list[AnyFuture],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        chunksize: int,
    ) -> R:
        made: Any = super()._of(pool, futures, callback, error_callback)
        made._chunksize = chunksize
        self: R = made
        return self

    @property
    def _number_left(self) -> int:
        """How many chunks are not done, for programs that show it."""
        return sum(not future.done() for future in self._futures)

    def _gather(self) -> tuple[bool, Any]:
        values: list[T] = []
        for future in self._futures:
            error = failure(future)
            if error is not None:
                return False, error
            values += future.result()
        return True, values


def failure(future: AnyFuture) -> BaseException | None:
    """Return the exception of a task that is done, as users of a pool expect it."""
    try:
        error: BaseException | None = future.exception()
    except CancelledError:
        return PoolTerminated()
    if error is not None and type(error.__cause__) is _RemoteTraceback:
        error.__cause__ = RemoteTraceback(error.__cause__.tb)
    return error


def _when_all_are_done(futures: list[AnyFuture], do: Callable[[], None]) -> None:
    left = len(futures)
    lock = threading.Lock()

    def count(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            do()

    if not futures:
        do()
    for future in futures:
        future.add_done_callback(count)
