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
``_lock`` guards everything and is held for a few instructions only, never while the source is asked for items: that
may take as long as it likes. Whoever asks it has set ``_is_being_read`` before. Items of a source that may be slow are
shared one by one as they come, so that none has to wait for the next.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from time import perf_counter
from typing import Any, Protocol

from tercet.machine import has_gil

__all__ = ["Asker", "Batch", "Course", "Item", "feed_of"]

Item = Any
"""The arguments of one call, in the form that the work says."""

_SLOW_S = 0.0005
_MOST_AT_ONCE = 4096
_FED = 32


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
    is_at_hand
        Whether the source gives every item at once, as that of a list does.
    is_pinned
        Asked when others begin to read: whether only the caller's thread may, which then does so with `feed`.
    """

    def __init__(
        self,
        source: Iterator[Item],
        total: int | None,
        window: int,
        widest: int | None = None,
        *,
        is_at_hand: bool = False,
        is_pinned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.total = total
        self.window = window
        self._widest = window if widest is None else widest
        self.finished = 0
        self.pull_s = 0.0
        self.last_s = 0.0
        self.home_is_open = True
        self._source = source
        self._is_at_hand = is_at_hand
        self._ask_pinned = is_pinned
        self._is_pinned = False
        self._most_at_once = 1
        self._is_being_read = False
        self._ready: deque[Item] = deque()
        self._pulled = 0
        self._handed_out = 0
        self._cursor = 0
        self._out = 0
        self._end: int | None = None
        self._is_read = False
        self._is_closed = False
        self._returned: list[Batch] = []
        self._home: dict[int, Batch] = {}
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
                    elif self._ready:
                        return self._take_ready(want)
                    elif self._can_pull(is_home=False):
                        want_now = self._begin_reading(want, is_home=False)
                        break
                    else:
                        self._room.wait()
            batch = self._pull(want_now)
            if batch is not None:
                return batch

    def take_now(self, want: int) -> Batch | None:
        """Return up to `want` items, or ``None`` when there is nothing at this moment. For the caller's own thread."""
        with self._lock:
            if self._is_closed or not self.home_is_open:
                return None
            if self._returned:
                return self._take_returned(want)
            if self._ready:
                return self._take_ready(want)
            if not self._can_pull(is_home=True):
                return None
            want = self._begin_reading(want, is_home=True)
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

    def feed(self) -> bool:
        """Read a little for the workers, from a source that they must not read. False where there is nothing to do."""
        with self._lock:
            if not self._is_pinned or self.home_is_open or self._is_closed or self._cursor in self._home:
                return False
            if not self._can_pull(is_home=True) or len(self._ready) >= self.window // 2:
                return False
            want = min(self._begin_reading(self.window, is_home=False), _FED)
        if (batch := self._pull(want, is_home=True)) is not None:
            with self._lock:
                self._out -= 1
                self._give_back(batch, 0)
        return True

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
            if (
                self._cursor not in self._home
                and not self._is_over()
                and not self._is_closed
                and not self._calls_home()
            ):
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
        is_pinned = self._ask_pinned()
        with self._lock:
            self.home_is_open = False
            self._is_pinned = is_pinned
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

    def peek(self) -> list[Item]:
        """Return an item that nobody has begun, in a list, without taking it away; nothing where none is at hand."""
        batch = None
        with self._lock:
            must_read = not self._returned and not self._ready and self._can_pull(is_home=True)
            if must_read:
                self._begin_reading(1, is_home=True)
        if must_read and (batch := self._pull(1)) is not None:
            with self._lock:
                self._out -= 1
                self._give_back(batch, 0)
        with self._lock:
            if self._returned:
                return [self._returned[0].items[0]]
            return [self._ready[0]] if self._ready else []

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing can be begun, so that only a caller can change that. Never for a map."""
        return False

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
        return not self._is_read or bool(self._returned or self._ready)

    @property
    def left(self) -> int | None:
        """How many items are not finished; ``None`` when nobody knows."""
        if self._is_read:
            return max(0, (self._pulled if self._end is None else self._end) - self.finished)
        return None if self.total is None else max(0, self.total - self.finished)

    # --- under the lock ---

    def _has_ended(self) -> bool:
        return self._is_read and self._out == 0 and not self._returned and not self._ready

    def _calls_home(self) -> bool:
        """Whether the caller's thread could run something at this moment."""
        if not self.home_is_open:
            return False
        return bool(self._returned or self._ready) or self._can_pull(is_home=True)

    def _can_pull(self, *, is_home: bool) -> bool:
        """Whether there may be something in the source that there is room for, and nobody is reading it."""
        if self._is_read or self._is_being_read or (self._is_pinned and not is_home):
            return False
        return self._room_left(is_home=is_home) > 0

    def _room_left(self, *, is_home: bool) -> int:
        out = self._pulled - self._cursor
        return self._widest if is_home and out == 0 else self.window - out

    def _begin_reading(self, want: int, *, is_home: bool) -> int:
        """Be the one who reads, and return how much to read: little from a source of which little is known."""
        self._is_being_read = True
        most = want if self._is_at_hand else self._most_at_once
        return min(want, most, self._room_left(is_home=is_home))

    def _take_ready(self, want: int) -> Batch:
        return self._hand_out([self._ready.popleft() for _ in range(min(want, len(self._ready)))])

    def _hand_out(self, items: list[Item]) -> Batch:
        batch = Batch(self._handed_out, items)
        self._handed_out += len(items)
        self._out += 1
        return batch

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
        self._ready.clear()

    def _is_over(self) -> bool:
        return self._is_read and self._cursor == self._pulled

    def _tell_if_over(self) -> None:
        if self._has_ended():
            self._news.notify_all()
            self._room.notify_all()
            self._bench.notify_all()

    # --- the source ---

    def _pull(self, want: int, *, is_home: bool = False) -> Batch | None:
        """Read the source, as the one who said so, and return what came."""
        started = perf_counter()
        try:
            items, is_end, error = self._read_at_once(want) if self._is_at_hand else self._read_one_by_one(want)
        except BaseException:
            with self._lock:
                self._end_reading()
            raise
        self.pull_s = perf_counter() - started
        with self._lock:
            if is_home and error is not None and not isinstance(error, Exception):
                self._end_reading()
                raise error
            self._note(len(items), is_end, error)
            batch = self._hand_out(items) if items else None
            if batch is None and self._ready and not self._is_closed:
                batch = self._take_ready(want)
            self._end_reading()
            return batch

    def _read_at_once(self, want: int) -> tuple[list[Item], bool, BaseException | None]:
        items: list[Item] = []
        try:
            items.extend(islice(self._source, want))
        except BaseException as failure:
            return items, True, failure
        return items, len(items) < want, None

    def _read_one_by_one(self, want: int) -> tuple[list[Item], bool, BaseException | None]:
        """Read a source that may be slow: what has come, others may take while the next is waited for."""
        started = perf_counter()
        for count in range(want):
            try:
                item = next(self._source)
            except StopIteration:
                return [], True, None
            except BaseException as failure:
                return [], True, failure
            is_slow = perf_counter() - started > _SLOW_S * (count + 1)
            with self._lock:
                self._ready.append(item)
                self._pulled += 1
                if count > 0:
                    self._room.notify()
            if is_slow:
                self._most_at_once = 1
                return [], False, None
        self._most_at_once = min(2 * self._most_at_once, _MOST_AT_ONCE)
        return [], False, None

    def _note(self, count: int, is_end: bool, error: BaseException | None) -> None:
        self._pulled += count
        if error is not None:
            broken = Batch(self._pulled, ())
            broken.fail(error)
            self._home[self._pulled] = broken
            self._pulled += 1
        self._is_read = self._is_read or is_end

    def _end_reading(self) -> None:
        self._is_being_read = False
        self._tell_if_over()
        self._room.notify()
        if self.home_is_open or self._is_read:
            self._news.notify_all()
