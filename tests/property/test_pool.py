"""Any sequence of what can be done to a pool ends, and every result is its own task's or the error that says why not.

The pools are forks of this process, which start fastest. Tasks fail, die, or return their number; a pool that hangs
fails the test by its time limit.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import PoolTerminated
from tercet.pool import Pool
from tercet.process_pool import WorkerCrashed

PATIENCE_S = 60

numbers = st.integers(0, 12)
chunks = st.sampled_from([1, 2, 5])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), numbers),
        st.tuples(st.sampled_from(["map", "imap", "imap_unordered", "lazy"]), numbers, chunks, st.booleans()),
        st.tuples(st.just("fetch")),
        st.tuples(st.just("close")),
        st.tuples(st.just("terminate")),
        st.tuples(st.just("kill")),
    ),
    max_size=8,
)


def work(number: int) -> int:
    """Return the number, but for two of them."""
    if number == 7:
        raise LookupError(number)
    if number == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Course:
    """A pool, and what was asked of it."""

    def __init__(self) -> None:
        self.pool = Pool(2, context=multiprocessing.get_context("fork"))
        self.is_running = True
        self.was_terminated = False
        # Whether a worker may have been killed in the middle of any task.
        self.was_killed = False
        self.told: list[Any] = []
        self.owed = 0
        self.results: list[tuple[str, int, Any]] = []

    def do(self, name: str, *how: Any) -> None:
        if name in ("close", "terminate"):
            getattr(self.pool, name)()
            self.is_running = False
            self.was_terminated |= name == "terminate"
        elif name == "kill":
            for process in self.pool._pool[:1]:
                self.was_killed = True
                # One that was killed before may be gone.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        elif name == "fetch":
            self.fetch()
        else:
            result = self.found(lambda: self.ask(name, *how))
            assert self.is_running is not isinstance(result, ValueError)
            if self.is_running:
                self.results.append((name, how[0], result))

    def ask(self, name: str, number: int, chunksize: int = 1, has_length: bool = True) -> Any:
        tell = self.told.append
        if name == "apply":
            return self.pool.apply_async(work, (number,), callback=tell, error_callback=tell)
        items = range(number) if has_length else iter(range(number))
        if name == "map":
            return self.pool.map_async(work, items, chunksize, tell, tell)
        if name == "lazy":
            return self.pool.imap(work, items, chunksize, buffersize=2)
        return getattr(self.pool, name)(work, items, chunksize)

    def fetch(self) -> None:
        for name, number, result in self.results:
            if name == "apply":
                self.check(self.found(lambda result=result: result.get(PATIENCE_S)), number, [number])
                self.owed += 1
            elif name == "map":
                self.check(self.found(lambda result=result: result.get(PATIENCE_S)), list(range(number)), range(number))
                self.owed += 1
            else:
                self.check_stream(name, number, result)
        self.results.clear()

    def check_stream(self, name: str, number: int, results: Any) -> None:
        found = []
        for value in itertools.islice(self.outcomes(results), number + 1):
            if isinstance(value, BaseException):
                self.check(value, None, range(number), name == "lazy")
            else:
                found.append(value)
        assert len(set(found)) == len(found)
        assert set(found) <= set(range(number)) - {7, 11}
        if name != "imap_unordered":
            assert found == sorted(found)

    def outcomes(self, results: Any) -> Any:
        while True:
            value = self.found(lambda: next(results))
            if isinstance(value, StopIteration):
                return
            yield value

    def found(self, act: Any) -> Any:
        try:
            return act()
        except multiprocessing.TimeoutError:
            raise AssertionError("it hangs") from None
        except BaseException as error:
            return error

    def check(self, value: Any, wanted: Any, numbers: Any, is_lazy: bool = False) -> None:
        if isinstance(value, WorkerCrashed):
            assert 11 in numbers or self.was_killed or self.was_terminated
        elif isinstance(value, PoolTerminated):
            assert self.was_terminated
        elif isinstance(value, LookupError):
            assert 7 in numbers
        elif isinstance(value, ValueError):
            assert is_lazy
            assert not self.is_running
        else:
            assert value == wanted

    def end(self) -> None:
        self.fetch()
        assert self.was_terminated or len(self.told) >= self.owed
        self.pool.close()
        self.pool.join()
        self.pool.terminate()
        assert self.pool._pool == []


@settings(deadline=None, max_examples=40)
@given(steps)
def test_any_course_ends(course: list[tuple[Any, ...]]) -> None:
    made = Course()
    try:
        for step in course:
            made.do(*step)
        made.end()
    finally:
        made.pool.terminate()
