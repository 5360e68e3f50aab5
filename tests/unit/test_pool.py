"""`tercet.pool`: `multiprocessing.Pool`, which is the oracle, where nothing hangs.

Length: every method of the standard library's class against the original, and every way in which a process may go
wrong.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import multiprocessing.pool
import os
import pickle
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback
from pathlib import Path
from typing import Any

import pytest

import tasks_for_pools as T
import tercet
from holdings import Holdings, descendants, wait_for_ends
from tercet.errors import PoolTerminated, RemoteError, WorkerDied
from tercet.pool import Pool
from tercet.process_pool import WorkerCrashed

PATIENCE_S = 60
STD = multiprocessing.Pool
METHODS = ["fork", "forkserver", "spawn"]

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=[Pool, STD], ids=["tercet", "stdlib"])
def kind(request: pytest.FixtureRequest) -> Any:
    """What makes a pool."""
    return request.param


@pytest.fixture
def either(kind: Any) -> Iterator[Any]:
    """A pool of two workers, of both kinds."""
    with kind(2) as made:
        yield made
    made.join()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool of two workers."""
    with Pool(2) as made:
        yield made
    made.join()


def is_usable(pool: Any) -> bool:
    return pool.map_async(T.echo, range(40), 1).get(PATIENCE_S) == list(range(40))


# --- what the standard library says ---


def test_it_is_a_pool_of_the_standard_library(pool: Pool) -> None:
    assert isinstance(pool, multiprocessing.pool.Pool)
    result = pool.apply_async(divmod, (7, 2))
    assert isinstance(result, multiprocessing.pool.AsyncResult)
    assert isinstance(pool.map_async(abs, [1]), multiprocessing.pool.MapResult)
    assert isinstance(pool.imap(abs, [1]), multiprocessing.pool.IMapIterator)
    assert isinstance(pool.imap_unordered(abs, [1]), multiprocessing.pool.IMapUnorderedIterator)
    assert result.get() == (3, 1)


def test_it_has_the_parameters_of_the_standard_library() -> None:
    from inspect import Parameter, signature

    names = "__init__ apply apply_async map map_async starmap starmap_async imap imap_unordered close terminate join"
    for name in names.split():
        ours, theirs = (
            [
                (parameter.name, parameter.kind, parameter.default)
                for parameter in signature(getattr(kind, name)).parameters.values()
                if parameter.kind is not Parameter.KEYWORD_ONLY
            ]
            for kind in (Pool, multiprocessing.pool.Pool)
        )
        assert ours == theirs, name


def test_apply(either: Any) -> None:
    assert either.apply(T.both, (1, 2), {"x": 3}) == ((1, 2), {"x": 3})
    assert either.apply(T.both, [1]) == ((1,), {})
    assert either.apply(T.both) == ((), {})
    result = either.apply_async(T.both, (1,), {"x": 2})
    assert result.get(PATIENCE_S) == ((1,), {"x": 2})
    assert result.get() is result.get()
    assert (result.ready(), result.successful()) == (True, True)


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
@pytest.mark.parametrize("length", [0, 1, 7, 100])
def test_the_maps(either: Any, length: int, chunksize: int | None) -> None:
    items, pairs = range(length), [(number, 2) for number in range(length)]
    assert either.map(T.echo, items, chunksize) == list(items)
    assert either.map(T.echo, iter(items), chunksize) == list(items)
    assert either.map_async(T.echo, items, chunksize).get() == list(items)
    assert either.starmap(pow, pairs, chunksize) == [number**2 for number in items]
    assert either.starmap_async(pow, pairs, chunksize).get() == [number**2 for number in items]
    size = 1 if chunksize is None else chunksize
    assert list(either.imap(T.echo, items, size)) == list(items)
    assert sorted(either.imap_unordered(T.echo, iter(items), size)) == list(items)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 100])
