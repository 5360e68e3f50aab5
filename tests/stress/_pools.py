"""The pools that meet the same faults, behind one face.

A face runs calls and says of each what came of it; those who have no call for a single task fail or end together. It
imports its library when it is made, so that an interpreter needs only what it is asked for.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Call = tuple[Any, ...]
"""A function and its arguments."""


@dataclass
class Outcome:
    """What came of one call: a value, an error, or nothing in time."""

    value: Any = None
    error: BaseException | None = None
    hangs: bool = False


class Face:
    """A pool. `start` names a start method, for those that have a choice."""

    name = ""

    def __init__(self, workers: int, start: str) -> None:
        raise NotImplementedError

    def run(self, calls: Iterable[Call], patience_s: float) -> list[Outcome]:
        """Run the calls, all at once, and wait for all of them."""
        until = time.monotonic() + patience_s
        return [_outcome(handle, until) for handle in [self._begin(call) for call in calls]]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yield results, in the way of this pool that keeps within bounds, if it has one."""
        raise NotImplementedError

    def limited(self, call: Call, limit_s: float) -> Outcome:
        """Run a call that may take so long, in the way of this pool that ends it, if it has one."""
        return _outcome(self._begin(call), time.monotonic() + limit_s)

    def end(self) -> None:
        """Shut it down, waiting for its processes."""

    def _begin(self, call: Call) -> Callable[[float], Any]:
        """Submit a call and return what waits for its result, at most for so long."""
        raise NotImplementedError


def _outcome(handle: Callable[[float], Any], until: float) -> Outcome:
    try:
        return Outcome(value=handle(max(0.0, until - time.monotonic())))
    except (TimeoutError, concurrent.futures.TimeoutError, multiprocessing.TimeoutError) as error:
        return Outcome(error=error, hangs=True)
    except BaseException as error:
        return Outcome(error=error)


def _failed(error: BaseException) -> Callable[[float], Any]:
    def handle(_: float) -> Any:
        raise error

    return handle


class Futures(Face):
    """Whatever has the face of `concurrent.futures`."""

    pool: Any

    def _begin(self, call: Call) -> Callable[[float], Any]:
        try:
            future = self.pool.submit(*call)
        except BaseException as error:
            return _failed(error)
        result: Callable[[float], Any] = future.result
        return result

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        found: Iterator[Any] = self.pool.map(fn, items)
        return found

    def end(self) -> None:
        self.pool.shutdown()


class Tercet(Futures):
    name = "tercet"

    def __init__(self, workers: int, start: str) -> None:
        import tercet

        self.pool = tercet.ProcessPoolExecutor(workers, context(start))

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        found: Iterator[Any] = self.pool.map(fn, items, buffersize=16)
        return found

    def limited(self, call: Call, limit_s: float) -> Outcome:
        result = self.pool.options(timeout=limit_s).submit(*call).result
        return _outcome(result, time.monotonic() + 100 * limit_s)


class Stdlib(Futures):
    name = "stdlib"

    def __init__(self, workers: int, start: str) -> None:
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, context(start))


class Multiprocessing(Face):
    name = "mp.Pool"

    def __init__(self, workers: int, start: str) -> None:
        self.pool = (context(start) or multiprocessing.get_context()).Pool(workers)

    def _begin(self, call: Call) -> Callable[[float], Any]:
        try:
            return self.pool.apply_async(call[0], call[1:]).get
        except BaseException as error:
            return _failed(error)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return self.pool.imap(fn, items)

    def end(self) -> None:
        self.pool.close()
        self.pool.join()


class Loky(Futures):
    """It has a start method of its own."""

    name = "loky"

    def __init__(self, workers: int, start: str) -> None:
        import loky

        self.pool = loky.ProcessPoolExecutor(workers)


