"""The course of a map: which items are out, which are back, and what may be asked for next.

A course hands out *batches*, runs of consecutive items, to whoever asks: the caller's own thread, threads, the
servants of worker processes, all at once while one engine follows another. Nothing waits in the queue of an engine,
so changing the engine loses nothing and moves nothing: the old workers stop asking, the new ones begin.

Guarantees
----------
- Every item is handed out once. A batch that is cut short goes back for what was not begun, and only that.
- The source is read by one thread at a time, in order, and never further ahead than `Course.window`.
- Results are collected in the order of the items. The first error ends the course: nothing after it is handed out.

Locking
-------
``_lock`` guards the figures below and is held for a few instructions only. ``_reading`` is held while the source is
asked for items, which may take as long as it likes: whoever collects results never needs it. The order is
``_reading`` before ``_lock``.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import length_hint
from time import perf_counter
from typing import Any, Protocol

__all__ = ["Asker", "Batch", "Course", "Item", "feed_of", "has_gil"]

Item = tuple[Any, ...]
"""The arguments of one call."""


class Asker(Protocol):
    """What a course wants to know of the engine whose worker asks for items."""

    limit: int
    """Workers numbered from here on rest."""
    is_retired: bool
    """Whether no worker of this engine gets anything any more."""


class Batch:
    """Consecutive items that one worker runs in one go, and what came of them.

    The worker fills `results` in order, one entry for each item that it began, and notes errors under the index of
    the item. Items without an entry were not begun.
    """

    __slots__ = ("errors", "feed", "items", "results", "start")

    def __init__(self, start: int, items: Sequence[Item]) -> None:
        self.start = start
        self.items = items
        self.results: list[Any] = []
        self.errors: dict[int, BaseException] = {}
        self.feed: Iterator[Item] | None = None

    def __lt__(self, other: Batch) -> bool:
        return self.start < other.start

    def fail(self, error: BaseException) -> None:
        """Note that the next item ended with `error`."""
        self.errors[len(self.results)] = error
        self.results.append(None)


def feed_of(items: Sequence[Item]) -> Iterator[Item]:
    """Return an iterator that two threads may share, each item going to one of them.

    Under the GIL the iterator of a list is one: it costs nothing. A free-threaded interpreter needs a lock.
    """
    return iter(items) if has_gil() else _LockedFeed(items)


def has_gil() -> bool:
    """Whether the interpreter has a GIL that is on."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class _LockedFeed:
    def __init__(self, items: Sequence[Item]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> _LockedFeed:
        return self

    def __next__(self) -> Item:
        with self._lock:
            return next(self._items)

    def __length_hint__(self) -> int:
        with self._lock:
            return length_hint(self._items)


class Course:
    """Items on their way to workers and results on their way home.

    Parameters
    ----------
    source
        The arguments of each call, in order.
    total
        How many there are, where that is known.
    window
        How many items may be out or waiting to be collected at a time.
    widest
        How far `widen` may go.
    """

    def __init__(self, source: Iterator[Item], total: int | None, window: int, widest: int | None = None) -> None:
        self.total = total
        self.window = window
        self._widest = window if widest is None else widest
        self.finished = 0
        self.pull_s = 0.0
        self.last_s = 0.0
        self.home_is_open = True
        self._source = source
        self._pulled = 0
        self._cursor = 0
        self._out = 0
        self._end: int | None = None
        self._is_read = False
        self._is_closed = False
        self._returned: list[Batch] = []
        self._home: dict[int, Batch] = {}
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._bench = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)

    # --- workers ---

    def take(self, want: int, asker: Asker, index: int) -> Batch | None:
        """Wait for up to `want` items. ``None`` means that there is nothing more for this worker, ever."""
        while True:
            with self._lock:
                while True:
                    if self._is_closed or asker.is_retired or self._has_ended():
                        return None
                    if index >= asker.limit:
                        self._bench.wait()
                    elif self._returned:
                        return self._take_returned(want)
                    elif self._can_pull(is_home=False):
                        break
                    else:
                        self._room.wait()
            batch = self._pull(want)
            if batch is not None:
                return batch

    def take_now(self, want: int) -> Batch | None:
        """Return up to `want` items, or ``None`` when there is nothing at this moment. For the caller's own thread."""
        with self._lock:
            if self._is_closed or not self.home_is_open:
                return None
            if self._returned:
                return self._take_returned(want)
            if not self._can_pull(is_home=True):
                return None
        return self._pull(want, is_home=True)

    def give(self, batch: Batch) -> None:
        """Bring a batch back: what has an entry in its results is finished, the rest was not begun."""
        with self._lock:
            self._out -= 1
            self.last_s = perf_counter()
            ran = len(batch.results)
            self._give_back(batch, ran)
            if ran:
                self.finished += ran
                self._home[batch.start] = batch
            if batch.errors:
                self._stop(batch.start + min(batch.errors))
            batch.items = ()
            if batch.start == self._cursor:
                self._news.notify_all()
            self._tell_if_over()

    def singles(self, batch: Batch) -> list[Batch]:
        """Divide a batch into batches of one item each, which come back one by one."""
        with self._lock:
            self._out += len(batch.items) - 1
            return [Batch(batch.start + index, (item,)) for index, item in enumerate(batch.items)]

    def shorten(self, batch: Batch, count: int) -> None:
        """Keep the first `count` items of a batch and let others have the rest."""
        with self._lock:
            self._give_back(batch, count)

    def begun(self, batch: Batch) -> int:
        """How many items of a batch that runs in the caller's own thread were begun."""
        with self._lock:
            return len(batch.items) - (length_hint(batch.feed) if batch.feed is not None else 0)

    def wake(self) -> None:
        """Let resting workers look again whether they may take something."""
        with self._lock:
            self._bench.notify_all()
            self._room.notify_all()

    # --- the caller ---

    def collect(self) -> tuple[list[Any], BaseException | None]:
        """Return the results that are next in order, as many as there are, and the error that follows them."""
        with self._lock:
            results: list[Any] = []
            error = None
            before = self._cursor
            while error is None and (batch := self._home.pop(self._cursor, None)) is not None:
                self._cursor += len(batch.results)
                if batch.errors:
                    first = min(batch.errors)
                    error = batch.errors[first]
                    del batch.results[first:]
                if results:
                    results += batch.results
                else:
                    results = batch.results
            self._room.notify(self._cursor - before)
            if self._cursor > before and self.home_is_open:
                self._news.notify_all()
            return results, error

    def skip(self, batch: Batch) -> bool:
        """Take a finished batch of the caller's own thread straight to the caller, where it is next in order."""
        with self._lock:
            if batch.start != self._cursor or batch.errors or len(batch.results) != len(batch.items):
                return False
            self._out -= 1
            self.last_s = perf_counter()
            self.finished += len(batch.items)
            self._cursor += len(batch.items)
            self._room.notify(len(batch.items))
            self._tell_if_over()
            return True

    def wait(self, timeout: float | None) -> None:
        """Wait until there is something to collect, or something to run at home, or nothing more to come."""
        with self._lock:
            if self._cursor not in self._home and not self._is_over() and not self._is_closed and not self._calls_home():
                self._news.wait(timeout)

    def wait_home(self) -> bool:
        """Wait until there is something to run at home. False when there never will be."""
        with self._lock:
            while not self._calls_home():
                if self._is_closed or self._has_ended():
                    return False
                self._news.wait()
            return not self._is_closed

    def open_home(self) -> None:
        """Let the caller's thread run items again."""
        with self._lock:
            self.home_is_open = True
            self._news.notify_all()

    def close_home(self, batch: Batch | None) -> None:
        """Let the caller's thread begin nothing more, not even the rest of the batch that it runs."""
        with self._lock:
            self.home_is_open = False
            if batch is not None and batch.feed is not None:
                self._give_back(batch, len(batch.items) - len(list(batch.feed)))

    def fail(self, error: BaseException) -> None:
        """End the course with an error where the caller is."""
        with self._lock:
            broken = Batch(self._cursor, ())
            broken.fail(error)
            self._home[self._cursor] = broken
            self._stop(self._cursor)
            self._news.notify_all()

    def peek(self) -> Item | None:
        """Return an item that nobody has begun, without taking it away; ``None`` where none is at hand."""
        if not self._returned and (batch := self._pull(1, is_home=True)) is not None:
            with self._lock:
                self._out -= 1
                self._give_back(batch, 0)
        with self._lock:
            return self._returned[0].items[0] if self._returned else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing can be begun: only a caller can change that."""
        with self._lock:
            return self._out == 0 and not self._returned and not self._can_pull(is_home=True)

    def close(self) -> None:
        """Hand nothing out any more."""
        with self._lock:
            self._is_closed = True
            self._returned.clear()
            self._room.notify_all()
            self._bench.notify_all()
            self._news.notify_all()

    def widen(self, window: int) -> None:
        """Let more items be out at a time; never fewer, and never more than the caller allowed."""
        with self._lock:
            wider = min(window, self._widest)
            if wider > self.window:
                self.window = wider
                self._room.notify_all()

    # --- figures ---

    @property
    def is_closed(self) -> bool:
        """Whether nothing is handed out any more."""
        return self._is_closed

    @property
    def is_over(self) -> bool:
        """Whether every result has been collected."""
        with self._lock:
            return self._is_over()

    @property
    def has_more(self) -> bool:
        """Whether there may be items that nobody has begun."""
        return not self._is_read or bool(self._returned)

    @property
    def left(self) -> int | None:
        """How many items are not finished; ``None`` when nobody knows."""
        if self._is_read:
            return max(0, (self._pulled if self._end is None else self._end) - self.finished)
        return None if self.total is None else max(0, self.total - self.finished)

    # --- under the lock ---

    def _has_ended(self) -> bool:
        return self._is_read and self._out == 0 and not self._returned

    def _calls_home(self) -> bool:
        """Whether the caller's thread could run something at this moment."""
        if not self.home_is_open:
            return False
        return bool(self._returned) or (self._can_pull(is_home=True) and not self._reading.locked())

    def _can_pull(self, *, is_home: bool) -> bool:
        """Whether there may be something in the source that there is room for."""
        return not self._is_read and self._room_left(is_home=is_home) > 0

    def _room_left(self, *, is_home: bool) -> int:
        out = self._pulled - self._cursor
        return self._widest if is_home and out == 0 else self.window - out

    def _take_returned(self, want: int) -> Batch:
        batch = heapq.heappop(self._returned)
        self._out += 1
        self._give_back(batch, want)
        return batch

    def _give_back(self, batch: Batch, kept: int) -> None:
        rest = batch.items[kept:]
        if not rest:
            return
        batch.items = batch.items[:kept]
        if self._is_closed or (self._end is not None and batch.start + kept >= self._end):
            return
        heapq.heappush(self._returned, Batch(batch.start + kept, rest))
        self._room.notify()
        self._news.notify_all()

    def _stop(self, end: int) -> None:
        """End the course at the item numbered `end`: nothing behind it is of use any more."""
        self._end = end if self._end is None else min(end, self._end)
        self._is_read = True
        self._returned = [batch for batch in self._returned if batch.start < self._end]
        heapq.heapify(self._returned)

    def _is_over(self) -> bool:
        return self._is_read and self._cursor == self._pulled

    def _tell_if_over(self) -> None:
        if self._has_ended():
            self._news.notify_all()
            self._room.notify_all()
            self._bench.notify_all()

    # --- the source ---

    def _pull(self, want: int, *, is_home: bool = False) -> Batch | None:
        """Ask the source for items. At home, results are collected before more is asked: there the window may be wide."""
        if not self._reading.acquire(blocking=not is_home):
            return None
        try:
            want = min(want, self._room_left(is_home=is_home))
            if self._is_read or self._is_closed or want <= 0:
                return None
            items: list[Item] = []
            error: BaseException | None = None
            started = perf_counter()
            try:
                items.extend(islice(self._source, want))
            except BaseException as failure:
                if is_home and not isinstance(failure, Exception):
                    raise
                error = failure
            self.pull_s = perf_counter() - started
            return self._note(items, want, error)
        finally:
            self._reading.release()
            if self.home_is_open:
                with self._lock:
                    self._news.notify_all()

    def _note(self, items: list[Item], want: int, error: BaseException | None) -> Batch | None:
        with self._lock:
            batch = Batch(self._pulled, items)
            self._pulled += len(items)
            if error is not None:
                broken = Batch(self._pulled, ())
                broken.fail(error)
                self._home[self._pulled] = broken
                self._pulled += 1
            self._is_read = self._is_read or error is not None or len(items) < want
            if not items:
                self._tell_if_over()
                self._news.notify_all()
                return None
            self._out += 1
            return batch