def test_the_standard_number_of_chunks(either: Any, length: int) -> None:
    # Items of one chunk are objects of one process and one list.
    result = either.map_async(T.echo, range(length))
    assert result._chunksize == -(-length // 8)
    result.wait()
    assert result._number_left == 0


def test_a_chunk_of_nothing_is_refused(pool: Pool) -> None:
    for method in (pool.map, pool.starmap, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not 0"):
            method(abs, [1], 0)


def test_imap_takes_no_chunks_of_nothing(either: Any) -> None:
    for method in (either.imap, either.imap_unordered):
        with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not -1"):
            method(abs, [1], -1)


def test_an_iterator_goes_on_after_an_error(either: Any) -> None:
    results = either.imap(T.fail_if_odd, range(4))
    assert next(results) == 0
    with pytest.raises(LookupError):
        next(results)
    assert next(results) == 2
    with pytest.raises(LookupError):
        next(results)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


def test_time_limits(either: Any, gate: Any) -> None:
    result = either.apply_async(T.hold, (*gate.args, "held"))
    many = either.map_async(T.echo, range(3), 1)
    assert many.get(PATIENCE_S) == [0, 1, 2]
    with pytest.raises(multiprocessing.TimeoutError) as caught:
        result.get(0.01)
    assert str(caught.value) == ""
    result.wait(0.01)
    assert not result.ready()
    with pytest.raises(ValueError, match=r"<multiprocessing|<tercet.* not ready"):
        result.successful()
    gate.open()
    assert result.get(PATIENCE_S) == "held"


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_a_late_result_is_the_next_one(either: Any, gate: Any, name: str) -> None:
    results = getattr(either, name)(T.hold_all, [(*gate.args, "held")])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.01)
    gate.open()
    assert results.next(PATIENCE_S) == "held"
    with pytest.raises(StopIteration):
        results.next()


def test_callbacks_come_before_get_in_one_thread(either: Any) -> None:
    seen: list[Any] = []
    threads = set()

    def tell(value: Any) -> None:
        seen.append(value)
        threads.add(threading.current_thread())

    for number in range(20):
        assert either.apply_async(T.echo, (number,), callback=tell).get(PATIENCE_S) == number
        assert seen[-1] == number
    assert either.map_async(T.echo, range(5), callback=tell).get(PATIENCE_S) == list(range(5))
    assert seen[-1] == list(range(5))
    failing = either.apply_async(T.fail, ("it",), callback=seen.clear, error_callback=tell)
    with pytest.raises(LookupError):
        failing.get(PATIENCE_S)
    assert isinstance(seen[-1], LookupError)
    failing = either.map_async(T.fail, ["it"], callback=seen.clear, error_callback=tell)
    failing.wait(PATIENCE_S)
    assert isinstance(seen[-1], LookupError)
    assert len(seen) == 23
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_callbacks_come_in_the_order_of_the_ends(kind: Any, gate: Any) -> None:
    with kind(2) as pool:
        seen: list[Any] = []
        slow = pool.apply_async(T.hold, (*gate.args, "slow"), callback=seen.append)
        gate.wait()
        for number in range(10):
            # One after the other: a worker may have one that stands behind another task, until it is taken back.
            pool.apply_async(T.echo, (number,), callback=seen.append).wait(PATIENCE_S)
        last = pool.apply_async(T.echo, ("last",), callback=seen.append)
        last.wait(PATIENCE_S)
        gate.open()
        slow.wait(PATIENCE_S)
        assert seen == [*range(10), "last", "slow"]


def test_all_callbacks_are_done_when_join_returns(kind: Any) -> None:
    seen: list[int] = []
    pool = kind(2)
    for number in range(100):
        pool.apply_async(T.echo, (number,), callback=seen.append)
    pool.close()
    pool.join()
    assert sorted(seen) == list(range(100))


def test_a_callback_may_go_on(either: Any) -> None:
    ended = threading.Event()

    def again(number: int) -> None:
        if number < 5:
            either.apply_async(T.echo, (number + 1,), callback=again)
        else:
            ended.set()

    either.apply_async(T.echo, (0,), callback=again)
    assert ended.wait(PATIENCE_S)


def test_a_callback_may_terminate(kind: Any, gate: Any) -> None:
    pool = kind(2)
    pool.apply_async(T.hold, gate.args)
    gate.wait()
    ended = threading.Event()

    def end(_: object) -> None:
        pool.terminate()
        ended.set()

    pool.apply_async(T.echo, (1,), callback=end)
    assert ended.wait(PATIENCE_S)
    pool.join()


def test_a_map_goes_on_after_an_error(either: Any, tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(6)]
    with pytest.raises(FileNotFoundError):
        either.map(Path.touch, [tmp_path / "no" / "way", *paths], 1)
    assert all(path.exists() for path in paths)


def test_the_traceback_of_the_worker_is_the_cause(either: Any) -> None:
    for call in (lambda: either.apply(T.fail, ("it",)), lambda: either.map(T.fail, ["it"])):
        with pytest.raises(LookupError, match="it") as caught:
            call()
        cause = caught.value.__cause__
        assert type(cause) is RemoteTraceback
        assert "in fail" in cause.tb
        assert "raise LookupError(text)" in str(cause)


def errors_of(total: int, bad: int) -> Iterator[int]:
    for number in range(total):
        if number == bad:
            raise LookupError("no more")
        yield number


def drain(results: Iterator[Any], seen: list[Any]) -> None:
    for value in results:
        seen.append(value)


def test_items_that_end_in_an_error(either: Any) -> None:
    for name in ("map", "starmap"):
        with pytest.raises(LookupError, match="no more") as caught:
            getattr(either, name)(T.echo, errors_of(5, 3), 1)
        assert caught.value.__cause__ is None
    for name, size in itertools.product(("imap", "imap_unordered"), (1, 2)):
        results = getattr(either, name)(T.echo, errors_of(9, 4), size)
        seen: list[int] = []
        with pytest.raises(LookupError, match="no more"):
            drain(results, seen)
        assert set(seen) <= set(range(4))
        if name == "imap":
            assert seen == [0, 1, 2, 3]
    with pytest.raises(TypeError, match="not iterable"):
        either.map(T.echo, 5)
    with pytest.raises(TypeError, match="not iterable"):
        next(either.imap(T.echo, 5))


def test_what_cannot_be_sent_is_an_error_of_its_task(either: Any) -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        either.apply(T.echo, (lock,))
    with pytest.raises(TypeError, match="pickle"):
        either.map(T.echo, [1, lock, 2], 1)
    results = either.imap(T.echo, [1, lock, 2])
    assert next(results) == 1
    with pytest.raises(TypeError, match="pickle"):
        next(results)
    assert next(results) == 2


def test_what_cannot_be_sent_back(either: Any) -> None:
    seen: list[Any] = []
    result = either.apply_async(T.make_lock, error_callback=seen.append)
    with pytest.raises(MaybeEncodingError, match=r"Error sending result: .*lock.* Reason: .*pickle") as caught:
        result.get(PATIENCE_S)
    assert seen == [caught.value]
    assert "pickle" in caught.value.exc
    with pytest.raises(MaybeEncodingError, match="pickle"):
        either.map(T.make_lock, [1])
    with pytest.raises(MaybeEncodingError, match="pickle"):
        either.apply(T.raise_with_lock)


def test_parameters_that_are_refused(kind: Any) -> None:
    for count in (0, -1):
        with pytest.raises(ValueError, match="Number of processes must be at least 1"):
            kind(count)
    for count in (0, -1, 0.5, "12"):
        with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
            kind(1, maxtasksperchild=count)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        kind(1, 5)


def test_it_cannot_be_pickled(either: Any) -> None:
    with pytest.raises(NotImplementedError, match="pool objects cannot be passed between processes or pickled"):
        pickle.dumps(either)


def test_its_text(pool: Pool) -> None:
    assert repr(pool) == "<tercet.pool.Pool state=RUN pool_size=2>"
    pool.close()
    assert repr(pool) == "<tercet.pool.Pool state=CLOSE pool_size=2>"


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_a_pool_that_has_ended(kind: Any, end: str) -> None:
    pool = kind(1)
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    getattr(pool, end)()
    pool.join()
    getattr(pool, end)()
    pool.terminate()
    pool.join()
    calls = [
        lambda: pool.apply(abs, (1,)),
        lambda: pool.apply_async(abs, (1,)),
        lambda: pool.map(abs, [1]),
        lambda: pool.map_async(abs, [1]),
        lambda: pool.starmap(pow, [(1, 1)]),
        lambda: pool.starmap_async(pow, [(1, 1)]),
        lambda: pool.imap(abs, [1]),
        lambda: pool.imap_unordered(abs, [1], 2),
        pool.__enter__,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="Pool not running"):
            call()


def test_what_is_there_is_done_after_close(kind: Any) -> None:
    pool = kind(2)
    results = [pool.map_async(T.echo, range(20), 1), pool.apply_async(T.echo, (7,))]
    streams = [pool.imap(T.echo, iter(range(200))), pool.imap_unordered(T.echo, iter(range(200)), 3)]
    pool.close()
    pool.join()
    assert [result.get() for result in results] == [list(range(20)), 7]
    assert [sorted(stream) for stream in streams] == [list(range(200))] * 2


def test_the_end_of_the_block_terminates(kind: Any, gate: Any) -> None:
    with kind(2) as pool:
        pool.map_async(T.hold, [], 1)
        pool.apply_async(T.hold, gate.args)
        pids = [gate.wait()]
    assert wait_for_ends(pids) == []
    pool.join()


@pytest.mark.parametrize("method", [None, *METHODS])
def test_the_initializer(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with Pool(2, T.remember, ("key", "value"), context=context) as pool:
        assert pool.map(T.recall, ["key"] * 20, 1) == ["value"] * 20


@pytest.mark.parametrize("method", [None, *METHODS])
def test_workers_are_replaced(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with Pool(1, maxtasksperchild=2, context=context) as pool:
        pids = pool.map(T.who, range(6), 1)
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]
        assert len(set(pool.map(T.who, range(6), 6))) == 1
        pool.close()
        pool.join()


@pytest.mark.parametrize("method", METHODS)
def test_a_context_starts_the_processes_at_once(method: str) -> None:
    with Pool(3, context=multiprocessing.get_context(method)) as pool:
        assert len(pool._pool) == 3
        pids = {process.pid for process in pool._pool}
        assert pids <= set(descendants(os.getpid()))
        assert set(pool.map(T.who, range(20), 1)) <= pids
    assert wait_for_ends(list(pids)) == []


def test_the_zygote_starts_them_when_they_are_looked_at() -> None:
    with Pool(3) as pool:
        assert len(pool._pool) == 3
        assert is_usable(pool)
        assert len({process.pid for process in pool._pool}) == 3


def test_a_pool_that_was_not_closed_is_named(kind: Any) -> None:
    pool = kind(1)
    assert pool.apply(abs, (-1,)) == 1
    pids = [process.pid for process in pool._pool]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        gc.collect()
    words = [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)]
    assert any("unclosed running multiprocessing pool <" in word for word in words)
    # The warning has the pool.
    del caught
    gc.collect()
    assert wait_for_ends(pids) == []


def test_a_result_keeps_its_pool(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert kind(1).map_async(T.echo, range(5)).get(PATIENCE_S) == list(range(5))
        assert list(kind(1).imap(T.echo, iter(range(50)))) == list(range(50))


def test_many_threads_use_it(either: Any) -> None:
    found: dict[int, Any] = {}

    def use(number: int) -> None:
        found[number] = [either.map(T.echo, range(number)), list(either.imap(T.echo, range(number)))]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == {number: [list(range(number))] * 2 for number in range(8)}


def test_arguments_and_results_are_let_go(either: Any) -> None:
    items = [T.Tracked() for _ in range(4)]
    refs = [weakref.ref(item) for item in items]
    results = either.map(T.echo, items)
    refs += [weakref.ref(result) for result in results]
    del items, results
    # One that the standard library's thread still had in its hands goes with the next.
    either.map(T.echo, range(4))
    gc.collect()
    assert [ref() for ref in refs] == [None] * 8


# --- what is better ---


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
@pytest.mark.parametrize("size", [1, 3])
def test_an_endless_input_is_drawn_within_bounds(pool: Pool, name: str, size: int) -> None:
    drawn = itertools.count()
    items = (next(drawn) for _ in itertools.repeat(None))
    results = getattr(pool, name)(T.echo, items, size, buffersize=4)
    seen = [next(results) for _ in range(60)]
    assert len(set(seen)) == 60
    assert next(drawn) <= (60 // size + 6) * size
    if name == "imap":
        assert seen == list(range(60))


def test_many_threads_share_an_iterator(pool: Pool) -> None:
    # In the standard library, whoever was woken too late gets a `TimeoutError`.
    for results in (pool.imap(T.echo, range(200)), pool.imap_unordered(T.echo, iter(range(200)))):
        found: list[int] = []
        threads = [threading.Thread(target=found.extend, args=(results,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert sorted(found) == list(range(200))


def test_an_endless_input_does_not_hold_up_others(pool: Pool) -> None:
    results = pool.imap(T.echo, itertools.count())
    assert pool.apply(T.echo, (5,)) == 5
    assert [next(results) for _ in range(100)] == list(range(100))
    assert is_usable(pool)


def test_a_bounded_buffer_ends_with_the_pool(pool: Pool) -> None:
    results = pool.imap(T.echo, itertools.count(), buffersize=3)
    assert next(results) == 0
    pool.close()
    with pytest.raises(ValueError, match="Pool not running"):
        list(results)
    with pytest.raises(StopIteration):
        next(results)
    pool.join()


def test_a_bounded_buffer_of_all_items(pool: Pool) -> None:
    assert list(pool.imap(T.echo, range(20), buffersize=3)) == list(range(20))
    assert sorted(pool.imap_unordered(T.echo, iter(range(20)), buffersize=1)) == list(range(20))
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool.imap(T.echo, [1], buffersize=0)
    results = pool.imap(T.echo, errors_of(9, 4), buffersize=2)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="no more"):
        next(results)


def test_terminate_ends_what_runs_and_what_waits(pool: Pool, gate: Any) -> None:
    seen: list[Any] = []
    running = [pool.apply_async(T.hold, gate.args, callback=seen.append, error_callback=seen.append) for _ in range(2)]
    pids = [gate.wait(), gate.wait()]
    waiting = pool.map_async(T.hold, range(50), 1, seen.append, seen.append)
    stream = pool.imap(T.echo, itertools.count())
    pool.terminate()
    assert wait_for_ends(pids, 0) == []
    for result in running:
        with pytest.raises(WorkerCrashed):
            result.get(PATIENCE_S)
    with pytest.raises(PoolTerminated, match="the pool was terminated before the task began") as caught:
        waiting.get(PATIENCE_S)
    assert isinstance(caught.value, WorkerDied)
    with pytest.raises(PoolTerminated):
        next(stream)
    assert seen == []


def test_terminate_ends_who_does_not_listen() -> None:
    with Pool(1) as pool:
        pool.apply(T.ignore_signals)
        pids = [process.pid for process in pool._pool]
        pool.apply_async(time.sleep, (1000,))
    assert wait_for_ends(pids, 0) == []


def test_terminate_does_not_wait_for_the_items(pool: Pool) -> None:
    begun, free = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        free.wait()

    results = pool.imap(T.echo, items())
    assert next(results) == 1
    assert begun.wait(PATIENCE_S)
    pool.terminate()
    pool.join()
    free.set()


def test_a_callback_that_fails_is_told(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def fail(_: object) -> None:
        raise KeyError("callback")

    assert pool.apply_async(T.echo, (1,), callback=fail).get(PATIENCE_S) == 1
    assert is_usable(pool)
    assert pool.apply_async(T.echo, (2,), callback=told.append).get(PATIENCE_S) == 2
    assert [told[0].exc_type, told[1]] == [KeyError, 2]


def test_lambdas(pool: Pool) -> None:
    pytest.importorskip("cloudpickle")
    bias = 5
    assert pool.map(lambda number: number + bias, range(5)) == [5, 6, 7, 8, 9]


def test_it_is_there_without_multiprocessing_being_loaded() -> None:
    import subprocess

    code = "import sys, tercet; assert 'multiprocessing' not in sys.modules; print(tercet.Pool.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "Pool\n"
    assert tercet.Pool is Pool


# --- faults ---


@pytest.mark.parametrize(
    ("task", "args", "words"),
    [
        (T.kill_self, (), "SIGKILL"),
        (T.kill_self, (signal.SIGTERM,), "SIGTERM"),
        (T.crash, (), "SIGSEGV"),
        (T.leave_at_once, (7,), "exit code 7"),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGSEGV", "exit7"],
)
@pytest.mark.parametrize("method", [None, "fork"])
def test_a_crash_costs_one_task(method: str | None, task: Any, args: Any, words: str) -> None:
    with Pool(2, context=None if method is None else multiprocessing.get_context(method)) as pool:
        told: list[Any] = []
        before = pool.map_async(T.echo, range(20), 1)
        guilty = pool.apply_async(task, args, error_callback=told.append)
        after = pool.map_async(T.echo, range(20), 1)
        with pytest.raises(WorkerCrashed, match=words) as caught:
            guilty.get(PATIENCE_S)
        assert told == [caught.value]
        assert before.get(PATIENCE_S) == after.get(PATIENCE_S) == list(range(20))
        assert is_usable(pool)


def test_a_crash_in_a_map(pool: Pool) -> None:
    with pytest.raises(WorkerCrashed, match="SIGKILL"):
        pool.map_async(T.kill_self_at, [(number, 3) for number in range(20)], 1).get(PATIENCE_S)
    results = pool.imap(T.kill_self_at, [(number, 3) for number in range(20)])
    found = [_of(results) for _ in range(20)]
    assert [isinstance(value, WorkerCrashed) for value in found] == [number == 3 for number in range(20)]
    assert [value for value in found if not isinstance(value, WorkerCrashed)] == [n for n in range(20) if n != 3]
    assert is_usable(pool)


def _of(results: Any) -> Any:
    try:
        return results.next(PATIENCE_S)
    except WorkerCrashed as error:
        return error


def test_a_late_result_is_of_no_later_call(pool: Pool, gate: Any) -> None:
    late = pool.starmap_async(T.hold, [(*gate.args, "late")] * 2, 1)
    gate.wait(), gate.wait()
    with pytest.raises(multiprocessing.TimeoutError):
        late.get(0)
    del late
    next_one = pool.map_async(T.echo, range(20), 1)
    gate.open(2)
    assert next_one.get(PATIENCE_S) == list(range(20))
    assert list(pool.imap_unordered(T.echo, [5])) == [5]


@pytest.mark.parametrize(("task", "error"), [(T.leave, SystemExit), (T.interrupt, KeyboardInterrupt)])
def test_ends_in_words(pool: Pool, task: Any, error: type[BaseException]) -> None:
    with pytest.raises(error):
        pool.apply(task, (3,) if task is T.leave else ())
    assert is_usable(pool)


def test_killed_while_a_large_result_is_on_its_way(pool: Pool) -> None:
    guilty = pool.apply_async(T.send_and_die, (64 << 20,))
    assert pool.map_async(T.echo, range(10), 1).get(PATIENCE_S) == list(range(10))
    with pytest.raises(WorkerCrashed, match="SIGKILL"):
        guilty.get(PATIENCE_S)
    assert is_usable(pool)


@pytest.mark.parametrize("method", [None, "fork"])
def test_an_idle_worker_is_killed(method: str | None) -> None:
    with Pool(2, context=None if method is None else multiprocessing.get_context(method)) as pool:
        assert is_usable(pool)
        for process in pool._pool:
            os.kill(process.pid, signal.SIGKILL)
        assert is_usable(pool)


def test_what_cannot_be_rebuilt_here(pool: Pool) -> None:
    here = os.getpid()
    with pytest.raises(LookupError, match="not here"):
        pool.apply_async(T.make_hater, (here,)).get(PATIENCE_S)
    with pytest.raises(RemoteError, match="far away"):
        pool.apply_async(T.raise_hater, (here,)).get(PATIENCE_S)
    with pytest.raises(MaybeEncodingError, match="7 at home"):
        pool.apply_async(T.raise_fussy).get(PATIENCE_S)
    with pytest.raises(MaybeEncodingError):
        pool.apply_async(T.raise_bad_text).get(PATIENCE_S)
    assert is_usable(pool)


def test_an_initializer_that_fails() -> None:
    with Pool(2, T.cannot_begin) as pool:
        for call in (lambda: pool.apply(abs, (1,)), lambda: pool.map(abs, [1]), lambda: next(pool.imap(abs, [1]))):
            with pytest.raises(BrokenProcessPool, match="no ground to stand on"):
                call()


def test_a_pool_inside_a_worker(pool: Pool) -> None:
    assert pool.map(T.pool_of_pools, [10, 20]) == [55, 210]


@pytest.mark.parametrize("method", [None, "forkserver", "spawn"])
def test_no_lock_is_copied_locked(method: str | None) -> None:
    context = None if method is None else multiprocessing.get_context(method)
    with T.LOCK, Pool(1, context=context) as pool:
        assert pool.apply_async(T.with_lock, (5,)).get(PATIENCE_S) == 5


def test_a_fork_of_the_program_has_no_pool(pool: Pool) -> None:
    assert is_usable(pool)
    process = multiprocessing.get_context("fork").Process(target=pool.apply, args=(abs, (1,)))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 1
    assert is_usable(pool)


# --- whole programs ---


@pytest.mark.parametrize("module", ["tercet", "multiprocessing"])
@pytest.mark.parametrize("end", ["", "pool.close()"])
def test_exit_with_pending_work(run: Callable[..., Any], gate: Any, module: str, end: str) -> None:
    program = run(
        f"""
        import sys
        import tasks_for_pools as tasks
        from {module} import Pool

        if __name__ == "__main__":
            pool = Pool(2)
            result = pool.starmap_async(tasks.hold, [sys.argv[1:]] * 20, 1)
            print(sys.stdin.readline(), end="", flush=True)
            {end}
        """,
        *gate.args,
        stdin_is_open=True,
    )
    gate.wait(), gate.wait()
    pids = descendants(program.process.pid)
    assert program.end("end\n") == (0, "end\n", "")
    assert wait_for_ends(pids) == []


@pytest.mark.parametrize("method", ["", *METHODS])
def test_ctrl_c_during_map(run: Callable[..., Any], gate: Any, method: str) -> None:
    program = run(
        """
        import multiprocessing, sys
        import tasks_for_pools as tasks
        from tercet import Pool

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[3]) if sys.argv[3] else None
            try:
                with Pool(2, context=context) as pool:
                    pool.starmap(tasks.hold, [sys.argv[1:3]] * 20, 1)
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


@pytest.mark.parametrize("method", ["", *METHODS])
def test_no_orphan_is_left_when_the_program_is_killed(run: Callable[..., Any], gate: Any, method: str) -> None:
    program = run(
        """
        import multiprocessing, sys
        import tasks_for_pools as tasks
        from tercet import Pool

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[3]) if sys.argv[3] else None
            Pool(2, context=context).starmap(tasks.hold, [sys.argv[1:3]] * 2, 1)
        """,
        *gate.args,
        method,
    )
    workers = {gate.wait(), gate.wait()}
    pids = descendants(program.process.pid)
    assert workers <= set(pids)
    program.process.kill()
    program.process.wait()
    assert wait_for_ends(pids, 10) == []


def test_a_program_with_threads_that_hold_locks(run: Callable[..., Any]) -> None:
    program = run(
        """
        import threading
        from tercet import Pool

        LOCK = threading.Lock()

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
            with Pool(2) as pool:
                print(pool.map(task, range(5)))
            free.set()
        """
    )
    assert program.end() == (0, "[0, 1, 2, 3, 4]\n", "")


def _use_a_pool() -> None:
    with Pool(1) as pool:
        assert pool.apply(T.echo, (b"x" * 1_000_000,)) == b"x" * 1_000_000
        assert list(pool.imap(T.echo, iter(range(50)))) == list(range(50))
        assert pool.map_async(T.echo, range(5), callback=len).get() == list(range(5))
        with pytest.raises(WorkerCrashed):
            pool.apply(T.kill_self)
    pool.join()


def test_nothing_is_left_of_a_pool() -> None:
    _use_a_pool()
    before = Holdings.now()
    for _ in range(5):
        _use_a_pool()
    assert Holdings.now().counts == before.counts
