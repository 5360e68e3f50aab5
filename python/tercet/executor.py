"""`Executor`: the same choice behind the interface of `concurrent.futures`.

Every function has a *lane* of its own: a queue of calls with a run behind it, which measures the first calls, chooses
an engine and keeps it. An executor whose model was asked for by name has one lane for all functions.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar

from tercet.advice import Advice
from tercet.auto import check_choice
from tercet.course import Batch, Course, Item
from tercet.futures import Future
from tercet.pilot import Wishes
from tercet.progress import Callback
from tercet.pursuit import GRACE_S, Run
from tercet.source import is_coroutine_function, name_of, unwrapped
from tercet.spread import map_by_submit
from tercet.thread_pool import before_the_end
from tercet.worker import apply

__all__ = ["Executor"]

P = ParamSpec("P")
T = TypeVar("T")

_LANES_MOST = 32
_UNBOUNDED = 1 << 60


class Executor(concurrent.futures.Executor):
    """An executor that measures the first calls of each function and picks the engine that fits it.

    Parameters
    ----------
    model
        ``"plain"``, ``"threads"``, ``"processes"`` or ``"event-loop"`` for all functions; ``None`` or ``"auto"``
        chooses.
    max_workers
        How many workers a function may have, or all functions together where `model` is given; ``None`` chooses.
    pure
        ``True`` says that functions may run in another process whatever they look like; ``False`` that they may not.

    Examples
    --------
    >>> with Executor() as executor:
    ...     executor.submit(pow, 2, 10).result()
    1024
    """

    def __init__(self, model: str | None = None, max_workers: int | None = None, *, pure: bool | None = None) -> None:
        if isinstance(max_workers, int) and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._wishes = check_choice(None, model, max_workers, pure)
        self._lanes: dict[object, _Lane] = {}
        self._lock = threading.Lock()
        self._is_shut = False
        _executors.add(self)
        weakref.finalize(self, _finish_behind, self._lanes).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` and return a future for its result."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            lane = self._lane_of(fn)
            lane.put(future, fn, args, kwargs)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool | Callback | None = None,
    ) -> Iterator[T]:
        """Return an iterator of ``fn`` applied to the items.

        Parameters
        ----------
        fn
            The function.
        *iterables
            Where its arguments come from.
        timeout
            Seconds, counted from this call, after which a missing result is a `TimeoutError`.
        chunksize
            Accepted for the sake of the interface; how much is handed over at a time is measured.
        buffersize
            How many calls may be under way ahead of the results that were taken; ``None`` submits all at once.
        ordered
            Whether the results come in the order of the items; otherwise as they are there.
        progress
            ``True`` for a bar by tqdm or rich where one of them is installed, or a callable that is given the number of
            items done and of all items; shown by whoever asks for the results.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        return map_by_submit(self.submit, fn, iterables, timeout, buffersize, ordered=ordered, progress=progress)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Parameters
        ----------
        wait
            Whether to wait until all calls are done and all workers have left.
        cancel_futures
            Whether to cancel the calls that have not begun.
        """
        with self._lock:
            self._is_shut = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.finish(cancels=cancel_futures)
        if wait:
            for lane in lanes:
                lane.join()

    def explain(self, fn: Callable[..., Any] | None = None) -> Advice:
        """Return what was seen and chosen for a function, or for the one that was called most.

        Parameters
        ----------
        fn
            The function; ``None`` for the one that was called most.

        Raises
        ------
        LookupError
            If there was no such call.
        """
        with self._lock:
            lanes = dict(self._lanes)
        if fn is not None:
            found = lanes.get(self._key_of(fn))
            if found is None:
                raise LookupError(f"nothing was submitted with this function yet: {fn!r}")
            return found.advice()
        if not lanes:
            raise LookupError("nothing was submitted yet")
        return max(lanes.values(), key=lambda lane: lane.queue.finished).advice()

    # --- lanes ---

    def _key_of(self, fn: Callable[..., Any]) -> object:
        """What tells functions apart: a function that has a name is itself, anything else is its code."""
        if self._wishes.model is not None:
            return "coroutines" if is_coroutine_function(fn) else "all"
        key: object = fn
        if not _has_name(fn):
            inner = unwrapped(fn)
            key = (type(fn), getattr(inner, "__code__", None) or getattr(inner, "__qualname__", type(inner)))
        return key if key in self._lanes or len(self._lanes) < _LANES_MOST else "others"

    def _lane_of(self, fn: Callable[..., Any]) -> _Lane:
        key = self._key_of(fn)
        lane = self._lanes.get(key)
        if lane is None:
            check_choice(fn, self._wishes.model, None, None)
            # Of functions that have nothing in common, none can stand for the others.
            wishes = self._wishes._replace(pure=False) if key == "others" else self._wishes
            lane = self._lanes[key] = _Lane(fn, wishes, is_common=key is not fn)
        return lane


def _has_name(fn: Callable[..., Any]) -> bool:
    """Whether a callable is found by one name and is the same for every call: no lambda, closure, method or partial."""
    if isinstance(fn, BuiltinFunctionType):
        return fn.__self__ is None or isinstance(fn.__self__, ModuleType)
    return isinstance(fn, FunctionType | type) and "<" not in fn.__qualname__


class _Lane:
    """The calls of one function, or of all, with the run that serves them."""

    def __init__(self, fn: Callable[..., Any], wishes: Wishes, *, is_common: bool) -> None:
        self.queue = _Queue()
        self._is_common = is_common and not is_coroutine_function(fn)
        self._names = {name_of(fn)}
        self._run = Run(
            apply if self._is_common else fn,
            self.queue,
            wishes,
            is_hosted=True,
            form="call",
            stops_at_error=False,
            is_strict=wishes.model == "processes",
            stands_for=fn if self._is_common and wishes.model is None else None,
        )
        self._run.name = name_of(fn)
        self._has_begun = False

    def put(self, future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a call."""
        if self._is_common and len(self._names) < 2:
            self._names.add(name_of(fn))
            self._run.name = "several functions" if len(self._names) > 1 else self._run.name
        self.queue.put(future, ((fn, *args) if self._is_common else args, kwargs))
        if not self._has_begun:
            self._has_begun = True
            self._run.begin()
        elif self._run.pilot.is_asleep:
            self._run.pilot.call()

    def finish(self, *, cancels: bool) -> None:
        """Take no more calls."""
        self.queue.finish(cancels=cancels)
        self._run.pilot.call()

    def join(self) -> None:
        """Wait until every call is done, and end the run."""
        self.queue.wait_until_done()
        self._run.end(GRACE_S, kills=False)

    @property
    def is_ended(self) -> bool:
        """Whether the run behind it has ended."""
        return self._run.is_ended

    def advice(self) -> Advice:
        """What is known of this lane now."""
        return self._run.advice()


