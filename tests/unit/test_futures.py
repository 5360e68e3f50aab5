"""`tercet.futures`: a native future that nobody can tell from one of the standard library.

What is said of a future by hand is said of both kinds: where they differ, ours is wrong.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import gc
import logging
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tercet

PATIENCE_S = 60
KINDS = [tercet.Future, concurrent.futures.Future]


@pytest.fixture(params=KINDS, ids=["tercet", "stdlib"])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """The class of a future."""
    return request.param


def done_with(value: Any, kind: type[Any] = tercet.Future) -> Any:
    future = kind()
    future.set_result(value)
    return future


def failed_with(error: BaseException, kind: type[Any] = tercet.Future) -> Any:
    future = kind()
    future.set_exception(error)
    return future


def settled_cancelled(kind: type[Any] = tercet.Future) -> Any:
    future = kind()
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


def in_thread(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


class Asleep:
    """Tells when a thread has entered a wait for one of these futures: the future then has a waiter more."""

    @staticmethod
    def until(thread: threading.Thread) -> None:
        """Wait until the thread sleeps in the kernel; that is seen, not assumed."""
        path = f"/proc/self/task/{thread.native_id}/syscall"
        while True:
            with open(path) as file:
                if file.read().split()[0] == "202":
                    return


# --- a future by hand ---


def test_it_is_a_future_of_the_standard_library() -> None:
    assert isinstance(tercet.Future(), concurrent.futures.Future)
    assert issubclass(tercet.Future, concurrent.futures.Future)
    assert tercet.Future[int] is not None


def test_a_result_is_set_once(kind: type[Any]) -> None:
    future = kind()
    assert (future.done(), future.running(), future.cancelled()) == (False, False, False)
    future.set_result(42)
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert (future.result(), future.result(0), future.exception()) == (42, 42, None)
    for again in (lambda: future.set_result(1), lambda: future.set_exception(OSError())):
        with pytest.raises(concurrent.futures.InvalidStateError) as caught:
            again()
        assert str(caught.value) == f"FINISHED: {future!r}"
    assert future.result() == 42


def test_an_exception_is_raised_as_it_is(kind: type[Any]) -> None:
    error = LookupError("here")
    future = failed_with(error, kind)
    assert future.exception() is error
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            future.result()
        assert caught.value is error


def test_an_exception_may_be_a_class_or_none_or_nonsense(kind: type[Any]) -> None:
    future = failed_with(KeyError, kind)  # type: ignore[arg-type]
    assert future.exception() is KeyError
    with pytest.raises(KeyError):
        future.result()
    nothing = failed_with(None, kind)  # type: ignore[arg-type]
    assert (nothing.result(), nothing.exception()) == (None, None)
    with pytest.raises(TypeError, match="exceptions must derive from BaseException"):
        failed_with("words", kind).result()  # type: ignore[arg-type]


def test_errors_remember_what_was_being_handled(kind: type[Any]) -> None:
    def while_handling(ask: Callable[[], Any]) -> None:
        try:
            raise OSError("first")
        except OSError:
            ask()

    asks: list[tuple[type[BaseException], Callable[[], Any]]] = [
        (LookupError, failed_with(LookupError(), kind).result),
        (concurrent.futures.CancelledError, settled_cancelled(kind).result),
        (concurrent.futures.CancelledError, settled_cancelled(kind).exception),
        (concurrent.futures.InvalidStateError, lambda: done_with(1, kind).set_result(2)),
    ]
    for expected, ask in asks:
        with pytest.raises(expected) as caught:
            while_handling(ask)
        assert isinstance(caught.value.__context__, OSError), expected


def test_cancelled_it_takes_two_steps(kind: type[Any]) -> None:
    future = kind()
    assert future.cancel()
    assert future.cancel()
    assert (future.cancelled(), future.done(), future._state) == (True, True, "CANCELLED")
    assert not future.set_running_or_notify_cancel()
    assert future._state == "CANCELLED_AND_NOTIFIED"
    assert future.cancel()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError) as caught:
            ask()
        assert caught.value.args == ()
    with pytest.raises(concurrent.futures.InvalidStateError) as refused:
        future.set_result(1)
    assert str(refused.value) == f"CANCELLED_AND_NOTIFIED: {future!r}"


def test_what_runs_or_is_done_cannot_be_cancelled(kind: type[Any]) -> None:
    future = kind()
    assert future.set_running_or_notify_cancel()
    assert future.running()
    assert not future.cancel()
    future.set_result(1)
    assert not future.cancel()
    assert future.result() == 1


def test_beginning_twice_is_a_fault(kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    future = kind()
    future.set_running_or_notify_cancel()
    with pytest.raises(RuntimeError, match=r"^Future in unexpected state$"):
        future.set_running_or_notify_cancel()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("concurrent.futures", logging.CRITICAL)
    assert record.getMessage() == f"Future {id(future)} in unexpected state: RUNNING"


def test_a_time_that_is_up(kind: type[Any]) -> None:
    for timeout in (0, -1, 0.001):
        for ask in (kind().result, kind().exception):
            with pytest.raises(TimeoutError) as caught:
                ask(timeout)
            assert type(caught.value) is concurrent.futures.TimeoutError
            assert caught.value.args == ()
    assert done_with(1, kind).result(timeout=0) == 1


def test_its_looks(kind: type[Any]) -> None:
    def look(future: Any) -> str:
        return repr(future).replace(hex(id(future)), "AT")

    begun = kind()
    begun.set_running_or_notify_cancel()
    assert look(kind()) == "<Future at AT state=pending>"
    assert look(begun) == "<Future at AT state=running>"
    assert look(settled_cancelled(kind)) == "<Future at AT state=cancelled>"
    assert look(done_with(1, kind)) == "<Future at AT state=finished returned int>"
    assert look(failed_with(OSError(), kind)) == "<Future at AT state=finished raised OSError>"

    class Named(kind): ...

    assert look(Named()) == "<Named at AT state=pending>"


def test_it_is_neither_copied_nor_pickled(kind: type[Any]) -> None:
    for act in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            act(kind())


def test_a_subclass_has_its_own_way(kind: type[Any]) -> None:
    class Noisy(kind):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def set_result(self, result: Any) -> None:
            super().set_result(f"{self.name}: {result}")

    future = Noisy("n")
    future.set_result(1)
    assert future.result() == "n: 1"
    assert weakref.ref(future)() is future
    assert {future: 1}[future] == 1


def test_the_insides_that_tests_write_to(kind: type[Any]) -> None:
    future = kind()
    with future._condition:
        future._state = "FINISHED"
        future._result = 5
    assert future.result() == 5
    other = kind()
    other._state, other._exception = "FINISHED", OSError("by hand")
    assert str(other.exception()) == "by hand"
    assert (other._waiters, other._done_callbacks) == ([], [])


# --- callbacks ---


def test_callbacks_are_called_once_in_order_in_the_thread_that_ends_it(kind: type[Any]) -> None:
    called: list[Any] = []
    future = kind()
    for number in range(5):
        future.add_done_callback(lambda ended, number=number: called.append((number, ended, threading.get_ident())))
    thread = in_thread(lambda: future.set_result(1))
    thread.join(PATIENCE_S)
    assert called == [(number, future, thread.ident) for number in range(5)]
    future.add_done_callback(lambda ended: called.append("late"))
    assert called[5:] == ["late"]


def test_a_callback_that_raises_is_logged_and_the_others_are_called(
    kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    called = []

    def trouble(_: Any) -> None:
        raise OSError("in callback")

    future = kind()
    future.add_done_callback(trouble)
    future.add_done_callback(called.append)
    future.set_result(1)
    future.add_done_callback(trouble)
    assert called == [future]
    assert [record.getMessage() for record in caplog.records] == [f"exception calling callback for {future!r}"] * 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert all("in callback" in str(record.exc_info and record.exc_info[1]) for record in caplog.records)


def test_a_callback_that_raises_worse_ends_the_round(kind: type[Any]) -> None:
    called = []

    def trouble(_: Any) -> None:
        raise SystemExit(3)

    future = kind()
    future.add_done_callback(trouble)
    future.add_done_callback(called.append)
    with pytest.raises(SystemExit):
        future.set_result(1)
    assert (called, future.result()) == ([], 1)
    with pytest.raises(SystemExit):
        future.add_done_callback(trouble)


def test_callbacks_may_add_callbacks_ask_and_cancel(kind: type[Any]) -> None:
    called: list[Any] = []
    future, other = kind(), kind()

    def first(ended: Any) -> None:
        called.append("first")
        ended.add_done_callback(lambda _: called.append("inner"))
        called.append((ended.result(), ended.cancel(), other.cancel()))

    future.add_done_callback(first)
    future.add_done_callback(lambda _: called.append("second"))
    other.add_done_callback(lambda _: called.append("other"))
    future.set_result(1)
    assert called == ["first", "inner", "other", (1, False, True), "second"]


def test_cancelling_calls_back_once(kind: type[Any]) -> None:
    called: list[Any] = []
    future = kind()
    future.add_done_callback(lambda ended: called.append(ended.cancelled()))
    future.add_done_callback(lambda ended: called.append(ended.cancel()))
    future.cancel()
    future.cancel()
    future.set_running_or_notify_cancel()
    assert called == [True, True]


def test_who_waits_does_not_wait_for_the_callbacks(kind: type[Any]) -> None:
    future, has_result = kind(), threading.Event()
    seen: list[bool] = []
    future.add_done_callback(lambda _: seen.append(has_result.wait(PATIENCE_S)))

    def ask() -> None:
        future.result()
        has_result.set()

    asking = in_thread(ask)
    Asleep.until(asking)
    future.set_result(1)
    assert seen == [True]


def test_many_threads_race_to_end_it_and_one_wins(kind: type[Any]) -> None:
    for _ in range(50):
        future, called, start = kind(), [], threading.Barrier(4)
        future.add_done_callback(called.append)
        won: list[int] = []

        def end(number: int, future: Any = future, start: Any = start, won: list[int] = won) -> None:
            start.wait(PATIENCE_S)
            try:
                future.set_result(number)
                won.append(number)
            except concurrent.futures.InvalidStateError:
                pass

        threads = [in_thread(lambda number=number: end(number)) for number in range(3)]
        start.wait(PATIENCE_S)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert won == [future.result()]
        assert called == [future]


# --- waiting for one ---


@pytest.mark.parametrize("is_exposed", [False, True])
@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
def test_everybody_who_waits_is_told(is_exposed: bool, end: str) -> None:
    future = tercet.Future[Any]()
    if is_exposed:
        assert future._condition
    got: list[Any] = []

    def ask() -> None:
        try:
            got.append(future.exception())
        except concurrent.futures.CancelledError:
            got.append("cancelled")

    threads = [in_thread(ask) for _ in range(5)]
    for thread in threads:
        Asleep.until(thread)
    error = OSError()
    getattr(future, end)(*{"set_result": [1], "set_exception": [error]}.get(end, []))
    for thread in threads:
        thread.join(PATIENCE_S)
    assert got == [{"set_result": None, "set_exception": error}.get(end, "cancelled")] * 5


def test_a_future_may_be_looked_behind_while_somebody_waits() -> None:
    future, got = tercet.Future[int](), []
    asking = in_thread(lambda: got.append(future.result()))
    Asleep.until(asking)
    with future._condition:
        future._state, future._result = "FINISHED", 7
        future._condition.notify_all()
    asking.join(PATIENCE_S)
    assert got == [7]


# --- waiting for many ---


def mix() -> tuple[Any, ...]:
    return tercet.Future(), concurrent.futures.Future()


@pytest.mark.parametrize("wait", [tercet.wait, concurrent.futures.wait])
def test_wait_for_what_is_there(wait: Callable[..., Any]) -> None:
    pending, good, bad, gone = tercet.Future(), done_with(1), failed_with(OSError()), settled_cancelled()
    cancelled = tercet.Future()
    cancelled.cancel()
    found = wait([pending, good, bad, gone, cancelled, good], timeout=0)
    assert found.done == {good, bad, gone}
    assert found.not_done == {pending, cancelled}, "nobody has settled the one that is only cancelled"
    assert wait([pending, good], return_when=tercet.FIRST_COMPLETED).done == {good}
    assert wait([pending, good, bad], return_when=tercet.FIRST_EXCEPTION).done == {good, bad}
    assert wait([good, gone], return_when=tercet.ALL_COMPLETED) == ({good, gone}, set())
    assert wait([]) == (set(), set())
    assert wait(iter([good])).done == {good}
    assert wait([good], return_when="NEVER").done == {good}
    with pytest.raises(ValueError, match="Invalid return condition: 'NEVER'"):
        wait([pending], return_when="NEVER")


@pytest.mark.parametrize("wait", [tercet.wait, concurrent.futures.wait])
@pytest.mark.parametrize("others", [[], [concurrent.futures.Future()]], ids=["ours", "mixed"])
@pytest.mark.parametrize(
    ("when", "acts", "left"),
    [
        (tercet.FIRST_COMPLETED, ["result"], 2),
        (tercet.FIRST_COMPLETED, ["cancel"], 2),
        (tercet.FIRST_EXCEPTION, ["result", "exception"], 1),
        (tercet.FIRST_EXCEPTION, ["cancel", "exception"], 1),
        (tercet.FIRST_EXCEPTION, ["result", "cancel", "result"], 0),
        (tercet.ALL_COMPLETED, ["exception", "cancel", "result"], 0),
    ],
)
def test_wait_is_over_when_it_should_be(
    wait: Callable[..., Any], others: list[Any], when: str, acts: list[str], left: int
) -> None:
    futures, found = [tercet.Future[int]() for _ in range(3)], []
    others = [done_with(0, concurrent.futures.Future) for _ in others] if when != tercet.FIRST_COMPLETED else []
    waiting = in_thread(lambda: found.append(wait([*futures, *others], return_when=when)))
    Asleep.until(waiting)
    for future, act in zip(futures, acts, strict=False):
        assert waiting.is_alive()
        if act == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif act == "exception":
            future.set_exception(OSError())
        else:
            future.set_result(1)
    waiting.join(PATIENCE_S)
    assert found[0].not_done >= set(futures[len(acts) :])
    assert len(found[0].not_done) >= left
    assert found[0].done >= {futures[len(acts) - 1], *others}


@pytest.mark.parametrize("as_completed", [tercet.as_completed, concurrent.futures.as_completed])
def test_as_completed_yields_each_once_in_the_order_in_which_they_end(as_completed: Callable[..., Any]) -> None:
    futures = [tercet.Future[int]() for _ in range(4)]
    futures[2].set_result(2)
    found = as_completed([*futures, *futures])
    assert next(found) is futures[2]
    for number in (3, 0, 1):
        ending = in_thread(lambda number=number: futures[number].set_result(number))
        assert next(found) is futures[number]
        ending.join(PATIENCE_S)
    with pytest.raises(StopIteration):
        next(found)
    assert list(as_completed([])) == []


@pytest.mark.parametrize("as_completed", [tercet.as_completed, concurrent.futures.as_completed])
def test_as_completed_says_how_many_are_missing(as_completed: Callable[..., Any]) -> None:
    pending, good, gone = tercet.Future(), done_with(1), settled_cancelled()
    found = []
    with pytest.raises(TimeoutError) as caught:
        found.extend(as_completed([pending, good, gone], timeout=0))
    assert set(found) == {good, gone}
    assert str(caught.value) == "1 (of 3) futures unfinished"


@pytest.mark.parametrize("as_completed", [tercet.as_completed, concurrent.futures.as_completed])
def test_as_completed_over_a_mix(as_completed: Callable[..., Any]) -> None:
    ours, theirs = mix()
    found = as_completed([ours, theirs])
    for future in (theirs, ours):
        ending = in_thread(lambda future=future: future.set_result(1))
        assert next(found) is future
        ending.join(PATIENCE_S)


def test_as_completed_keeps_nothing_that_it_has_given_out() -> None:
    class Big: ...

    futures = [done_with(Big()) for _ in range(3)]
    seen = [weakref.ref(future.result()) for future in futures]
    found = tercet.as_completed(futures)
    next(found)
    futures.clear()
    for left in (2, 1):
        gc.collect()
        assert sum(ref() is not None for ref in seen) == left
        next(found)


def test_what_gave_up_waiting_leaves_nothing_behind() -> None:
    future = tercet.Future[int]()
    tercet.wait([future], timeout=0.001)
    found = tercet.as_completed([future], timeout=0.001)
    with pytest.raises(TimeoutError):
        next(found)
    with pytest.raises(TimeoutError):
        future.result(0.001)
    future.set_result(1)
    assert future.result() == 1


def test_wait_takes_futures_of_subclasses() -> None:
    class Mine(tercet.Future[int]): ...

    future = Mine()
    ending = in_thread(lambda: future.set_result(1))
    assert tercet.wait([future]).done == {future}
    assert list(tercet.as_completed([future])) == [future]
    ending.join(PATIENCE_S)


# --- asyncio ---


def test_asyncio_waits_for_it() -> None:
    async def main() -> list[Any]:
        futures = [tercet.Future[int]() for _ in range(3)]
        wrapped = [asyncio.wrap_future(future) for future in futures]
        await asyncio.sleep(0)
        in_thread(lambda: futures[0].set_result(1))
        in_thread(lambda: futures[1].set_exception(OSError("there")))
        first, second = await asyncio.gather(*wrapped[:2], return_exceptions=True)
        wrapped[2].cancel()
        await asyncio.sleep(0)
        return [first, str(second), futures[2].cancelled()]

    assert asyncio.run(main()) == [1, "there", True]


def test_a_coroutine_fills_it() -> None:
    async def main() -> int:
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 5), asyncio.get_running_loop())
        )

    assert asyncio.run(main()) == 5


# --- memory ---


def test_a_future_in_a_circle_is_collected() -> None:
    class Held: ...

    def circle(close: Callable[[Any, Any], None]) -> weakref.ref[Any]:
        future, held = tercet.Future[Any](), Held()
        held.future = future  # type: ignore[attr-defined]
        close(future, held)
        return weakref.ref(held)

    def by_callback(future: Any, held: Any) -> None:
        future.add_done_callback(lambda _, held=held: None)

    def by_exception(future: Any, held: Any) -> None:
        error = OSError(held)
        future.set_exception(error)

    def by_waiter(future: Any, held: Any) -> None:
        future._waiters.append(held)

    closings = [
        lambda future, held: future.set_result(held),
        by_exception,
        by_callback,
        by_waiter,
        lambda future, held: setattr(future, "more", held),
        lambda future, held: setattr(held, "found", tercet.as_completed([future, tercet.Future()])),
    ]
    refs = [circle(closing) for closing in closings]
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(closings)


def test_callbacks_are_forgotten_when_they_have_been_called() -> None:
    class Held:
        def call(self, _: Any) -> None: ...

    held = Held()
    future = tercet.Future[int]()
    future.add_done_callback(held.call)
    future.set_result(1)
    seen = weakref.ref(held)
    del held
    assert seen() is None
