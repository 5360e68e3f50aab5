"""The far side of a map's processes: what its workers do with a batch of items.

Life cycle
----------
1. A worker begins with one seat, in its main thread. For tasks that mostly wait it has more, each in a thread of its
   own: their descriptors come through a line of its own, and it has as many seats as came.
2. The first seat that settles learns the function, the others wait for that. A function that cannot be found is no end:
   the answer to every batch is why.
3. A worker whose seats have all been told to leave ends. It ends at once if one of them fails.
"""

from __future__ import annotations

import os
import time
from _pickle import PickleBuffer, loads
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from tercet.parcel import Packed, Parcel

__all__ = ["Host", "Seat"]

_SMALL = frozenset((bool, float, int, type(None)))
_SHORT = frozenset((bytes, str))
"""What cannot fail to travel, and so goes in one piece with others like it."""


class Host:
    """What the seats of one worker have in common: the function, learnt once.

    Parameters
    ----------
    zygote, native
        The modules of these names, as they are known here.
    lesson
        What there is to learn: see ``Baggage.order``.
    """

    def __init__(self, zygote: ModuleType, native: ModuleType, lesson: dict[str, Any]) -> None:
        self.parcel = zygote.beside("parcel")
        self.flush = zygote.flush
        self.function: Callable[..., Any] | None = None
        self.refusal: str | None = None
        self._zygote = zygote
        self._native = native
        self._lesson = lesson
        self._lock = allocate_lock()
        self._open = 1
        self._are_gone = allocate_lock()
        self._are_gone.acquire()

    def serve(self, fds: list[int], line: socket | None) -> None:
        """Be at these descriptors, and at those that come through the line, until the program has let go of all."""
        if line is not None:
            start_new_thread(self._hear, (line,))
        self._sit(fds)
        self._are_gone.acquire()

    def settle(self) -> None:
        """Learn the function, unless it is known."""
        with self._lock:
            if self.function is not None or self.refusal is not None:
                return
            try:
                self.function = self._zygote.beside("worker").learn(self._lesson)
            except BaseException as error:
                self.refusal = f"{type(error).__name__}: {error}"
            self._zygote.reseed()

    def settle_thread(self) -> None:
        """Take over what every thread has for itself."""
        if self._lesson["decimal"] is not None:
            import decimal

            decimal.setcontext(loads(self._lesson["decimal"]))

    def _hear(self, line: socket) -> None:
        while (message := self._zygote.receive(line))[0]:
            with self._lock:
                self._open += 1
            start_new_thread(self._sit_aside, (message[1],))

    def _sit_aside(self, fds: list[int]) -> None:
        try:
            self._sit(fds)
        except BaseException:
            self.flush()
            os._exit(1)

    def _sit(self, fds: list[int]) -> None:
        seat = Seat(self)
        self._native.serve(fds, seat.settle, seat.run)
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self._are_gone.release()


class Seat:
    """Runs one batch at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._queue: _RunQueue | None = None
        self._ended = time.perf_counter()

    def settle(self) -> None:
        """Do what comes before the first batch, in the thread of this seat."""
        self._host.settle()
        self._host.settle_thread()
        self._queue = _RunQueue()
        self._ended = time.perf_counter()

    def run(self, parcel: Parcel) -> tuple[bool, Packed]:
        """Run a batch: whether it failed as a whole, and the reply, packed."""
        idle_s = time.perf_counter() - self._ended
        try:
            reply = self._reply(parcel, idle_s)
            self._host.flush()
            packed: Packed = self._host.parcel.pack_plainly(reply)
        except BaseException as error:
            return True, self._host.parcel.pack_error(self._host.parcel.without_first_frame(error))
        finally:
            self._ended = time.perf_counter()
        return False, packed

    def _reply(self, parcel: Parcel, idle_s: float) -> tuple[Any, ...]:
        if self._host.function is None:
            return "refused", self._host.refusal
        try:
            budget_s, stops_at_error, form, items = parcel.rebuild()
        except BaseException as error:
            return "unreadable", f"{type(error).__name__}: {error}"
        del parcel
        assert self._queue is not None
        batch = _Batch(self._host.function, form, self._host.parcel)
        queued = self._queue.waited_s()
        started, cpu_started = time.perf_counter(), time.thread_time()
        for item in items:
            batch.run(item)
            if (batch.errors and stops_at_error) or time.perf_counter() - started > budget_s:
                break
        wall_s, cpu_s = time.perf_counter() - started, time.thread_time() - cpu_started
        times = wall_s, cpu_s, self._queue.waited_s() - queued, idle_s
        return "ran", batch.results, batch.apart, batch.errors, times


class _Batch:
    """What some items came to: small values as they are, others packed each for itself, so that each may fail alone."""

    def __init__(self, function: Callable[..., Any], form: str, parcel: ModuleType) -> None:
        self.results: list[Any] = []
        self.apart: dict[int, tuple[Any, list[PickleBuffer]]] = {}
        self.errors: dict[int, tuple[str, Any]] = {}
        self._function = function
        self._form = form
        self._parcel = parcel

    def run(self, item: Any) -> None:
        """Call the function with one item."""
        try:
            if self._form == "one":
                value = self._function(item)
            elif self._form == "many":
                value = self._function(*item)
            else:
                value = self._function(*item[0], **item[1])
        except BaseException as error:
            self.errors[len(self.results)] = ("raised", self._parcel.describe(self._parcel.without_first_frame(error)))
            self.results.append(None)
            return
        kind = type(value)
        if kind in _SMALL or (kind in _SHORT and len(value) < self._parcel.LARGE):
            self.results.append(value)
        else:
            self._keep_apart(value)

    def _keep_apart(self, value: Any) -> None:
        place = len(self.results)
        self.results.append(None)
        try:
            packed = self._parcel.pack_plainly(value)
        except BaseException as error:
            kind = type(value)
            name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
            self.errors[place] = ("result", (name, f"{type(error).__name__}: {error}"))
            return
        whole, beside = packed if isinstance(packed, tuple) else (packed, [])
        # As a buffer, what is large travels beside the reply.
        body = PickleBuffer(whole) if len(whole) >= self._parcel.LARGE else whole
        self.apart[place] = body, [PickleBuffer(buffer) for buffer in beside]


class _RunQueue:
    """How long this thread was ready to run and had no processor: no fault of its tasks, and no wait of theirs."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def waited_s(self) -> float:
        """Return the seconds so far."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9
