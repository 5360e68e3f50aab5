"""One fixture, `executor`: each behaviour over the standard library's executors and over ours.

Where the standard library disagrees with us, we are wrong.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tercet.executor import Executor

Make = Callable[[], concurrent.futures.Executor]

KINDS: dict[str, Make] = {
    "stdlib-threads": lambda: concurrent.futures.ThreadPoolExecutor(2),
    "stdlib-processes": lambda: concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")),
    "auto": lambda: Executor(),
    "plain": lambda: Executor("plain"),
    "threads": lambda: Executor("threads", 2),
    "processes": lambda: Executor("processes", 2),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


@pytest.fixture
def executor(make: Make) -> Iterator[concurrent.futures.Executor]:
    # Only functions of the standard library and built-in ones: every pool's workers can import those.
    with make() as made:
        yield made


def test_submit_gives_the_result(executor: Any) -> None:
    assert executor.submit(pow, 2, 5).result() == 32
    assert executor.submit(int, "ff", base=16).result() == 255


def test_submit_gives_the_exception(executor: Any) -> None:
    error = executor.submit(int, "x").exception()
    assert isinstance(error, ValueError)
    assert "invalid literal" in str(error)


def test_submit_without_a_function_is_a_type_error(executor: Any) -> None:
    with pytest.raises(TypeError):
        executor.submit()
    with pytest.raises(TypeError):
        executor.submit(fn=pow)


def test_map_keeps_the_order(executor: Any) -> None:
    assert list(executor.map(pow, range(20), itertools.repeat(2))) == [x * x for x in range(20)]
    assert list(executor.map(divmod, range(9), range(1, 6))) == [
        divmod(a, b) for a, b in zip(range(5), range(1, 6), strict=True)
    ]


def test_map_over_nothing_gives_nothing(executor: Any) -> None:
    assert list(executor.map(pow, [], [])) == []


def test_map_raises_at_its_place(executor: Any) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [1, 1, 0, 1])
    assert next(results) == (1, 0)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_takes_a_timeout_and_a_chunksize(executor: Any) -> None:
    assert list(executor.map(abs, range(10), timeout=600, chunksize=3)) == list(range(10))


def test_wait_and_as_completed(executor: Any) -> None:
    futures = {executor.submit(abs, -x): x for x in range(20)}
    done, not_done = concurrent.futures.wait(futures, 60)
    assert (len(done), len(not_done)) == (20, 0)
    assert {futures[future] for future in concurrent.futures.as_completed(futures)} == set(range(20))


def test_callbacks_are_called_with_the_future(executor: Any) -> None:
    called: list[Any] = []
    is_done = threading.Event()
    future = executor.submit(abs, -3)
    future.add_done_callback(lambda which: (called.append(which), is_done.set()))
    assert is_done.wait(60)
    assert called == [future]


def test_a_finished_future_cannot_be_cancelled(executor: Any) -> None:
    future = executor.submit(abs, 1)
    future.result()
    assert not future.cancel()
    assert not future.cancelled()
    assert future.done()


def test_shutdown(make: Make) -> None:
    executor = make()
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert future.result() == 1
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)


def test_shutdown_before_anything_was_submitted(make: Make) -> None:
    make().shutdown()


def test_after_a_with_block_nothing_can_be_submitted(make: Make) -> None:
    with make() as executor:
        executor.submit(abs, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)


def test_an_error_in_a_with_block_gets_through(make: Make) -> None:
    def work() -> None:
        with make() as executor:
            executor.submit(abs, 1)
            raise LookupError

    with pytest.raises(LookupError):
        work()


def test_hundreds_of_calls(executor: Any) -> None:
    assert sum(future.result() for future in [executor.submit(abs, -x) for x in range(500)]) == sum(range(500))


def test_calls_from_many_threads(executor: Any) -> None:
    found: list[int] = []

    def caller(start: int) -> None:
        found.extend(future.result() for future in [executor.submit(abs, -x) for x in range(start, start + 20)])

    threads = [threading.Thread(target=caller, args=(20 * n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(100))


def test_a_task_may_use_an_executor_of_its_own(tasks: ModuleType) -> None:
    with Executor() as outer:
        assert outer.submit(nested, 3).result() == 14


def nested(x: int) -> int:
    with Executor() as inner:
        return sum(inner.map(pow, range(x + 1), itertools.repeat(2)))
