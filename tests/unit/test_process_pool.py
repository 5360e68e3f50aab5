"""`tercet.process_pool`: the standard library's process pool, where one crash costs one task.

Length: what users of one class rely on, from `submit` to the end of the interpreter, and every way in which a process
may go wrong.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from pathlib import Path
from typing import Any

import pytest

import tasks_for_pools as T
import tercet
from holdings import Holdings, descendants, wait_for_ends
from stage_for_pools import Gate, Program
from tercet import estate
from tercet.errors import RemoteError, WorkerDied
from tercet.process_pool import ProcessPoolExecutor, WorkerCrashed

PATIENCE_S = 60
STD = concurrent.futures.ProcessPoolExecutor

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=[ProcessPoolExecutor, STD], ids=["tercet", "stdlib"])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """The class of an executor."""
    return request.param


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    """A pool of two workers."""
    with ProcessPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def single() -> Iterator[ProcessPoolExecutor]:
    """A pool of one worker: whoever could lock up, would."""
    with ProcessPoolExecutor(1) as executor:
        yield executor


def is_usable(executor: Any, workers: int = 2) -> bool:
    """Whether a pool still does what it is there for."""
    return list(executor.map(T.echo, range(20 * workers), timeout=PATIENCE_S)) == list(range(20 * workers))


# --- what the standard library says ---


def test_it_is_an_executor_of_the_standard_library(pool: ProcessPoolExecutor) -> None:
    assert isinstance(pool, concurrent.futures.ProcessPoolExecutor)
    future = pool.submit(divmod, 7, 2)
    assert isinstance(future, tercet.Future)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == (3, 1)
    assert future.done()
    assert not future.cancel()
    assert future.exception() is None


def test_arguments_are_passed_as_they_are(kind: type[Any]) -> None:
    with kind(1) as executor:
        assert executor.submit(T.both, 1, fn=2, self=3).result() == ((1,), {"fn": 2, "self": 3})
        with pytest.raises(TypeError):
            executor.submit()
        with pytest.raises(TypeError):
            executor.submit(fn=T.both)


def test_a_call_runs_in_another_process(pool: ProcessPoolExecutor) -> None:
    assert os.getpid() not in set(pool.map(T.who, range(20)))


def test_all_workers_work_at_the_same_time(pool: ProcessPoolExecutor, gate: Gate) -> None:
    futures = [pool.submit(T.hold, *gate.args, number) for number in range(2)]
    assert len({gate.wait(), gate.wait()}) == 2
    gate.open(2)
    assert [future.result() for future in futures] == [0, 1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, "max_workers must be greater than 0"),
        ({"max_workers": -1}, "max_workers must be greater than 0"),
        ({"initializer": 7}, "initializer must be a callable"),
        ({"max_tasks_per_child": 0}, "max_tasks_per_child must be >= 1"),
        ({"max_tasks_per_child": 1.5}, "max_tasks_per_child must be an integer"),
        ({"max_workers": "two"}, None),
        (
            {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")},
            "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
            "supply a different mp_context.",
        ),
    ],
    ids=str,
)
def test_wrong_options_are_refused_in_the_same_words(kind: type[Any], options: Any, error: str | None) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        kind(**options)
    if error is not None:
        assert str(caught.value) == error


def test_our_own_options_are_checked() -> None:
    with pytest.raises(ValueError, match="on_crash must be"):
        ProcessPoolExecutor(1, on_crash="hope")


def test_nothing_can_be_submitted_after_shutdown(kind: type[Any]) -> None:
    executor = kind(1)
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
    with pytest.raises(RuntimeError) as caught:
        executor.submit(abs, -1)
    assert str(caught.value) == "cannot schedule new futures after shutdown"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        list(executor.map(abs, [1]))


def test_a_pool_that_was_never_used_can_be_shut_down_twice(kind: type[Any]) -> None:
    executor = kind(2)
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)


# --- exceptions ---


def test_an_exception_has_the_remote_traceback_as_its_cause(kind: type[Any]) -> None:
    with kind(1) as executor:
        future = executor.submit(T.fail, "so it is")
        with pytest.raises(LookupError, match="so it is") as caught:
            future.result()
        assert isinstance(future.exception(), LookupError)
    cause = caught.value.__cause__
    assert type(cause) is _RemoteTraceback
    assert "tasks_for_pools.py" in str(cause)
    assert "in fail\n" in str(cause)
    assert 'LookupError: so it is\n"""' in str(cause)
    assert "LookupError: so it is" in "".join(traceback.format_exception(caught.value))


