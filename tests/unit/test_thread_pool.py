"""`tercet.thread_pool`: the standard library's thread pool, without what its users suffer from.

Length: what users of one class rely on, from `submit` to the end of the interpreter.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tercet
import tercet.thread_pool

PATIENCE_S = 60
PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


@pytest.fixture(params=[tercet.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor], ids=["tercet", "stdlib"])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """The class of an executor."""
    return request.param


@pytest.fixture
def pool() -> Iterator[tercet.ThreadPoolExecutor]:
    """A pool of one worker: whoever could lock up, would."""
    with tercet.ThreadPoolExecutor(1) as executor:
        yield executor


def raise_(error: BaseException) -> Any:
    raise error


def fill(executor: Any, workers: int) -> None:
    """Have that many threads started, and let them rest."""
    meeting = threading.Barrier(workers)
    concurrent.futures.wait([executor.submit(meeting.wait, PATIENCE_S) for _ in range(workers)])


# --- what the standard library says ---


def test_it_is_an_executor_of_the_standard_library() -> None:
    with tercet.ThreadPoolExecutor(1) as executor:
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        future = executor.submit(divmod, 7, 2)
        assert isinstance(future, tercet.Future)
        assert future.result() == (3, 1)
    assert tercet.ThreadPoolExecutor[int] is not None


def test_arguments_are_passed_as_they_are(kind: type[Any]) -> None:
    def task(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    with kind(1) as executor:
        assert executor.submit(task, 1, fn=2, self=3).result() == ((1,), {"fn": 2, "self": 3})
        with pytest.raises(TypeError):
            executor.submit()
        with pytest.raises(TypeError):
            executor.submit(fn=task)


@pytest.mark.parametrize("workers", [0, -1])
def test_there_must_be_workers(kind: type[Any], workers: int) -> None:
    with pytest.raises(ValueError, match=r"^max_workers must be greater than 0$"):
        kind(workers)


def test_the_initializer_must_be_callable(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        kind(initializer=1)


@pytest.mark.parametrize("options", [{"context": "other"}, {"idle_timeout": -1}, {"idle_timeout": float("nan")}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be "):
        tercet.ThreadPoolExecutor(1, **options)


def test_the_number_of_workers_by_default(kind: type[Any]) -> None:
    assert kind()._max_workers == concurrent.futures.ThreadPoolExecutor()._max_workers


def test_threads_are_named(kind: type[Any]) -> None:
    with kind(1, "some") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result() == "some_0"
    with kind(1) as executor:
        name = executor.submit(lambda: threading.current_thread().name).result()
    assert name.startswith("ThreadPoolExecutor-")
    assert name.endswith("_0")


@pytest.mark.parametrize("error", [LookupError("x"), KeyboardInterrupt(), SystemExit(2), StopIteration(1)])
def test_what_a_task_raises_is_its_outcome(kind: type[Any], error: BaseException) -> None:
    with kind(1) as executor:
        assert executor.submit(raise_, error).exception() is error
        assert executor.submit(abs, -1).result() == 1


def test_after_shutdown_nothing_is_taken(kind: type[Any]) -> None:
    executor = kind(1)
    future = executor.submit(abs, -1)
    executor.shutdown()
    executor.shutdown()
    assert future.result() == 1
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        executor.submit(abs, -1)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        executor.map(abs, [1])
    assert list(executor.map(abs, [])) == []


@pytest.mark.parametrize("way", ["wait", "as_completed"])
def test_a_worker_that_is_about_to_leave_is_not_counted_on(pool: tercet.ThreadPoolExecutor, way: str) -> None:
    """A wait that ends makes a thread too many; who waits next must not rely on the one that goes."""
    gate = threading.Event()

    def stay() -> int:
        gate.wait(PATIENCE_S)
        return 1

    def begin() -> Any:
        return pool.submit(stay)

    def inner() -> int:
        begun = pool.submit(begin)
        # Another thread works meanwhile, and goes on with `stay`: when this wait is over there is one too many.
        tercet.wait([begun], PATIENCE_S)
        staying = begun.result()
        tasks = [pool.submit(int, 2), pool.submit(int, 3)]
        gate.set()
        if way == "wait":
            tercet.wait(tasks, return_when=tercet.FIRST_COMPLETED)
        return sum(task.result() for task in tercet.as_completed(tasks)) + staying.result()

    def outer() -> int:
        tasks = [pool.submit(inner), pool.submit(int, 4)]
        return sum(task.result() for task in tercet.as_completed(tasks))

    assert pool.submit(outer).result(PATIENCE_S) == 10


def test_shutdown_waits_for_all_tasks_and_threads(kind: type[Any]) -> None:
    done = []
    executor = kind(3)
    for number in range(200):
        executor.submit(done.append, number)
    threads = list(executor._threads)
    executor.shutdown(wait=True)
    assert sorted(done) == list(range(200))
    assert not any(thread.is_alive() for thread in threads)


def test_a_pool_may_be_shut_down_from_its_own_task() -> None:
    executor = tercet.ThreadPoolExecutor(2)
    assert executor.submit(executor.shutdown).result() is None
    executor.shutdown()


def test_what_was_cancelled_at_shutdown_is_settled() -> None:
    begun, go, told = threading.Event(), threading.Event(), []
    executor = tercet.ThreadPoolExecutor(1)
    running = executor.submit(lambda: begun.set() or go.wait(PATIENCE_S))
    waiting = [executor.submit(abs, 1) for _ in range(5)]
    waiting[0].add_done_callback(told.append)
    spread = executor.map(abs, range(3))
    assert begun.wait(PATIENCE_S)
    executor.shutdown(wait=False, cancel_futures=True)
    assert tercet.wait(waiting).done == set(waiting)
    assert set(tercet.as_completed(waiting)) == set(waiting)
    assert all(future.cancelled() for future in waiting)
    assert told == waiting[:1]
    with pytest.raises(concurrent.futures.CancelledError):
        next(spread)
    assert not running.done()
    go.set()
    executor.shutdown()
    assert running.result() is True


def test_an_initializer_runs_in_each_thread(kind: type[Any]) -> None:
    seen = []
    with kind(2, initializer=lambda word: seen.append((threading.get_ident(), word)), initargs=("w",)) as executor:
        fill(executor, 2)
    assert [word for _, word in seen] == ["w", "w"]
    assert len({ident for ident, _ in seen}) == 2


def test_an_initializer_that_fails_breaks_the_pool(kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()
    executor = kind(1, initializer=lambda: go.wait(PATIENCE_S) and raise_(LookupError("no")))
    futures = [executor.submit(abs, 1) for _ in range(3)]
    go.set()
    words = "A thread initializer failed, the thread pool is not usable anymore"
    for future in futures:
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool, match=f"^{words}$"):
            future.result()
    with pytest.raises(concurrent.futures.BrokenExecutor, match=f"^{words}$"):
        executor.submit(abs, 1)
    executor.shutdown()
    (record,) = (record for record in caplog.records if record.name == "concurrent.futures")
    assert (record.levelno, record.getMessage()) == (logging.CRITICAL, "Exception in initializer:")


def test_a_broken_pool_ends_maps(caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()
    executor = tercet.ThreadPoolExecutor(1, initializer=lambda: go.wait(PATIENCE_S) and raise_(LookupError("no")))
    found = executor.map(abs, range(5))
    go.set()
    with pytest.raises(concurrent.futures.BrokenExecutor):
        list(found)


def test_a_subclass_may_change_submit(kind: type[Any]) -> None:
    class Counting(kind):
        count = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(2) as executor:
        assert list(executor.map(abs, [-1, 2, -3], timeout=PATIENCE_S)) == [1, 2, 3]
        assert executor.count == 3


def test_an_instance_may_be_given_another_submit(kind: type[Any]) -> None:
    with kind(1) as executor:
        submit, called = executor.submit, []
        executor.submit = lambda *args: called.append(args) or submit(*args)
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
        assert called == [(abs, -1), (abs, -2)]


def test_a_subclass_has_its_own_initializer() -> None:
    class Named(tercet.ThreadPoolExecutor):
        def __init__(self, name: str) -> None:
            super().__init__(max_workers=1)
            self.name = name

    with Named("n") as executor:
        assert (executor.name, executor.submit(abs, -1).result()) == ("n", 1)
    assert weakref.ref(executor)() is executor


def test_asyncio_runs_on_it() -> None:
    async def main(executor: tercet.ThreadPoolExecutor) -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        calls = [loop.run_in_executor(place, abs, -1) for place in (None, executor)]
        failing = loop.run_in_executor(None, raise_, LookupError("x"))
        found = await asyncio.gather(*calls, failing, asyncio.to_thread(abs, -2), return_exceptions=True)
        await loop.shutdown_default_executor()
        return found

    first, second, error, third = asyncio.run(main(tercet.ThreadPoolExecutor(2)))
    assert (first, second, third, str(error)) == (1, 1, 2, "x")


def test_the_standard_library_waits_for_a_mix() -> None:
    with tercet.ThreadPoolExecutor(2) as ours, concurrent.futures.ThreadPoolExecutor(2) as theirs:
        futures = [place.submit(abs, -number) for number in range(50) for place in (ours, theirs)]
        for as_completed in (concurrent.futures.as_completed, tercet.as_completed):
            assert set(as_completed(futures)) == set(futures)
        for wait in (concurrent.futures.wait, tercet.wait):
            assert wait(futures).not_done == set()


# --- map ---


def test_map_as_in_the_standard_library(kind: type[Any]) -> None:
    with kind(3) as executor:
        assert list(executor.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        assert list(executor.map(pow, [2, 3, 4], [1, 2])) == [2, 9]
        assert list(executor.map(pow, iter([2, 3]), iter([5, 2]))) == [32, 9]
        assert list(executor.map(abs)) == []
        assert list(executor.map(abs, {-1: 0}, chunksize=10)) == [1]
        assert list(executor.map(str, {"a": 1})) == ["a"]
        with pytest.raises(TypeError):
            executor.map(abs, 5)


def test_map_raises_in_its_place_and_is_over(kind: type[Any]) -> None:
    with kind(2) as executor:
        found = executor.map(lambda x: 1 // x, [1, 0, 1])
        assert next(found) == 1
        with pytest.raises(ZeroDivisionError):
            next(found)
        assert list(found) == []


def test_a_task_of_map_that_raises_stop_iteration_does_not_end_it(kind: type[Any]) -> None:
    with kind(1) as executor, pytest.raises(RuntimeError, match=r"^generator raised StopIteration$") as caught:
        list(executor.map(lambda x: raise_(StopIteration(x)), range(3)))
    assert isinstance(caught.value.__cause__, StopIteration)


def test_map_runs_out_of_time(kind: type[Any]) -> None:
    go = threading.Event()
    with kind(1) as executor:
        found = executor.map(lambda x: x and go.wait(PATIENCE_S), [0, 1, 0], timeout=0.01)
        with pytest.raises(TimeoutError):
            list(found)
        go.set()


def test_map_cancels_what_has_not_begun_when_it_is_closed(kind: type[Any]) -> None:
    begun, go, seen = threading.Event(), threading.Event(), []

    def task(number: int) -> None:
        seen.append(number)
        if number == 1:
            begun.set()
            go.wait(PATIENCE_S)

    with kind(1) as executor:
        found = executor.map(task, range(100))
        next(found)
        assert begun.wait(PATIENCE_S)
        found.close()
        go.set()
    assert seen == [0, 1]


def test_a_map_that_nobody_looks_at_is_done_all_the_same(kind: type[Any]) -> None:
    seen: list[int] = []
    with kind(2) as executor:
        executor.map(seen.append, range(50))
    assert sorted(seen) == list(range(50))


@pytest.mark.parametrize("overrides", [False, True])
def test_a_buffer_bounds_how_far_map_runs_ahead(overrides: bool) -> None:
    class Mine(tercet.ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return super().submit(fn, *args, **kwargs)

    drawn: list[int] = []
    source = (drawn.append(number) or number for number in itertools.count())
    with (Mine if overrides else tercet.ThreadPoolExecutor)(2) as executor:
        found = executor.map(abs, source, buffersize=5)
        assert len(drawn) == 5
        assert [next(found) for _ in range(20)] == list(range(20))
        assert len(drawn) == 25
        assert list(executor.map(pow, [2, 3], [1, 2], buffersize=1)) == [2, 9]
        for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("1", TypeError)):
            with pytest.raises(error, match=r"^buffersize must be "):
                executor.map(abs, [1], buffersize=wrong)  # type: ignore[arg-type]


def test_a_source_that_fails(kind: type[Any]) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("source")

    with kind(1) as executor, pytest.raises(LookupError, match="source"):
        executor.map(abs, source())
    with tercet.ThreadPoolExecutor(1) as executor:
        found = executor.map(abs, source(), buffersize=1)
        with pytest.raises(LookupError, match="source"):
            list(found)


def test_a_buffered_map_whose_pool_is_closed_ends() -> None:
    for cancels in (True, False):
        executor = tercet.ThreadPoolExecutor(2)
        found = executor.map(abs, range(10_000), buffersize=3)
        assert next(found) == 0
        executor.shutdown(cancel_futures=cancels)
        with pytest.raises((concurrent.futures.CancelledError, RuntimeError)):
            list(found)


# --- options ---


def test_a_task_may_see_the_context_of_its_caller() -> None:
    def task(_: int = 0) -> str:
        seen = PLACE.get()
        PLACE.set("task")
        return seen

    def caller(executor: tercet.ThreadPoolExecutor) -> list[str]:
        PLACE.set("caller")
        return [
            executor.submit(task).result(),
            *executor.map(task, [1, 2]),
            *executor.map(task, iter([1])),
            PLACE.get(),
        ]

    with tercet.ThreadPoolExecutor(1, context="copy") as executor:
        assert contextvars.copy_context().run(caller, executor) == ["caller"] * 5
    with tercet.ThreadPoolExecutor(1) as executor:
        assert contextvars.copy_context().run(caller, executor)[0] == "nowhere"


def test_idle_threads_leave_and_come_again() -> None:
    with tercet.ThreadPoolExecutor(3, idle_timeout=0.01) as executor:
        for _ in range(3):
            fill(executor, 3)
            for thread in list(executor._threads):
                thread.join(PATIENCE_S)
            assert executor._count()[0] == 0
            assert executor._threads == set()


@pytest.mark.parametrize("idle_timeout", [0, 1e-9, float("inf"), 1e30])
def test_any_idle_timeout_does_its_work(idle_timeout: float) -> None:
    with tercet.ThreadPoolExecutor(2, idle_timeout=idle_timeout) as executor:
        assert list(executor.map(abs, range(1000))) == list(range(1000))
        assert [executor.submit(abs, -1).result() for _ in range(100)] == [1] * 100


def test_threads_are_daemons_if_wanted() -> None:
    for daemon in (False, True):
        with tercet.ThreadPoolExecutor(1, daemon=daemon) as executor:
            assert executor.submit(lambda: threading.current_thread().daemon).result() is daemon


# --- tasks that wait for tasks ---


def test_a_task_waits_for_a_task_of_the_same_pool(pool: tercet.ThreadPoolExecutor) -> None:
    waits: list[Callable[[list[Any]], Any]] = [
        lambda futures: [future.result() for future in futures],
        lambda futures: [future.result() for future in reversed(futures)],
        lambda futures: [future.result(PATIENCE_S) for future in futures],
        lambda futures: [future.exception() for future in futures],
        lambda futures: tercet.wait(futures),
        lambda futures: tercet.wait(futures, PATIENCE_S),
        lambda futures: tercet.wait(futures, return_when=tercet.FIRST_COMPLETED),
        lambda futures: tercet.wait(futures, return_when=tercet.FIRST_EXCEPTION),
        lambda futures: list(tercet.as_completed(futures)),
        lambda futures: list(tercet.as_completed(futures, PATIENCE_S)),
        lambda futures: list(pool.map(abs, range(5))),
        lambda futures: list(pool.map(abs, range(5), timeout=PATIENCE_S)),
        lambda futures: list(pool.map(pow, itertools.count(), [1] * 5, buffersize=2)),
    ]
    for number, wait in enumerate(waits):
        outer = pool.submit(lambda wait=wait: wait([pool.submit(abs, -number) for number in range(5)]) or True)
        assert outer.result(PATIENCE_S), number


def test_a_task_waits_for_an_exposed_task_of_the_same_pool(pool: tercet.ThreadPoolExecutor) -> None:
    def outer(timeout: float | None) -> int:
        inner = pool.submit(abs, -1)
        concurrent.futures.wait([inner], timeout=0)
        return inner.result(timeout)

    assert pool.submit(outer, None).result(PATIENCE_S) == 1
    assert pool.submit(outer, PATIENCE_S).result(PATIENCE_S) == 1


def test_recursion_on_one_worker(pool: tercet.ThreadPoolExecutor) -> None:
    def fibonacci(number: int) -> int:
        if number < 2:
            return number
        return sum(future.result() for future in [pool.submit(fibonacci, number - less) for less in (1, 2)])

    assert pool.submit(fibonacci, 12).result(PATIENCE_S) == 144

    def by_map(number: int) -> int:
        return number if number < 2 else sum(pool.map(by_map, [number - 1, number - 2]))

    assert pool.submit(by_map, 10).result(PATIENCE_S) == 55


def test_a_deep_chain_on_one_worker(pool: tercet.ThreadPoolExecutor) -> None:
    def down(depth: int) -> int:
        return 0 if depth == 0 else 1 + pool.submit(down, depth - 1).result()

    assert pool.submit(down, 500).result(PATIENCE_S) == 500


def test_two_pools_that_wait_for_each_other() -> None:
    with tercet.ThreadPoolExecutor(1) as one, tercet.ThreadPoolExecutor(1) as other:

        def there_and_back(depth: int) -> int:
            place = (one, other)[depth % 2]
            return 0 if depth == 0 else 1 + place.submit(there_and_back, depth - 1).result()

        assert one.submit(there_and_back, 40).result(PATIENCE_S) == 40


@pytest.mark.parametrize("way", ["as_completed", "first_completed", "first_exception"])
def test_a_task_that_goes_on_with_the_first_is_not_held_up_by_another(way: str) -> None:
    def outer(executor: tercet.ThreadPoolExecutor) -> bool:
        stop = threading.Event()
        stopped = executor.submit(stop.wait, PATIENCE_S)
        futures = [stopped, executor.submit(raise_, LookupError())]
        if way == "as_completed":
            next(tercet.as_completed(futures))
        else:
            tercet.wait(futures, return_when=way.upper())
        stop.set()
        return stopped.result()

    with tercet.ThreadPoolExecutor(3) as executor:
        fill(executor, 3)
        for _ in range(20):
            assert executor.submit(outer, executor).result(PATIENCE_S)


def test_a_worker_does_no_work_of_another_pool() -> None:
    with tercet.ThreadPoolExecutor(1, "one") as one, tercet.ThreadPoolExecutor(1, "other") as other:

        def outer() -> set[str]:
            go = threading.Event()
            other.submit(go.wait, PATIENCE_S)
            found = other.map(lambda _: threading.current_thread().name, range(3))
            future = other.submit(lambda: threading.current_thread().name)
            threading.Timer(0, go.set).start()
            return {*found, future.result()}

        assert one.submit(outer).result(PATIENCE_S) == {"other_0"}


def test_a_worker_helped_out_of_a_wait_is_not_one_too_many_for_long(pool: tercet.ThreadPoolExecutor) -> None:
    pool.submit(lambda: tercet.wait([pool.submit(abs, 1), pool.submit(abs, 2)], PATIENCE_S)).result()
    assert [pool.submit(abs, -1).result() for _ in range(5)] == [1] * 5
    live, _, blocked = pool._count()
    assert (live <= 2, blocked) == (True, 0)


# --- memory ---


class Held: ...


def test_nothing_of_a_task_outlives_it_but_the_result(pool: tercet.ThreadPoolExecutor) -> None:
    held = Held()
    seen = weakref.ref(held)
    future = pool.submit(lambda *_, **__: None, held, held=held)
    del held
    future.result()
    assert seen() is None


def test_nobody_keeps_a_result_that_was_delivered(pool: tercet.ThreadPoolExecutor) -> None:
    seen = weakref.ref(pool.submit(Held).result())
    pool.submit(abs, 1).result()
    assert seen() is None
    found = pool.map(lambda _: Held(), range(3))
    for _ in range(3):
        seen = weakref.ref(next(found))
        assert seen() is None


def test_a_pool_that_nobody_holds_ends_its_work_and_its_threads(kind: type[Any]) -> None:
    executor, done = kind(2), []
    fill(executor, 2)
    for number in range(50):
        executor.submit(done.append, number)
    threads, seen = list(executor._threads), weakref.ref(executor)
    del executor
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (seen(), sorted(done)) == (None, list(range(50)))
    assert not any(thread.is_alive() for thread in threads)


def test_a_pool_in_a_circle_is_collected(kind: type[Any]) -> None:
    class Service:
        def __init__(self) -> None:
            self.executor = kind(1, initializer=self.set_up)
            self.executor.owner = self

        def set_up(self) -> None: ...

    seen = weakref.ref(Service())
    gc.collect()
    assert seen() is None


# --- threads that cannot be had ---


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError("no")])
def test_without_any_thread_submit_says_so(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    executor = tercet.ThreadPoolExecutor(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: raise_(error))
        for _ in range(3):
            with pytest.raises(type(error)):
                executor.submit(abs, 1)
    assert executor._work_queue.empty()
    assert executor.submit(abs, -1).result(PATIENCE_S) == 1
    executor.shutdown()


def test_with_some_threads_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with tercet.ThreadPoolExecutor(4) as executor:
        fill(executor, 1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", lambda self: raise_(RuntimeError("can't start new thread")))
            assert [future.result() for future in [executor.submit(abs, -1) for _ in range(20)]] == [1] * 20


def test_shutdown_meets_threads_that_are_just_starting() -> None:
    refused: list[str] = []
    for _ in range(100):
        executor, start = tercet.ThreadPoolExecutor(4), threading.Barrier(3)

        def submit(executor: Any = executor, start: Any = start) -> None:
            start.wait(PATIENCE_S)
            try:
                for _ in range(10):
                    executor.submit(abs, 1)
            except RuntimeError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        start.wait(PATIENCE_S)
        executor.shutdown()
        assert executor._count()[0] == 0
        for thread in threads:
            thread.join(PATIENCE_S)
    assert set(refused) <= {"cannot schedule new futures after shutdown"}


# --- fork ---


def in_child(act: Callable[[], Any]) -> None:
    """Fork, and fail here if the child does or does not come back in time."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        try:
            act()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def test_a_child_may_use_the_pool_and_the_parent_goes_on(pool: tercet.ThreadPoolExecutor) -> None:
    go = threading.Event()
    fill(pool, 1)
    busy, waiting = pool.submit(go.wait, PATIENCE_S), pool.submit(abs, -2)

    def child() -> None:
        assert pool.submit(abs, -1).result() == 1
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
        with tercet.ThreadPoolExecutor(2) as another:
            assert list(another.map(abs, [-1])) == [1]
        pool.shutdown()

    in_child(child)
    go.set()
    assert (busy.result(), waiting.result()) == (True, 2)