class Pebble(Face):
    name = "pebble"

    def __init__(self, workers: int, start: str) -> None:
        import pebble

        self.pool = pebble.ProcessPool(max_workers=workers, context=context(start) or multiprocessing)

    def _begin(self, call: Call) -> Callable[[float], Any]:
        return self._schedule(call, None)

    def _schedule(self, call: Call, limit_s: float | None) -> Callable[[float], Any]:
        try:
            result: Callable[[float], Any] = self.pool.schedule(call[0], args=call[1:], timeout=limit_s).result
        except BaseException as error:
            return _failed(error)
        return result

    def limited(self, call: Call, limit_s: float) -> Outcome:
        return _outcome(self._schedule(call, limit_s), time.monotonic() + 10 * limit_s)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        found: Iterator[Any] = self.pool.map(fn, items).result()
        return found

    def end(self) -> None:
        self.pool.close()
        self.pool.join()


class Joined(Face):
    """A pool whose calls succeed or fail together: one that has no call for a single task."""

    def run(self, calls: Iterable[Call], patience_s: float) -> list[Outcome]:
        listed = list(calls)
        found: list[Outcome] = []

        def work() -> None:
            try:
                found.extend(Outcome(value=value) for value in self._run_all(listed))
            except BaseException as error:
                found[:] = [Outcome(error=error) for _ in listed]

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(patience_s)
        if thread.is_alive():
            return [Outcome(error=TimeoutError(), hangs=True) for _ in listed]
        # More or fewer results than calls: none of them can be told to be right.
        return found if len(found) == len(listed) else [Outcome(value=found) for _ in listed]

    def limited(self, call: Call, limit_s: float) -> Outcome:
        return self.run([call], limit_s)[0]

    def _run_all(self, calls: list[Call]) -> Iterable[Any]:
        raise NotImplementedError


class Joblib(Joined):
    """It has a start method of its own."""

    name = "joblib"

    def __init__(self, workers: int, start: str) -> None:
        import joblib

        self.joblib = joblib
        self.workers = workers
        self.pool = joblib.Parallel(n_jobs=workers, batch_size=1).__enter__()

    def limited(self, call: Call, limit_s: float) -> Outcome:
        pool = self.joblib.Parallel(n_jobs=self.workers + 1, timeout=limit_s)
        return _outcome(lambda _: pool(self.joblib.delayed(it[0])(*it[1:]) for it in (call, call)), 0)

    def _run_all(self, calls: list[Call]) -> Iterable[Any]:
        found: Iterable[Any] = self.pool(self.joblib.delayed(call[0])(*call[1:]) for call in calls)
        return found

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        pool = self.joblib.Parallel(n_jobs=self.workers, batch_size=1, return_as="generator")
        found: Iterator[Any] = pool(self.joblib.delayed(fn)(item) for item in items)
        return found

    def end(self) -> None:
        self.pool.__exit__(None, None, None)


class Mpire(Face):
    name = "mpire"

    def __init__(self, workers: int, start: str) -> None:
        import mpire

        self.pool = mpire.WorkerPool(workers, start_method="fork" if start == "zygote" else start)

    def _begin(self, call: Call) -> Callable[[float], Any]:
        try:
            result: Callable[[float], Any] = self.pool.apply_async(call[0], call[1:]).get
        except BaseException as error:
            return _failed(error)
        return result

    def limited(self, call: Call, limit_s: float) -> Outcome:
        handle = self.pool.apply_async(call[0], call[1:], task_timeout=limit_s)
        return _outcome(handle.get, time.monotonic() + 10 * limit_s)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        found: Iterator[Any] = self.pool.imap(fn, items, iterable_len=1_000_000, chunk_size=1)
        return found

    def end(self) -> None:
        self.pool.stop_and_join()


POOLS: dict[str, type[Face]] = {
    kind.name: kind for kind in (Tercet, Stdlib, Multiprocessing, Loky, Pebble, Joblib, Mpire)
}


def context(start: str) -> Any:
    """Return a context of `multiprocessing`; `zygote` is what a pool does by itself."""
    return None if start == "zygote" else multiprocessing.get_context(start)
