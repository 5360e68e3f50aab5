"""`map` by `submit`: a function spread over many items, each a task with a future of its own.

All executors do it this way, but for the common case of threads, which is native. Results come in the order of the
items or in that in which they are there; whoever asks for them also shows the progress, so that what shows it needs no
lock.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import operator
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from tercet import _tercet
from tercet.futures import Future
from tercet.progress import Callback, Progress, check_progress, open_progress

__all__ = ["check_buffersize", "map_by_submit"]

T = TypeVar("T")

AnyFuture = concurrent.futures.Future[T]


def map_by_submit(
    submit: Callable[..., AnyFuture[Any]],
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
    *,
    chunksize: int = 1,
    ordered: bool = True,
    progress: bool | Callback | None = None,
    together: Callable[..., list[AnyFuture[T]]] | None = None,
) -> Iterator[T]:
    """Return the results of calls that go through `submit`; what is not wanted any more is cancelled.

    Parameters
    ----------
    submit
        Takes a function and its arguments and returns a future.
    fn
        The function.
    iterables
        Where its arguments come from; the shortest ends it.
    timeout
        Seconds, counted from this call, after which a missing result is a `TimeoutError`.
    buffersize
        How many tasks may be under way or done ahead of the results that were taken; ``None`` reads all items now.
    chunksize
        How many calls are one task.
    ordered
        Whether the results come in the order of the items; otherwise as they are there.
    progress
        As `tercet.progress.open_progress` takes it.
    together
        Takes the function and an iterator of arguments and returns futures: a quicker way for the first tasks.
    """
    check_buffersize(buffersize)
    check_progress(progress)
    deadline = None if timeout is None else time.monotonic() + timeout
    total = None if progress is None else _length(iterables)
    if chunksize > 1:
        call: Callable[..., AnyFuture[Any]] = partial(submit, partial(_run_chunk, fn))
        source = _chunks(iterables, chunksize)
    else:
        call = partial(submit, fn)
        source = zip(*iterables, strict=False)
    if ordered and progress is None:
        first = itertools.islice(source, buffersize)
        if together is not None and chunksize == 1:
            futures = deque(together(fn, first))
        else:
            futures = deque(call(*args) for args in first)
        results = _in_order(lambda: (call(*args) for args in itertools.islice(source, 1)), futures, deadline)
    else:
        flow = _Flow(call, source, buffersize, deadline, is_chunked=chunksize > 1)
        results = flow.results(ordered, progress, flow.items if buffersize is None else total)
    return results if chunksize == 1 else _chained(results)


def check_buffersize(buffersize: int | None) -> None:
    """Refuse what cannot be the size of a buffer, in the words of the standard library."""
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def _in_order(
    one_more: Callable[[], Iterable[AnyFuture[T]]], futures: deque[AnyFuture[T]], deadline: float | None
) -> Iterator[T]:
    try:
        while futures:
            futures.extend(one_more())
            # Nothing here holds the result while the caller does something with it.
            yield _taken(futures, deadline)
    finally:
        for future in futures:
            future.cancel()


def _taken(futures: deque[AnyFuture[T]], deadline: float | None) -> T:
    future = futures.popleft()
    try:
        return future.result(_left(deadline))
    finally:
        future.cancel()
        # An exception would keep the future alive, and the future the exception.
        del future


class _Flow(Generic[T]):
    """Tasks under way, each known when it ends: for results in any order, and for whoever counts them."""

    def __init__(
        self,
        call: Callable[..., AnyFuture[T]],
        source: Iterator[tuple[Any, ...]],
        buffersize: int | None,
        deadline: float | None,
        *,
        is_chunked: bool,
    ) -> None:
        self.items = 0
        """How many items were submitted."""
        self._call = call
        self._source = source
        self._deadline = deadline
        self._is_chunked = is_chunked
        self._done = 0
        self._line: deque[AnyFuture[T]] = deque()
        self._sizes: dict[AnyFuture[T], int] = {}
        """How many items each task has that has not been seen to end."""
        self._ended: _tercet.Completions[T] | None = None
        self._submit(buffersize)

    def results(self, ordered: bool, wanted: bool | Callback | None, total: int | None) -> Iterator[T]:
        """Yield the results, and show how many there are."""
        shown: Progress | None = None
        try:
            shown = open_progress(wanted, total)
            self._ended = _tercet.Completions(list(self._line), _left(self._deadline))
            while self._line or self._sizes:
                self._submit(1)
                # Nothing here holds the result while the caller does something with it.
                yield self._first(shown) if ordered else self._any(shown)
        finally:
            for future in self._sizes:
                future.cancel()
            self._sizes.clear()
            self._line.clear()
            if shown is not None:
                shown.close()

    def _submit(self, most: int | None) -> None:
        for args in itertools.islice(self._source, most):
            future = _own(self._call(*args))
            size = len(args[0]) if self._is_chunked else 1
            self.items += size
            self._sizes[future] = size
            self._line.append(future)
            if self._ended is not None:
                self._ended.add(future)

    def _first(self, shown: Progress | None) -> T:
        future = self._line.popleft()
        while future in self._sizes:
            self._next(shown)
        try:
            return future.result()
        finally:
            # An exception would keep the future alive, and the future the exception.
            del future

    def _any(self, shown: Progress | None) -> T:
        self._line.clear()
        future = self._next(shown)
        try:
            return future.result()
        finally:
            del future

    def _next(self, shown: Progress | None) -> AnyFuture[T]:
        """Wait until another task has ended."""
        assert self._ended is not None
        try:
            future = next(self._ended)
        except TimeoutError:
            raise TimeoutError from None
        self._done += self._sizes.pop(future)
        if shown is not None:
            shown.show(self._done)
        return future


def _own(future: AnyFuture[T]) -> AnyFuture[T]:
    """Return a future of ours: the one given, or where `submit` has returned a stranger, one that does as it does."""
    if isinstance(future, _tercet.Future):
        return future
    own: Future[T] = Future()

    def settle(stranger: AnyFuture[T]) -> None:
        if stranger.cancelled():
            own.cancel()
            own.set_running_or_notify_cancel()
        elif own.set_running_or_notify_cancel():
            if (error := stranger.exception()) is not None:
                own.set_exception(error)
            else:
                own.set_result(stranger.result())

    own.add_done_callback(lambda own: future.cancel() if own.cancelled() else None)
    future.add_done_callback(settle)
    return own


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


def _length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """How many items there are, where that is known."""
    known = [hint for iterable in iterables if (hint := operator.length_hint(iterable, -1)) >= 0]
    return min(known) if known else None


def _chunks(iterables: tuple[Iterable[Any], ...], size: int) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Chunks as columns, one for each iterable: to pickle a tuple for each call takes longer than the rest of it."""
    if len(iterables) == 1:
        only = iter(iterables[0])
        return ((column,) for column in iter(lambda: tuple(itertools.islice(only, size)), ()))
    rows = zip(*iterables, strict=False)
    return (tuple(zip(*chunk, strict=True)) for chunk in iter(lambda: tuple(itertools.islice(rows, size)), ()))


def _run_chunk(fn: Callable[..., T], *columns: tuple[Any, ...]) -> list[T]:
    if len(columns) == 1:
        return [fn(value) for value in columns[0]]
    return [fn(*args) for args in zip(*columns, strict=True)]


def _chained(lists: Iterator[Any]) -> Iterator[Any]:
    return itertools.chain.from_iterable(lists)