def test_what_stayed_in_the_parent_says_so_in_the_child(pool: tercet.ThreadPoolExecutor) -> None:
    go = threading.Event()
    pool.submit(go.wait, PATIENCE_S)
    future, spread, buffered = pool.submit(abs, -2), pool.map(abs, [1, 2]), pool.map(abs, [1, 2, 3], buffersize=1)
    asks: list[Callable[[], Any]] = [
        future.result,
        future.exception,
        lambda: tercet.wait([future]),
        lambda: list(tercet.as_completed([future])),
        lambda: list(spread),
        lambda: list(buffered),
    ]
    for ask in asks:

        def child(ask: Callable[[], Any] = ask) -> None:
            with pytest.raises(concurrent.futures.BrokenExecutor):
                ask()

        in_child(child)
    go.set()
    assert (future.result(), list(spread), list(buffered)) == (2, [1, 2], [1, 2, 3])


def test_a_task_may_fork(pool: tercet.ThreadPoolExecutor) -> None:
    def task() -> int:
        in_child(lambda: tercet.ThreadPoolExecutor(1).submit(abs, -1).result())
        in_child(lambda: pool.submit(abs, -1).result())
        return 5

    assert pool.submit(task).result() == 5


# --- whole programs ---

HEAD = """
import atexit, os, signal, sys, threading, time
import tercet
begun, stuck, go = threading.Event(), threading.Event(), threading.Event()
def task(*_):
    begun.set()
    stuck.wait()
"""