class _Queue(Course):
    """Calls that come one by one and whose results go to futures, in any order."""

    def __init__(self) -> None:
        super().__init__(iter(()), None, _UNBOUNDED)
        self._jobs: deque[tuple[Future[Any], Item]] = deque()
        self._futures: dict[int, Future[Any]] = {}
        self._done = threading.Condition(self._lock)

    def put(self, future: Future[Any], item: Item) -> None:
        """Add a call."""
        with self._lock:
            self._jobs.append((future, item))
            self._room.notify()
            if self.home_is_open:
                self._news.notify_all()

    def finish(self, *, cancels: bool) -> None:
        """Expect no more calls, and cancel those that have not begun if `cancels`."""
        with self._lock:
            self._is_read = True
            jobs = list(self._jobs) if cancels else []
            if cancels:
                self._jobs.clear()
            self._tell_if_over()
        for future, _ in jobs:
            future.cancel()
            future.set_running_or_notify_cancel()

    def wait_until_done(self) -> None:
        """Wait until nothing is queued and nothing runs."""
        with self._lock:
            while not self._has_ended():
                self._done.wait()

    def give(self, batch: Batch) -> None:
        """Bring a batch back, and its results to their futures."""
        ran = len(batch.results)
        with self._lock:
            self._out -= 1
            self.last_s = time.perf_counter()
            self._give_back(batch, ran)
            self.finished += ran
            futures = [self._futures.pop(batch.start + index) for index in range(ran)]
        for index, future in enumerate(futures):
            error = batch.errors.get(index)
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(batch.results[index])
        with self._lock:
            self._tell_if_over()

    def fail(self, error: BaseException) -> None:
        """Let every call that has not begun end with an error, and those to come as well."""
        with self._lock:
            jobs = list(self._jobs)
            self._jobs.clear()
        for future, _ in jobs:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def peek(self) -> list[Item]:
        """Return a call that has not begun, in a list, without taking it away."""
        with self._lock:
            return [item for _, item in itertools.islice(self._jobs, 1)]

    @property
    def is_over(self) -> bool:
        """Whether every call is done and none can come."""
        with self._lock:
            return self._has_ended()

    @property
    def has_more(self) -> bool:
        """Whether there are calls that have not begun."""
        return bool(self._jobs or self._returned)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and no call waits."""
        with self._lock:
            return self._out == 0 and not self._jobs and not self._returned

    @property
    def left(self) -> int | None:
        """How many calls are not done; ``None`` while more may come."""
        return len(self._jobs) + len(self._futures) if self._is_read else None

    # --- under the lock ---

    def _can_pull(self, **_: bool) -> bool:
        return bool(self._jobs)

    def _begin_reading(self, want: int, **_: bool) -> int:
        return want

    def _has_ended(self) -> bool:
        return (self._is_read or self._is_closed) and self._out == 0 and not self._returned and not self._jobs

    def _is_over(self) -> bool:
        return self._has_ended()

    def _tell_if_over(self) -> None:
        super()._tell_if_over()
        if self._has_ended():
            self._done.notify_all()

    def _pull(self, want: int, **_: bool) -> Batch | None:
        with self._lock:
            taken = [self._jobs.popleft() for _ in range(min(want, len(self._jobs)))]
            self._out += 1
        jobs = [(future, item) for future, item in taken if future.set_running_or_notify_cancel()]
        with self._lock:
            if not jobs:
                self._out -= 1
                self._tell_if_over()
                return None
            batch = Batch(self._pulled, [item for _, item in jobs])
            self._futures.update((self._pulled + index, future) for index, (future, _) in enumerate(jobs))
            self._pulled += len(jobs)
            return batch


_executors: weakref.WeakSet[Executor] = weakref.WeakSet()
_finishing: set[threading.Thread] = set()


def _finish_behind(lanes: dict[object, _Lane]) -> None:
    """Let the calls of an executor that nobody holds any more be done, and its workers leave."""

    def finish() -> None:
        for lane in lanes.values():
            lane.finish(cancels=False)
        for lane in lanes.values():
            lane.join()
        _finishing.discard(thread)

    if any(not lane.is_ended for lane in lanes.values()):
        thread = threading.Thread(target=finish, name="tercet-finish", daemon=True)
        _finishing.add(thread)
        thread.start()


def _finish_all() -> None:
    """Let what was submitted be done before the interpreter ends, as the standard library's executors do."""
    for executor in list(_executors):
        executor.shutdown()
    for thread in list(_finishing):
        thread.join()


def _begin_anew() -> None:
    """In a child process: what was submitted is done by the parent, whose threads are not here."""
    _executors.clear()
    _finishing.clear()


before_the_end(_finish_all)
os.register_at_fork(after_in_child=_begin_anew)
