"""Worker processes.

They are those of a pool over shared memory, see `tercet.process_pool`: a zygote forks them, and one that dies is
replaced. What they run is in `tercet.seat`: they learn one function when they begin, and are sent its items in batches.
To the pool every seat is a worker; here each has a servant, a thread that takes a batch, sends it, waits for the reply
and gives it back.

How much goes at a time
-----------------------
A trip costs about a tenth of a millisecond, so small tasks travel together: as many as fill a few milliseconds, at
most twice as many as last time, and towards the end no more than a quarter of an even share, so that the last ones
come home together. What history cannot know, the clock decides: a worker that passes twice the time stops between two
items and gives the rest back.
"""

from __future__ import annotations

import signal
import sys
import threading
from _pickle import loads
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tercet import _tercet
from tercet.course import Batch, Course
from tercet.engine import Engine, Entry, Work, mark_worker
from tercet.errors import NotPortable, RemoteTraceback, WorkerDied
from tercet.lead import Lead
from tercet.machine import costs
from tercet.parcel import Sealed, rebuilt, seal
from tercet.seat_starter import SeatStarter
from tercet.source import name_of

if TYPE_CHECKING:
    from tercet.portable import Baggage

__all__ = ["ProcessEngine"]

_TARGET_S = 0.004
_LONGEST_TARGET_S = 0.05
_BYTES_AT_ONCE = 4 << 20
_PATIENCE_S = 2.0
_TRIES = 3
_IN_THE_KERNEL = "hint: the kernel kills the largest process when memory runs out"


