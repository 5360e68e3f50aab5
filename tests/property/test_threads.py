"""Any interleaving of what can be done to futures and pools, with the standard library as the oracle.

A future by hand is driven by one thread, step by step. In a pool the tasks stand at gates: a task begins, says so and
waits until the program lets it go, so that each step has one outcome, whatever the machine does meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import tercet

PATIENCE_S = 60
STATES = ["PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"]

logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())
logging.getLogger("concurrent.futures").propagate = False


class Odd(Exception): ...


def told(act: Callable[[], Any], future: Any) -> Any:
    """What an act came to, without addresses."""

    def plain(value: Any) -> str:
        text = repr(value) if not isinstance(value, BaseException) else f"{type(value).__name__}{value.args}"
        return text.replace(hex(id(future)), "AT").replace(str(id(future)), "ID")

    try:
        return plain(act())
    except BaseException as error:
        return "raised", plain(error), plain(error.__context__)


class ByHand:
    """One future of a kind, and everything that has been seen of it."""

    def __init__(self, kind: type[Any]) -> None:
        self.future = kind()
        self.trace: list[Any] = []
        self.count = 0

    def do(self, word: str) -> None:
        self.trace.append((word, told(lambda: self._act(word), self.future), told(lambda: self.look(), self.future)))

    def look(self) -> Any:
        future = self.future
        return future, future._state, future.done(), future.running(), future.cancelled(), future._result

    def _act(self, word: str) -> Any:
        future = self.future
        name, _, how = word.partition(" ")
        if name == "callback":
            self.count += 1
            return future.add_done_callback(self._callback(self.count, how))
        if name == "expose":
            with future._condition:
                return len(future._waiters)
        if name == "state":
            future._state = how
            return None
        if name == "in":
            try:
                raise Odd("before")
            except Odd:
                return self._act(how)
        if name in ("wait", "as_completed"):
            place = tercet if isinstance(future, tercet.Future) else concurrent.futures
            if name == "wait":
                found = place.wait([future], 0, how)
                return len(found.done), len(found.not_done)
            return len(list(place.as_completed([future], 0)))
        arguments = {"set_result": [5], "set_exception": [Odd("set")], "result": [0], "exception": [0]}
        return getattr(future, name)(*arguments.get(name, []))

    def _callback(self, number: int, how: str) -> Callable[[Any], Any]:
        def callback(future: Any) -> None:
            self.trace.append((number, future is self.future, future._state))
            if how == "raises":
                raise Odd("callback")
            if how == "adds":
                future.add_done_callback(self._callback(-number, ""))
            if how == "cancels":
                self.trace.append(future.cancel())
            if how == "sets":
                self.trace.append(told(lambda: future.set_result(6), future))
            if how == "ends":
                raise SystemExit(4)

        return callback


BASIC = ["cancel", "set_running_or_notify_cancel", "set_result", "set_exception", "result", "exception", "as_completed"]
WORDS = [
    *BASIC,
    *(f"in {word}" for word in BASIC),
    "expose",
    *(f"wait {when}" for when in ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")),
    *(f"callback {how}".strip() for how in ("", "raises", "adds", "cancels", "sets", "ends")),
]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_a_future_by_hand_is_as_the_other(words: list[str]) -> None:
    ours, theirs = ByHand(tercet.Future), ByHand(concurrent.futures.Future)
    for word in words:
        ours.do(word)
        theirs.do(word)
    assert ours.trace == theirs.trace


@given(st.sampled_from(STATES), st.lists(st.sampled_from(WORDS), max_size=8))
def test_even_when_its_state_was_written_to(state: str, words: list[str]) -> None:
    test_a_future_by_hand_is_as_the_other.hypothesis.inner_test([f"state {state}", *words])  # type: ignore[attr-defined]


class Gated:
    """A pool of one worker whose tasks stand at gates."""

    def __init__(self, kind: type[Any]) -> None:
        self.place = tercet if kind is tercet.ThreadPoolExecutor else concurrent.futures
        self.pool = kind(1)
        self.futures: list[Any] = []
        self.begun: list[threading.Event] = []
        self.gates: list[threading.Event] = []
        self.trace: list[Any] = []
        self.running: int | None = None
        self.is_closed = False

    def submit(self, how: str) -> None:
        number, begun, gate = len(self.futures), threading.Event(), threading.Event()

        def task() -> int:
            begun.set()
            assert gate.wait(PATIENCE_S)
            if how == "fails":
                raise Odd(number)
            return number

        try:
            self.futures.append(self.pool.submit(task))
        except RuntimeError as error:
            self.trace.append(str(error))
            return
        self.begun.append(begun)
        self.gates.append(gate)
        self._settle()

    def release(self) -> None:
        """Let the running task end, and wait until the next one has begun."""
        if self.running is not None:
            self.gates[self.running].set()
            concurrent.futures.wait([self.futures[self.running]], PATIENCE_S)
            self.running = None
            self._settle()

    def cancel(self, number: int) -> None:
        if self.futures:
            self.trace.append(self.futures[number % len(self.futures)].cancel())

    def callback(self, number: int, how: str) -> None:
        def callback(future: Any) -> None:
            # Not the state: what is cancelled at shutdown is settled at once, where the standard library leaves it.
            self.trace.append(("called", self.futures.index(future), future.done(), future.cancelled()))
            if how == "raises":
                raise Odd("callback")
            if how == "cancels":
                self.trace.append([other.cancel() for other in self.futures])

        if self.futures:
            self.futures[number % len(self.futures)].add_done_callback(callback)

    def ask(self, number: int) -> None:
        if self.futures:
            future = self.futures[number % len(self.futures)]
            self.trace.append(told(lambda: future.result(0), future))

    def wait(self, when: str) -> None:
        found = self.place.wait(self.futures, 0, when)
        self.trace.append(sorted(self.futures.index(future) for future in found.done if future._state == "FINISHED"))

    def expose(self, number: int) -> None:
        if self.futures:
            concurrent.futures.wait([self.futures[number % len(self.futures)]], 0)

    def close(self, cancels: bool) -> None:
        self.is_closed = True
        self.pool.shutdown(wait=False, cancel_futures=cancels)

    def finish(self) -> None:
        while self.running is not None:
            self.release()
        self.pool.shutdown()
        self.trace.append([told(future.exception if future.done() else future.done, future) for future in self.futures])
        self.trace.append([(future.done(), future.cancelled()) for future in self.futures])

    def _settle(self) -> None:
        """Wait until the one worker has the first task that is not cancelled."""
        if self.running is None:
            todo = [number for number, future in enumerate(self.futures) if not future.done()]
            if todo:
                self.running = todo[0]
                assert self.begun[self.running].wait(PATIENCE_S)


number = st.integers(0, 5)
ACTS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(["succeeds", "fails"])),
    st.tuples(st.just("release")),
    st.tuples(st.just("cancel"), number),
    st.tuples(st.just("callback"), number, st.sampled_from(["", "raises", "cancels"])),
    st.tuples(st.just("ask"), number),
    st.tuples(st.just("expose"), number),
    st.tuples(st.just("wait"), st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])),
    st.tuples(st.just("close"), st.booleans()),
)


@settings(max_examples=100)
@given(st.lists(ACTS, max_size=16))
def test_a_pool_of_one_is_as_the_other(acts: list[tuple[Any, ...]]) -> None:
    ours, theirs = Gated(tercet.ThreadPoolExecutor), Gated(concurrent.futures.ThreadPoolExecutor)
    for name, *arguments in acts:
        for gated in (ours, theirs):
            getattr(gated, name)(*arguments)
    ours.finish()
    theirs.finish()
    assert ours.trace == theirs.trace


@given(
    st.lists(st.integers(-3, 3), max_size=30), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 5)), st.booleans()
)
def test_map_is_the_plain_loop(items: list[int], workers: int, buffersize: int | None, lazy: bool) -> None:
    def collect(results: Any) -> list[Any]:
        found: list[Any] = []
        try:
            for result in results:
                found.append(result)
        except ZeroDivisionError as error:
            found.append(str(error))
        return found

    with tercet.ThreadPoolExecutor(workers) as pool:
        given_items = iter(items) if lazy else items
        found = collect(pool.map(lambda x: 6 // x, given_items, buffersize=buffersize))
    assert found == collect(6 // item for item in items)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 3), st.sampled_from(["result", "map", "wait"])
)
def test_tasks_that_wait_for_tasks_end(widths: list[int], workers: int, way: str) -> None:
    def grow(depth: int) -> int:
        if depth == len(widths):
            return 1
        if way == "map":
            return 1 + sum(pool.map(grow, [depth + 1] * widths[depth]))
        futures = [pool.submit(grow, depth + 1) for _ in range(widths[depth])]
        if way == "wait":
            return 1 + sum(future.result() for future in tercet.as_completed(futures))
        return 1 + sum(future.result() for future in futures)

    def count(depth: int) -> int:
        return 1 if depth == len(widths) else 1 + widths[depth] * count(depth + 1)

    with tercet.ThreadPoolExecutor(workers) as pool:
        assert pool.submit(grow, 0).result(PATIENCE_S) == count(0)