def test_what_the_exception_came_of_is_told(pool: ProcessPoolExecutor) -> None:
    error = pool.submit(T.fail_because, "outer").exception()
    assert "KeyError: 'inner'" in str(error.__cause__)


@pytest.mark.parametrize("cause", [T.leave, T.interrupt], ids=["sys.exit", "KeyboardInterrupt"])
def test_the_wish_to_leave_is_an_outcome_like_any_other(cause: Any, single: ProcessPoolExecutor) -> None:
    first = single.submit(T.who).result()
    error = single.submit(cause, *([7] if cause is T.leave else [])).exception()
    assert type(error) in (SystemExit, KeyboardInterrupt)
    assert single.submit(T.who).result() == first


def test_a_long_task_holds_up_no_other(pool: ProcessPoolExecutor, gate: Gate) -> None:
    is_usable(pool)
    held = pool.submit(T.hold, *gate.args)
    gate.wait()
    quick = [pool.submit(T.echo, number) for number in range(10)]
    left = tercet.wait(quick, 5).not_done
    assert not held.done()
    gate.open()
    assert not left


def test_no_result_is_lost_that_comes_between_two_looks(pool: ProcessPoolExecutor) -> None:
    """The leader finishes a future without the GIL: also while its owner is just asking."""
    assert [pool.submit(T.echo, number).result() for number in range(2000)] == list(range(2000))


def _hurry(pool: ProcessPoolExecutor) -> None:
    """Run tiny tasks, until the pool gives a worker many of them ahead."""
    assert list(pool.map(T.echo, range(300))) == list(range(300))


@pytest.mark.parametrize("round_", range(5))
def test_what_stands_behind_a_long_task_is_done_elsewhere(pool: ProcessPoolExecutor, gate: Gate, round_: int) -> None:
    _hurry(pool)
    long = pool.submit(T.hold, *gate.args)
    others = [pool.submit(T.echo, number) for number in range(100)]
    # Half of them were sent to the worker that waits for all of them.
    assert [other.result(PATIENCE_S) for other in others] == list(range(100))
    assert not long.done()
    gate.open()
    long.result(PATIENCE_S)