class ProcessEngine(Engine):
    """Processes with one or more seats each, one item at a time on each seat.

    Parameters
    ----------
    work
        What to do with every item.
    course
        Where the items come from and the results go.
    baggage
        What the workers have to learn first.
    workers
        How many seats to begin with; `resize` adds more when they are needed.
    seats
        How many of them in each process: more than one where tasks wait so much that processes would be too many.
    item_s
        About how long an item takes.
    """

    model = "processes"

    def __init__(
        self, work: Work, course: Course, *, baggage: Baggage, workers: int, seats: int = 1, item_s: float = 0.001
    ) -> None:
        super().__init__(work, course)
        self._lock = threading.Lock()
        self._servants = 0
        self._ready = 0
        self._refusal: str | None = None
        self._size = _BatchSize(item_s)
        self._began = perf_counter()
        # What the workers send back names the main module as they know it.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        try:
            self._corps: _Corps | None = _Corps(baggage.order, workers, seats)
        except OSError as error:
            self._corps = None
            self._refusal = f"no process can be started: {error}"
            return
        self._add_servants(workers)

    @property
    def is_ready(self) -> bool:
        """Whether a worker has learnt the function and waits for items."""
        return self._ready > 0

    @property
    def refusal(self) -> str | None:
        """Why the workers cannot run the function."""
        return self._refusal

    def resize(self, limit: int) -> None:
        """Let the servants of `limit` seats take items, and start the processes that are missing."""
        self.limit = limit
        self.course.wake()
        self._add_servants(limit)

    def close(self, wait_s: float, *, kills: bool) -> None:
        """End the processes: at once if `kills`, otherwise when they have finished what they run."""
        self.retire()
        if not kills:
            self._join(wait_s)
        with self._lock:
            corps, self._corps = self._corps, None
        if corps is not None:
            corps.close(kills=kills or any(thread.is_alive() for thread in self._threads))
        self._join(wait_s)
        if corps is not None:
            # A servant that had just begun may have been the first to call for processes.
            corps.wait()

    def _add_servants(self, wanted: int) -> None:
        with self._lock:
            corps, missing = self._corps, range(self._servants, wanted)
            if corps is None or not missing:
                return
            self._servants = wanted
        corps._grow(wanted)
        for index in missing:
            self._start_thread(f"tercet-servant-{index}", self._serve, index, corps)

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why
        self.work.told()

    # --- serving one seat ---

    def _serve(self, index: int, corps: _Corps) -> None:
        mark_worker()
        is_served = self._teach(corps)
        while is_served and (batch := self.course.take(self._want(), self, index)) is not None:
            is_served = self._run(corps, batch)
            self.course.give(batch)
            del batch

    def _teach(self, corps: _Corps) -> bool:
        """Wait until a worker has learnt the function. False where it cannot, or there is none."""
        reply = self._ask(corps, seal(None))
        tries = 1
        while isinstance(reply, str) and tries < _TRIES:
            reply = self._ask(corps, seal(None))
            tries += 1
        if reply is None:
            return False
        if isinstance(reply, str):
            self._refuse(f"a worker process ended before its first task: {reply}")
            return False
        if reply[0] == "refused":
            self._refuse(f"a worker process cannot find the function: {reply[1]}")
            return False
        self._count_in(corps)
        return True

    def _count_in(self, corps: _Corps) -> None:
        """Note that one more worker can take items."""
        if corps.refusal is not None:
            self.note(f"no more than {corps.started} workers could be started: {corps.refusal}")
        with self._lock:
            self._ready += 1
            is_first = self._ready == 1
        if is_first:
            costs.started(perf_counter() - self._began)
            self.work.told()

    def _ask(self, corps: _Corps, sealed: Sealed) -> tuple[Any, ...] | str | None:
        """Send a request and return the reply, or how the worker died of it, or ``None`` where there are no workers."""
        try:
            return corps.ask(sealed)
        except WorkerDied as death:
            return str(death)
        except CancelledError:
            pass
        except (BrokenExecutor, RuntimeError) as error:
            if not self.is_retired:
                self._refuse(_why_broken(corps, error))
        return None

    def _want(self) -> int:
        seats = max(1, self.limit)
        count = self._size.next(self.course.left, seats)
        self.course.widen(4 * seats * count)
        return count

    def _run(self, corps: _Corps, batch: Batch) -> bool:
        """Send a batch and fill in what it came to. False where no worker is left."""
        sealed = self._pack(batch)
        if sealed is None:
            return True
        sent = perf_counter()
        reply = self._ask(corps, sealed)
        trip_s = perf_counter() - sent
        if reply is None:
            return False
        if isinstance(reply, str):
            self._mourn(batch, reply)
            return True
        if reply[0] == "unreadable":
            self._keep_or_refuse(batch, f"a worker process could not read it: {reply[1]}")
            return True
        _, results, apart, errors, (wall_s, cpu_s, queued_s, idle_s) = reply
        self._unpack(batch, results, apart, errors)
        self._size.learn(len(results), wall_s, idle_s, sealed.size / max(1, len(batch.items)))
        self.tally.append(Entry(len(results), max(cpu_s, wall_s - queued_s), cpu_s))
        costs.travelled(max(0.0, trip_s - wall_s))
        return True

    def _pack(self, batch: Batch) -> Sealed | None:
        """Pickle the items; what cannot be pickled is run here, and ``None`` says that nothing is left to send."""
        try:
            return self._seal(batch)
        except Exception:
            pass
        for index, item in enumerate(batch.items):
            try:
                seal(item)
            except Exception as error:
                if index == 0:
                    self._keep_or_refuse(batch, f"it cannot be pickled: {error}")
                    return None
                self.course.shorten(batch, index)
                break
        return self._seal(batch)

    def _seal(self, batch: Batch) -> Sealed:
        return seal((2 * self._size.target_s, self.work.stops_at_error, self.work.form, list(batch.items)))

    def _keep_or_refuse(self, batch: Batch, why: str) -> None:
        """Run the first item of a batch in this process, or refuse it, and let others have the rest."""
        self.course.shorten(batch, 1)
        if self.work.is_strict:
            batch.fail(NotPortable(f"a task cannot be sent to a worker process: {why}"))
        else:
            self.note(f"an item was run here: {why}")
            self._run_here(batch)

    def _unpack(
        self, batch: Batch, results: list[Any], apart: dict[int, tuple[Any, Any]], errors: dict[int, tuple[str, Any]]
    ) -> None:
        for index, result in enumerate(results):
            if index in errors:
                self._unpack_error(batch, *errors[index])
                continue
            if index not in apart:
                batch.results.append(result)
                continue
            packed, buffers = apart.pop(index)
            try:
                batch.results.append(loads(packed, buffers=buffers))
            except Exception as error:
                text = f"the result of `{name_of(self.work.fn)}` cannot be unpickled: {type(error).__name__}: {error}"
                batch.fail(NotPortable(text))

    def _unpack_error(self, batch: Batch, kind: str, what: Any) -> None:
        if kind == "raised":
            batch.fail(rebuilt(what, RemoteTraceback(what[3])))
        elif self.work.is_pure:
            self._run_here(batch)
        else:
            error = NotPortable(f"the result of `{name_of(self.work.fn)}`, a `{what[0]}`, cannot be pickled: {what[1]}")
            error.add_note('hint: return plain data, or ask for `model="threads"`')
            batch.fail(error)

    def _mourn(self, batch: Batch, words: str) -> None:
        """Note the death of a worker at every item that it may have begun."""
        how, _, hint = words.partition("\n")
        with self._lock:
            how = how if self._corps is not None else "its end was asked for"
        for _ in batch.items:
            error = WorkerDied(f"a worker process died while it ran `{name_of(self.work.fn)}`: {how}")
            if how.startswith("killed by SIGKILL"):
                error.add_note(hint or _IN_THE_KERNEL)
            batch.fail(error)