def run(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(HEAD + textwrap.dedent(text))
    command = [sys.executable, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


WAITS = {
    "result": "executor.submit(task).result()",
    "exception": "executor.submit(task).exception()",
    "exposed": "future = executor.submit(task); future._condition; future.result()",
    "timeout": "executor.submit(task).result(1000)",
    "map": "list(executor.map(task, [1]))",
    "wait": "tercet.wait([executor.submit(task)])",
    "as_completed": "list(tercet.as_completed([executor.submit(task)]))",
    "shutdown": "executor.submit(task); executor.shutdown()",
}


@pytest.mark.parametrize("way", WAITS)
def test_ctrl_c_ends_a_wait(tmp_path: Path, way: str) -> None:
    program = f"""
    executor = tercet.ThreadPoolExecutor(1)
    def interrupt():
        begun.wait()
        # The main thread sleeps in the kernel, in a futex.
        while open(f"/proc/self/task/{{os.getpid()}}/syscall").read().split()[0] != "202":
            pass
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        {WAITS[way]}
    except KeyboardInterrupt:
        print("interrupted")
        stuck.set()
    """
    found = run(tmp_path, program)
    assert (found.returncode, found.stdout, found.stderr) == (0, "interrupted\n", "")


def test_at_the_end_what_was_submitted_is_done(tmp_path: Path) -> None:
    program = """
    executor = tercet.ThreadPoolExecutor(2)
    atexit.register(print, "the end")
    for number in range(100):
        executor.submit(lambda number: number % 50 or sys.stdout.write(f"{number}\\n"), number)
    executor.map(lambda number: number % 50 or sys.stdout.write(f"{number}\\n"), range(100))
    sys.exit(3)
    """
    found = run(tmp_path, program)
    assert (found.returncode, found.stderr) == (3, "")
    assert sorted(found.stdout.split("\n")) == ["", "0", "0", "50", "50", "the end"]
    assert found.stdout.endswith("the end\n")


def test_at_the_end_nothing_more_is_taken(tmp_path: Path) -> None:
    program = """
    executor = tercet.ThreadPoolExecutor(1)
    def late():
        try:
            while True:
                executor.submit(abs, 1).result()
        except RuntimeError as error:
            print(error)
    executor.submit(late)
    """
    found = run(tmp_path, program)
    assert (found.returncode, found.stdout) == (0, "cannot schedule new futures after interpreter shutdown\n")


STUCK = {
    "event": "executor.submit(task)",
    "sleep": "executor.submit(lambda: begun.set() or time.sleep(1000))",
    "naps": "[executor.submit(lambda: begun.set() or time.sleep(0.001)) for _ in range(10_000)]",
    "busy": "executor.submit(lambda: begun.set() or [0 for _ in iter(int, 1)])",
    "library": "import ctypes; executor.submit(lambda: begun.set() or ctypes.CDLL(None).sleep(1000))",
    "map": "found = executor.map(task, range(10))",
    "result": "future = tercet.Future(); executor.submit(lambda: begun.set() or future.result(0.01))",
    "nested": "executor.submit(lambda: executor.submit(task).result())",
    "nested map": "executor.submit(lambda: list(executor.map(task, [1])))",
    "chatter": "[executor.submit(chat) for _ in range(10)]",
    "pools": "[executor.submit(open_pools) for _ in range(10)]",
    "callback": "executor.submit(time.sleep, 0.01).add_done_callback(task)",
    "initializer": "other = tercet.ThreadPoolExecutor(1, initializer=task, daemon=True); other.submit(abs, 1)",
    "finalizer of an argument": "executor.submit(lambda _: go.wait(), Last()); go.set()",
    "source": "executor.submit(lambda: list(executor.map(abs, source())))",
    "rest": "executor.submit(begun.set).result()",
}


@pytest.mark.parametrize("way", STUCK)
def test_a_stuck_task_of_a_daemon_does_not_hold_the_end(tmp_path: Path, way: str) -> None:
    program = f"""
    class Last:
        def __del__(self):
            begun.set()
            while True:
                pass
    def source():
        begun.set()
        while True:
            time.sleep(0.001)
        yield 1
    def chat():
        begun.set()
        while True:
            executor.submit(abs, 1).result(1)
    def open_pools():
        begun.set()
        while True:
            tercet.ThreadPoolExecutor(1, daemon=True).submit(abs, 1).result(1)
    executor = tercet.ThreadPoolExecutor(4, daemon=True)
    {STUCK[way]}
    begun.wait()
    sys.exit(7)
    """
    found = run(tmp_path, program)
    assert (found.returncode, found.stdout, found.stderr) == (7, "", "")


def test_a_thread_may_be_joined_before_another_has_started_it() -> None:
    order: list[str] = []
    thread = tercet.thread_pool._Thread(target=order.append, args=("ran",))

    def join() -> None:
        thread.join()
        order.append("joined")

    joiner = threading.Thread(target=join)
    joiner.start()
    thread.start()
    joiner.join(30)
    assert order == ["ran", "joined"]


def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise RuntimeError("can't start new thread")

    thread = tercet.thread_pool._Thread(target=print)
    joiner = threading.Thread(target=thread.join)
    joiner.start()
    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            monkeypatch.setattr(threading, name, refuse)
    with pytest.raises(RuntimeError, match="start new thread"):
        thread.start()
    joiner.join(30)
    assert not joiner.is_alive()


def test_workers_that_wait_for_a_slower_pool_are_not_joined_by_others() -> None:
    """Only a wait that nobody can end is worth another thread."""
    most = 0

    def ask(inner: tercet.ThreadPoolExecutor) -> int:
        nonlocal most
        future = inner.submit(threading.active_count)
        most = max(most, future.result())
        return most

    before = threading.active_count()
    with tercet.ThreadPoolExecutor(1) as inner, tercet.ThreadPoolExecutor(4) as outer:
        assert len(list(outer.map(ask, [inner] * 500))) == 500
    assert most <= before + 5


def test_pools_that_wait_for_one_another_in_a_ring_come_to_an_end() -> None:
    """Also where one of them has a worker that rests, but not the one that is waited for."""
    first, second = tercet.ThreadPoolExecutor(1), tercet.ThreadPoolExecutor(2)
    with first, second:
        fill(second, 2)
        answer = first.submit(lambda: second.submit(lambda: first.submit(abs, -7).result()).result())
        assert answer.result(PATIENCE_S) == 7