def test_what_was_taken_back_is_done_once(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    _hurry(pool)
    log = str(tmp_path / "log")
    tasks = []
    for number in range(60):
        tasks.append(pool.submit(T.take, 0.003 if number % 20 == 0 else 0))
        tasks += [pool.submit(T.note, log, f"{number}.{each}") for each in range(20)]
    for task in tasks:
        task.result(PATIENCE_S)
    lines = Path(log).read_text().split()
    assert sorted(lines) == sorted(f"{number}.{each}" for number in range(60) for each in range(20))


def test_a_crash_fails_none_of_the_tasks_that_stood_behind(pool: ProcessPoolExecutor) -> None:
    _hurry(pool)
    crash = pool.submit(T.leave_at_once, 3)
    others = [pool.submit(T.echo, number) for number in range(200)]
    assert [other.result(PATIENCE_S) for other in others] == list(range(200))
    assert isinstance(crash.exception(PATIENCE_S), WorkerCrashed)


class _Ends:
    """Ends its pool while it is packed."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self.executor = executor

    def __reduce__(self) -> Any:
        self.executor.shutdown()
        return int, ()


def test_a_task_that_meets_the_end_is_refused(pool: ProcessPoolExecutor) -> None:
    is_usable(pool)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(T.echo, _Ends(pool))


# --- map ---


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_map_keeps_the_order(pool: ProcessPoolExecutor, size: int) -> None:
    assert list(pool.map(pow, range(50), itertools.repeat(2), chunksize=size)) == [x * x for x in range(50)]
    assert list(pool.map(abs, [], chunksize=size)) == []


def test_map_refuses_a_chunk_of_nothing(kind: type[Any]) -> None:
    with kind(1) as executor, pytest.raises(ValueError, match=r"^chunksize must be >= 1\.$"):
        executor.map(abs, [1], chunksize=0)


@pytest.mark.parametrize("size", [1, 2])
def test_map_raises_an_exception_in_its_place(pool: ProcessPoolExecutor, size: int) -> None:
    results = pool.map(T.fail_at, range(6), itertools.repeat(4), chunksize=size)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="no 4"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_with_timeout(pool: ProcessPoolExecutor, gate: Gate) -> None:
    results = pool.map(T.hold, [gate.started], [gate.opened], timeout=0.01)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    assert is_usable(pool)


def test_map_cancels_the_rest(single: ProcessPoolExecutor, gate: Gate) -> None:
    results = single.map(T.hold, itertools.repeat(gate.started, 20), itertools.repeat(gate.opened), range(20))
    gate.wait()
    gate.open()
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    gate.open(5)
    assert is_usable(single)
    begun = 1
    while gate.has_news():
        gate.wait()
        begun += 1
    assert begun < 6


def test_map_over_endless_input(pool: ProcessPoolExecutor) -> None:
    drawn = itertools.count()
    results = pool.map(T.echo, drawn, buffersize=4)
    assert [next(results) for _ in range(100)] == list(range(100))
    assert next(drawn) <= 106


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_map_refuses_a_wrong_buffersize(pool: ProcessPoolExecutor, size: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="buffersize must be"):
        pool.map(abs, [1], buffersize=size)


def test_many_small_tasks(pool: ProcessPoolExecutor) -> None:
    assert sum(pool.map(T.echo, range(5000))) == sum(range(5000))


def test_many_threads_submit(pool: ProcessPoolExecutor) -> None:
    found: list[int] = []

    def submit() -> None:
        found.extend([pool.submit(T.echo, number).result() for number in range(100)])

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([*range(100)] * 8)


# --- what travels ---


@pytest.mark.parametrize("size", [0, 1, 65_516, 1 << 16, (1 << 20) - 1, 1 << 20, 10_000_000])
def test_bytes_of_any_length_travel(pool: ProcessPoolExecutor, size: int) -> None:
    data = os.urandom(size)
    assert pool.submit(T.length, data).result() == size
    assert pool.submit(T.make, size).result() == b"x" * size
    assert pool.submit(T.echo, data).result() == data


def test_large_messages_go_both_ways_at_once(pool: ProcessPoolExecutor) -> None:
    data = [os.urandom(10_000_000) for _ in range(2)]
    futures = [pool.submit(T.echo, data[number % 2]) for number in range(12)]
    assert all(future.result() == data[number % 2] for number, future in enumerate(futures))


def test_a_lambda_travels(pool: ProcessPoolExecutor) -> None:
    pytest.importorskip("cloudpickle")
    here = 40
    assert pool.submit(lambda x: x + here, 2).result() == 42
    assert pool.submit(lambda: lambda: 7).result()() == 7


@pytest.mark.parametrize("where", ["function", "argument"])
def test_what_cannot_be_packed_is_the_error_of_its_task(pool: ProcessPoolExecutor, where: str) -> None:
    lock = threading.Lock()
    future = pool.submit(lock.acquire) if where == "function" else pool.submit(T.echo, lock)
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        future.result()
    assert is_usable(pool)


def test_a_result_that_cannot_be_packed(pool: ProcessPoolExecutor) -> None:
    futures = [pool.submit(T.make_lock), pool.submit(T.echo, 1)]
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        futures[0].result()
    assert futures[1].result() == 1
    assert is_usable(pool)


@pytest.mark.parametrize("task", [T.raise_fussy, T.raise_with_lock, T.raise_bad_text])
def test_an_exception_that_cannot_be_packed(pool: ProcessPoolExecutor, task: Any) -> None:
    futures = [pool.submit(task), pool.submit(T.echo, 1)]
    error = futures[0].exception()
    assert isinstance(error, RemoteError)
    assert task.__name__ in str(error.__cause__)
    assert futures[1].result() == 1
    assert is_usable(pool)


def test_a_result_that_cannot_be_rebuilt_here(pool: ProcessPoolExecutor) -> None:
    futures = [pool.submit(T.make_hater, os.getpid()), pool.submit(T.echo, 1)]
    with pytest.raises(LookupError, match="not here"):
        futures[0].result()
    assert isinstance(futures[0].exception(), LookupError)
    assert futures[1].result() == 1
    assert is_usable(pool)


def test_an_exception_that_cannot_be_rebuilt_here(pool: ProcessPoolExecutor) -> None:
    error = pool.submit(T.raise_hater, os.getpid()).exception()
    assert isinstance(error, RemoteError)
    assert "HomeHatingError" in str(error)
    assert is_usable(pool)


def test_a_result_that_cannot_be_rebuilt_reaches_callbacks_and_waiters(pool: ProcessPoolExecutor) -> None:
    future = pool.submit(T.make_hater, os.getpid())
    seen: list[Any] = []
    future.add_done_callback(lambda done: seen.append(done.exception()))
    assert concurrent.futures.wait([future], PATIENCE_S).done == {future}
    single = pool.submit(T.echo, 1)
    single.add_done_callback(lambda done: seen.append(done.result()))
    pool.shutdown()
    assert isinstance(seen[0], LookupError)
    assert seen[1] == 1


def test_a_result_that_ends_whoever_rebuilds_it(pool: ProcessPoolExecutor) -> None:
    future = pool.submit(T.make_exit)
    with pytest.raises(SystemExit):
        future.result()
    other = pool.submit(T.make_exit)
    concurrent.futures.wait([other], PATIENCE_S)
    assert isinstance(other.exception(), SystemExit)
    assert is_usable(pool)


# --- before the first task ---


def test_the_initializer_runs_first_in_each_worker() -> None:
    with ProcessPoolExecutor(2, initializer=T.remember, initargs=("key", [1, 2])) as executor:
        assert list(executor.map(T.recall, ["key"] * 20)) == [[1, 2]] * 20


def test_an_initializer_that_fails_breaks_the_pool(kind: type[Any]) -> None:
    with kind(2, initializer=T.cannot_begin) as executor:
        future = executor.submit(T.nothing)
        with pytest.raises(BrokenProcessPool):
            future.result()
        with pytest.raises(BrokenProcessPool):  # noqa: PT012 - as often as it takes
            while True:
                executor.submit(T.nothing).exception()


def test_an_initializer_that_ends_its_process_breaks_the_pool(kind: type[Any]) -> None:
    with kind(1, initializer=T.begin_dead) as executor, pytest.raises(BrokenProcessPool):
        executor.submit(T.nothing).result()


def test_an_initializer_that_cannot_be_packed_runs_all_the_same() -> None:
    box: list[int] = []
    with ProcessPoolExecutor(1, initializer=lambda: box.append(1)) as executor:
        assert executor.submit(T.echo, 1).result() == 1


def test_a_process_is_replaced_after_its_share_of_tasks() -> None:
    with ProcessPoolExecutor(1, max_tasks_per_child=3) as executor:
        pids = list(executor.map(T.who, range(9)))
    assert [len(list(group)) for _, group in itertools.groupby(pids)] == [3, 3, 3]
    assert len(set(pids)) == 3


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
def test_every_start_method(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context, initializer=T.remember, initargs=("a", 1)) as executor:
        assert executor.submit(T.recall, "a").result() == 1
        if method in ("fork", "spawn"):
            assert executor.submit(T.parent_of).result() == os.getpid()
        with pytest.raises(LookupError):
            executor.submit(T.fail, "it").result()
        crash = executor.submit(T.kill_self)
        with pytest.raises(WorkerCrashed):
            crash.result()
        assert is_usable(executor)
        pids = [worker.pid for worker in executor.workers()]
    assert wait_for_ends(pids) == []


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
def test_workers_outlive_the_thread_that_began_them(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(executor.submit(T.who).result()))
        thread.start()
        thread.join()
        # What stays of the thread is what the kernel has not yet noticed: the second answer comes after it.
        tids = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        while thread.native_id in tids:
            tids = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        assert [executor.submit(T.who).result() for _ in range(5)] == found * 5


def test_workers_are_found_by_number(pool: ProcessPoolExecutor) -> None:
    pids = set(pool.map(T.who, range(50)))
    assert pids <= {worker.pid for worker in pool.workers()}
    assert pids <= set(pool._processes)
    assert sum(worker.tasks for worker in pool.workers()) <= 50


def test_modules_can_be_loaded_in_advance() -> None:
    with ProcessPoolExecutor(1, preload=["json", "no_such_module"]) as executor:
        assert is_usable(executor)


# --- the end ---


def test_shutdown_waits_for_what_was_submitted(pool: ProcessPoolExecutor, gate: Gate) -> None:
    futures = [pool.submit(T.hold, *gate.args, number) for number in range(6)]
    gate.open(6)
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(6))


def test_shutdown_without_waiting(pool: ProcessPoolExecutor, gate: Gate) -> None:
    futures = [pool.submit(T.hold, *gate.args, number) for number in range(6)]
    pool.shutdown(wait=False)
    assert not futures[5].done()
    gate.open(6)
    assert [future.result() for future in futures] == list(range(6))


def test_shutdown_cancels_what_has_not_begun(single: ProcessPoolExecutor, gate: Gate) -> None:
    futures = [single.submit(T.hold, *gate.args, number) for number in range(10)]
    gate.wait()
    single.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures[3:])
    gate.open(3)
    assert futures[0].result() == 0
    _done, left = concurrent.futures.wait(futures, PATIENCE_S)
    assert not left


def test_cancel(single: ProcessPoolExecutor, gate: Gate) -> None:
    first = single.submit(T.hold, *gate.args, 1)
    gate.wait()
    more = [single.submit(T.echo, number) for number in range(10)]
    assert not first.cancel()
    assert first.running()
    assert more[9].cancel()
    gate.open()
    assert first.result() == 1
    assert [future.result() for future in more[:9]] == list(range(9))
    with pytest.raises(concurrent.futures.CancelledError):
        more[9].result()


def test_no_worker_is_left_after_shutdown() -> None:
    estate.end()
    before = set(descendants(os.getpid()))
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(T.echo, range(20)))
        workers = set(descendants(os.getpid())) - before
        assert len(workers) >= 2
    # The root, and the nursery that rests.
    assert len(set(descendants(os.getpid())) & workers) == 2
    estate.end()
    assert set(descendants(os.getpid())) <= before


def test_an_executor_that_is_dropped_ends_its_processes(gate: Gate) -> None:
    executor = ProcessPoolExecutor(2)
    pids = set(executor.map(T.who, range(20)))
    future = executor.submit(T.hold, *gate.args, "last")
    del executor
    gc.collect()
    gate.open()
    assert future.result(PATIENCE_S) == "last"
    assert wait_for_ends(list(pids)) == []


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_all_work_can_be_ended_at_once(end: str, gate: Gate) -> None:
    executor = ProcessPoolExecutor(2)
    futures = [executor.submit(T.hold, *gate.args, number) for number in range(12)]
    pids = [gate.wait(), gate.wait()]
    getattr(executor, end)()
    _done, left = concurrent.futures.wait(futures, PATIENCE_S)
    assert not left
    assert wait_for_ends(pids) == []
    executor.shutdown()
    assert not gate.has_news(), "nothing begins after the end"


def test_leaving_by_ctrl_c_does_not_wait_for_ever(gate: Gate) -> None:
    with pytest.raises(KeyboardInterrupt), ProcessPoolExecutor(1) as executor:  # noqa: PT012 - the body is what is interrupted
        futures = [executor.submit(T.hold, *gate.args, number) for number in range(5)]
        gate.wait()
        raise KeyboardInterrupt
    assert all(future.done() for future in futures)
    assert not gate.has_news(), "nothing begins after Ctrl-C"


# --- with the rest of the world ---


def test_asyncio(pool: ProcessPoolExecutor) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(pool, T.echo, number) for number in range(20)))
        with pytest.raises(LookupError, match="there"):
            await loop.run_in_executor(pool, T.fail, "there")
        return results

    assert asyncio.run(main()) == list(range(20))


@pytest.mark.parametrize("module", [concurrent.futures, tercet])
def test_wait_and_as_completed(module: Any, pool: ProcessPoolExecutor, gate: Gate) -> None:
    held = pool.submit(T.hold, *gate.args, "held")
    # One after the other: see `test_a_long_task_holds_up_no_other`.
    quick = []
    for number in range(10):
        quick.append(pool.submit(T.echo, number))
        assert quick[-1].result() == number
    done, left = module.wait([held, *quick], return_when=module.FIRST_COMPLETED)
    assert held in left
    done, left = module.wait([held, *quick], 0)
    assert held in left
    bad = pool.submit(T.fail, "it")
    done, left = module.wait([held, bad], return_when=module.FIRST_EXCEPTION)
    assert (done, left) == ({bad}, {held})
    order = module.as_completed([held, *quick])
    assert {next(order).result() for _ in quick} == set(range(10))
    gate.open()
    assert next(order).result() == "held"
    assert module.wait([held, bad, *quick]).not_done == set()


def test_callbacks(pool: ProcessPoolExecutor, gate: Gate) -> None:
    told = threading.Event()
    seen: list[Any] = []

    def tell(future: Any) -> None:
        seen.append((future.result(), threading.current_thread() is threading.main_thread()))
        told.set()

    future = pool.submit(T.hold, *gate.args, 7)
    future.add_done_callback(tell)
    gate.open()
    assert told.wait(PATIENCE_S)
    assert seen == [(7, False)]
    future.add_done_callback(tell)
    assert seen == [(7, False), (7, True)]


def test_a_callback_may_submit_and_shut_down() -> None:
    executor = ProcessPoolExecutor(1)
    ended = threading.Event()

    def again(future: Any) -> None:
        if future.result() < 5:
            executor.submit(T.echo, future.result() + 1).add_done_callback(again)
        else:
            executor.shutdown()
            ended.set()

    executor.submit(T.echo, 0).add_done_callback(again)
    assert ended.wait(PATIENCE_S)


def test_a_pool_inside_a_worker(pool: ProcessPoolExecutor) -> None:
    assert list(pool.map(T.pool_inside, [10, 20])) == [55, 210]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_inside_a_worker_of_multiprocessing(method: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        assert executor.submit(T.pool_inside, 10).result() == 55


def test_a_program_that_a_task_starts_hears_ctrl_c(pool: ProcessPoolExecutor) -> None:
    assert pool.submit(T.process_inside, 5).result() == "5 True"


@pytest.mark.parametrize("method", [None, "forkserver", "spawn"])
def test_no_lock_is_copied_locked(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with T.LOCK, ProcessPoolExecutor(1, mp_context=context) as executor:
        assert executor.submit(T.with_lock, 5).result(PATIENCE_S) == 5


def test_a_fork_of_the_program_has_no_pool(pool: ProcessPoolExecutor) -> None:
    assert is_usable(pool)
    process = multiprocessing.get_context("fork").Process(target=pool.submit, args=(abs, 1))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 1
    quiet = multiprocessing.get_context("fork").Process(target=abs, args=(1,))
    quiet.start()
    quiet.join(PATIENCE_S)
    assert quiet.exitcode == 0
    assert is_usable(pool)


# --- faults ---


@pytest.mark.parametrize(
    ("task", "args", "words"),
    [
        (T.kill_self, (), "SIGKILL"),
        (T.kill_self, (signal.SIGTERM,), "SIGTERM"),
        (T.crash, (), "SIGSEGV"),
        (T.leave_at_once, (7,), "exit code 7"),
        (T.leave_at_once, (0,), "exit code 0"),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGSEGV", "exit7", "exit0"],
)
def test_a_crash_costs_one_task(pool: ProcessPoolExecutor, task: Any, args: Any, words: str) -> None:
    before = [pool.submit(T.echo, number) for number in range(20)]
    guilty = pool.submit(task, *args)
    after = [pool.submit(T.echo, number) for number in range(20)]
    with pytest.raises(WorkerCrashed, match=words) as caught:
        guilty.result()
    assert isinstance(caught.value, BrokenProcessPool)
    assert isinstance(caught.value, WorkerDied)
    assert [future.result() for future in before + after] == [*range(20), *range(20)]
    assert is_usable(pool)


def test_many_crashes(pool: ProcessPoolExecutor) -> None:
    futures = [pool.submit(T.kill_self) if number % 5 == 3 else pool.submit(T.echo, number) for number in range(60)]
    for number, future in enumerate(futures):
        if number % 5 == 3:
            assert isinstance(future.exception(), WorkerCrashed)
        else:
            assert future.result() == number
    assert is_usable(pool)


def test_killed_while_a_large_result_is_on_its_way(pool: ProcessPoolExecutor) -> None:
    futures = [pool.submit(T.send_and_die, 64 << 20), *(pool.submit(T.echo, number) for number in range(10))]
    with pytest.raises(WorkerCrashed, match="SIGKILL"):
        futures[0].result()
    assert [future.result() for future in futures[1:]] == list(range(10))
    assert is_usable(pool)


def test_killed_while_a_large_argument_is_on_its_way(single: ProcessPoolExecutor, gate: Gate) -> None:
    first = single.submit(T.hold, *gate.args)
    pid = gate.wait()
    second = single.submit(T.length, b"x" * (64 << 20))
    third = single.submit(T.echo, 3)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed):
        first.result()
    assert second.result() == 64 << 20
    assert third.result() == 3


def test_an_idle_worker_is_killed(pool: ProcessPoolExecutor) -> None:
    pids = set(pool.map(T.who, range(20)))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert is_usable(pool)
    assert not pids & set(pool.map(T.who, range(20)))


def test_the_zygote_is_killed_at_rest(pool: ProcessPoolExecutor) -> None:
    zygote = pool.submit(T.parent_of).result()
    pids = list(pool._processes)
    os.kill(zygote, signal.SIGKILL)
    assert wait_for_ends(pids) == []
    assert is_usable(pool)


def test_the_zygote_is_killed_at_work(pool: ProcessPoolExecutor, gate: Gate) -> None:
    zygote = pool.submit(T.parent_of).result()
    running = [pool.submit(T.hold, *gate.args, number) for number in range(2)]
    gate.wait(), gate.wait()
    waiting = [pool.submit(T.echo, number) for number in range(20)]
    os.kill(zygote, signal.SIGKILL)
    assert all(isinstance(future.exception(), WorkerCrashed) for future in running)
    assert [future.result() for future in waiting] == list(range(20))
    assert is_usable(pool)


def test_a_stopped_worker_holds_up_nobody_else(pool: ProcessPoolExecutor, gate: Gate) -> None:
    held = pool.submit(T.hold, *gate.args, "held")
    pid = gate.wait()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert pool.submit(T.who).result(PATIENCE_S) != pid
    finally:
        os.kill(pid, signal.SIGCONT)
    gate.open()
    assert held.result() == "held"


def test_on_crash_break_is_as_in_the_standard_library(gate: Gate) -> None:
    for make in (lambda: ProcessPoolExecutor(1, on_crash="break"), lambda: STD(1)):
        with make() as executor:
            futures = [executor.submit(T.hold, *gate.args)]
            pid = gate.wait()
            futures += [executor.submit(T.echo, number) for number in range(10)]
            os.kill(pid, signal.SIGKILL)
            for future in futures:
                assert isinstance(future.exception(), BrokenProcessPool)
                assert not isinstance(future.exception(), WorkerCrashed)
            with pytest.raises(BrokenProcessPool):
                executor.submit(abs, 1)


def test_a_task_is_tried_again(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, retries=1) as executor:
        futures = [executor.submit(T.kill_self_once, str(tmp_path / f"mark{number}"), number) for number in range(4)]
        assert [future.result() for future in futures] == list(range(4))
        with pytest.raises(WorkerCrashed):
            executor.submit(T.kill_self).result()
        assert is_usable(executor)


def test_a_starting_worker_is_killed_and_the_pool_goes_on(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with ProcessPoolExecutor(1, initializer=T.kill_self_once, initargs=(str(mark), 1)) as executor:
        assert executor.submit(T.echo, 1).result() == 1
        assert is_usable(executor)


# --- whole programs ---

GUARDLESS = """
    import sys
    from tercet.process_pool import ProcessPoolExecutor

    class Point:
        def __init__(self, x): self.x = x
        def __eq__(self, other): return self.x == other.x

    def move(point): return Point(point.x + 1)

    with ProcessPoolExecutor(2) as executor:
        print([point.x for point in executor.map(move, map(Point, range(5)))])
        print(type(executor.submit(move, Point(1)).result()) is Point)
    """


def test_a_script_without_a_guard(run: Callable[..., Program]) -> None:
    assert run(GUARDLESS).end() == (0, "[1, 2, 3, 4, 5]\nTrue\n", "")


def test_python_c(run: Callable[..., Program]) -> None:
    code = textwrap.dedent(GUARDLESS)
    assert run("", command=[sys.executable, "-c", code]).end() == (0, "[1, 2, 3, 4, 5]\nTrue\n", "")


def test_a_program_from_standard_input(tmp_path: Path) -> None:
    code = textwrap.dedent(GUARDLESS)
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2, 3, 4, 5]\nTrue\n", "")


def test_a_program_with_threads_that_hold_locks(run: Callable[..., Program]) -> None:
    program = run(
        """
        import logging, threading
        from tercet.process_pool import ProcessPoolExecutor

        LOCK = threading.Lock()
        handler = logging.StreamHandler()

        def task(x):
            with LOCK:
                return x

        if __name__ == "__main__":
            held, free = threading.Event(), threading.Event()

            def hold():
                with LOCK:
                    held.set()
                    free.wait()

            thread = threading.Thread(target=hold)
            thread.start()
            held.wait()
            with ProcessPoolExecutor(2) as executor:
                print(list(executor.map(task, range(5))))
            free.set()
        """
    )
    assert program.end() == (0, "[0, 1, 2, 3, 4]\n", "")


def test_exit_with_pending_work(run: Callable[..., Program], tmp_path: Path) -> None:
    program = run(
        """
        import sys
        import tasks_for_pools as tasks
        from pathlib import Path
        from tercet.process_pool import ProcessPoolExecutor

        executor = ProcessPoolExecutor(2)
        for number in range(20):
            executor.submit(Path(sys.argv[1], str(number)).touch)
        print("end")
        """,
        str(tmp_path),
    )
    assert program.end() == (0, "end\n", "")
    assert all((tmp_path / str(number)).exists() for number in range(20))


def test_an_error_in_the_main_program_ends_it(run: Callable[..., Program]) -> None:
    program = run(
        """
        import tasks_for_pools as tasks
        from tercet.process_pool import ProcessPoolExecutor

        executor = ProcessPoolExecutor(2)
        futures = [executor.submit(tasks.echo, number) for number in range(20)]
        raise LookupError("the end")
        """
    )
    code, _, err = program.end()
    assert code == 1
    assert err.count("Traceback") == 1


@pytest.mark.parametrize("method", ["", "fork", "forkserver", "spawn"])
def test_ctrl_c_during_map(run: Callable[..., Program], gate: Gate, method: str) -> None:
    program = run(
        """
        import multiprocessing, sys
        import tasks_for_pools as tasks
        from tercet.process_pool import ProcessPoolExecutor

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[3]) if sys.argv[3] else None
            try:
                with ProcessPoolExecutor(2, context) as executor:
                    list(executor.map(tasks.hold, [sys.argv[1]] * 20, [sys.argv[2]] * 20))
            except KeyboardInterrupt:
                print("interrupted")
        """,
        *gate.args,
        method,
    )
    gate.wait(), gate.wait()
    pids = descendants(program.process.pid)
    os.killpg(program.process.pid, signal.SIGINT)
    assert program.end() == (0, "interrupted\n", "")
    assert wait_for_ends(pids) == []


@pytest.mark.parametrize("method", ["", "fork", "forkserver", "spawn"])
def test_no_orphan_is_left_when_the_program_is_killed(run: Callable[..., Program], gate: Gate, method: str) -> None:
    program = run(
        """
        import multiprocessing, sys
        import tasks_for_pools as tasks
        from tercet.process_pool import ProcessPoolExecutor

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[3]) if sys.argv[3] else None
            executor = ProcessPoolExecutor(2, context)
            list(executor.map(tasks.hold, [sys.argv[1]] * 2, [sys.argv[2]] * 2))
        """,
        *gate.args,
        method,
    )
    workers = {gate.wait(), gate.wait()}
    pids = descendants(program.process.pid)
    assert workers <= set(pids)
    program.process.kill()
    program.process.wait()
    # Every one of them: a second is what is promised, more is what a busy machine may take.
    assert wait_for_ends(pids, 10) == []


def _use_a_pool() -> None:
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(T.echo, b"x" * 1_000_000).result() == b"x" * 1_000_000
        assert isinstance(executor.submit(T.kill_self).exception(), WorkerCrashed)
        assert executor.submit(T.echo, 1).result() == 1


@pytest.mark.slow
def test_nothing_leaks() -> None:
    for _ in range(10):
        _use_a_pool()
    before = Holdings.now()
    for _ in range(50):
        _use_a_pool()
    # The memory is less than a fifth of what 50 pools have sent.
    assert Holdings.now().excess(before, growth_mb=10.0) == []