def _why_broken(corps: _Corps, error: Exception) -> str:
    if corps.started == 0:
        return f"no process can be started: {corps.refusal or error}"
    return f"worker processes ended before they had learnt the function: {error}"


class _Corps(_tercet.ProcessPool):
    """The pool behind an engine. It runs no calls, but what is sealed for a `tercet.seat.Seat`."""

    def __init__(self, lesson: dict[str, Any], workers: int, seats: int) -> None:
        self._starter = SeatStarter(lesson, seats)
        self._lead = Lead(self._starter)
        # Whoever runs the map ends it.
        self._lead.is_awaited = False
        self._open(
            workers,
            timeout=None,
            retries=0,
            hire=self._starter.hire,
            mourn=self._starter.mourn,
            lead=self._lead,
            tasks_per_worker=None,
            starts_at_once=False,
            breaks_on_crash=False,
            max_rss=None,
        )

    @property
    def started(self) -> int:
        """How many seats were ever opened."""
        return self._starter.started

    @property
    def refusal(self) -> str | None:
        """Why a seat could not be opened, if that has happened."""
        return self._starter.refusal

    def ask(self, sealed: Sealed) -> tuple[Any, ...]:
        """Send something to a seat and return the reply."""
        submit: Callable[..., Future[tuple[Any, ...]]] = self.submit
        return submit(sealed).result()

    def close(self, *, kills: bool) -> None:
        """End the workers: at once, or when they have left by themselves, which they are given a while for."""
        if kills:
            self._end(signal.SIGKILL)
        else:
            self._close(True)
        leader = self._lead.thread
        if leader is not None and not kills:
            leader.join(_PATIENCE_S)
            if leader.is_alive():
                self._end(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is left, once it is closed."""
        leader = self._lead.thread
        if leader is not None:
            leader.join()


class _BatchSize:
    """How many items go to a worker at a time."""

    def __init__(self, item_s: float) -> None:
        self.target_s = _TARGET_S
        self._item_s = max(1e-7, item_s)
        self._item_bytes = 0.0
        self._last = 1
        self._lock = threading.Lock()

    def next(self, left: int | None, seats: int) -> int:
        """Return the size of the next batch, with `left` items to go on `seats` seats."""
        with self._lock:
            count = min(self.target_s / self._item_s, 2.0 * self._last)
            if left is not None:
                count = min(count, left / (4 * seats))
            if self._item_bytes:
                count = min(count, _BYTES_AT_ONCE / self._item_bytes)
            return max(1, int(count))

    def learn(self, count: int, wall_s: float, idle_s: float, item_bytes: float) -> None:
        """Learn from a batch: how long it took, and how long its worker had waited for it."""
        with self._lock:
            self._item_s += 0.3 * (max(1e-7, wall_s / max(1, count)) - self._item_s)
            self._item_bytes = max(item_bytes, 0.9 * self._item_bytes)
            self._last = max(1, count) if wall_s < 2 * self.target_s else max(1, count // 2)
            wanted = min(max(_TARGET_S, 20 * idle_s), _LONGEST_TARGET_S)
            self.target_s += 0.2 * (wanted - self.target_s)
