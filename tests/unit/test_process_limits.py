"""What ends a task of a pool of processes before its time, and what it does to the others: nothing."""

from __future__ import annotations

import concurrent.futures
import functools
import gc
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import tasks_for_pools as T
import tercet
from tercet.process_pool import ProcessPoolExecutor, Worker, WorkerCrashed, name_of_call
from tercet.starter import ZygoteStarter

pytestmark = pytest.mark.timeout(90)

PATIENCE_S = 60
SHORT_S = 0.2


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def single() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1) as executor:
        yield executor


class Begun:
    """A pipe with a name, on which a task says that it has begun and stays."""

    def __init__(self, folder: Path, name: str = "begun") -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def wait(self) -> int:
        return int.from_bytes(os.read(self._fd, 8), "little")


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return Begun(tmp_path)


# --- time ---


def test_a_task_that_takes_too_long_ends(single: ProcessPoolExecutor, begun: Begun) -> None:
    limited = single.options(timeout=SHORT_S)
    future = limited.submit(T.stay, begun.path)
    pid = begun.wait()
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^the task took longer than 200ms, and was ended with its worker process$"):
        future.result(PATIENCE_S)
    assert time.monotonic() - started < PATIENCE_S / 2
    assert single.submit(os.getpid).result(PATIENCE_S) != pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_task_that_ignores_the_first_word_is_killed(single: ProcessPoolExecutor, begun: Begun) -> None:
    future = single.options(timeout=SHORT_S).submit(T.stay_stubbornly, begun.path)
    begun.wait()
    with pytest.raises(TimeoutError):
        future.result(PATIENCE_S)


def test_a_task_may_tidy_up(single: ProcessPoolExecutor, begun: Begun, tmp_path: Path) -> None:
    mark = tmp_path / "tidy"
    future = single.options(timeout=SHORT_S).submit(T.stay_and_tidy, begun.path, str(mark))
    begun.wait()
    with pytest.raises(TimeoutError):
        future.result(PATIENCE_S)
    assert mark.exists()


def test_time_that_it_waits_is_not_counted(single: ProcessPoolExecutor) -> None:
    # Together they take longer than each may.
    futures = [single.options(timeout=SHORT_S * 10).submit(T.take, SHORT_S * 3) for _ in range(5)]
    assert [future.result(PATIENCE_S) for future in futures] == [None] * 5


def test_the_pool_may_have_a_limit_for_all(begun: Begun) -> None:
    with ProcessPoolExecutor(1, timeout=SHORT_S) as executor:
        assert executor.submit(T.echo, 1).result() == 1
        future = executor.submit(T.stay, begun.path)
        begun.wait()
        with pytest.raises(TimeoutError):
            future.result(PATIENCE_S)
        assert list(executor.map(T.echo, range(100))) == list(range(100))


def test_options_that_are_not_given_are_the_pools(begun: Begun, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, timeout=SHORT_S, retries=1) as executor:
        future = executor.options(retries=0).submit(T.stay, begun.path)
        begun.wait()
        with pytest.raises(TimeoutError):
            future.result(PATIENCE_S)
        patient = executor.options(timeout=None)
        assert patient.submit(T.take, 2 * SHORT_S).result(PATIENCE_S) is None
        assert patient.submit(T.kill_self_once, str(tmp_path / "mark"), 7).result(PATIENCE_S) == 7


def test_what_stands_behind_it_is_done(single: ProcessPoolExecutor, begun: Begun) -> None:
    assert list(single.map(T.echo, range(300))) == list(range(300))
    slow = single.options(timeout=SHORT_S).submit(T.stay, begun.path)
    others = [single.submit(T.echo, number) for number in range(100)]
    assert [other.result(PATIENCE_S) for other in others] == list(range(100))
    with pytest.raises(TimeoutError):
        slow.result(PATIENCE_S)


def test_a_limit_set_while_the_pool_sleeps(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    """The one that watches had nothing to wake up for."""
    held = Begun(tmp_path, "held")
    forever = pool.submit(T.stay, held.path)
    held.wait()
    limited = Begun(tmp_path, "limited")
    future = pool.options(timeout=SHORT_S).submit(T.stay, limited.path)
    limited.wait()
    with pytest.raises(TimeoutError):
        future.result(PATIENCE_S)
    assert pool.kill(forever)


def test_a_timeout_is_not_tried_again(single: ProcessPoolExecutor, begun: Begun) -> None:
    future = single.options(timeout=SHORT_S, retries=3).submit(T.stay, begun.path)
    with pytest.raises(TimeoutError):
        future.result(PATIENCE_S)


def test_a_timeout_does_not_break_a_pool_that_breaks(begun: Begun) -> None:
    with ProcessPoolExecutor(1, on_crash="break", timeout=SHORT_S) as executor:
        with pytest.raises(TimeoutError):
            executor.submit(T.stay, begun.path).result(PATIENCE_S)
        assert executor.submit(T.echo, 1).result(PATIENCE_S) == 1


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_limit_of_no_time_is_refused(pool: ProcessPoolExecutor, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be greater than 0"):
        pool.options(timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be greater than 0"):
        ProcessPoolExecutor(1, timeout=timeout)


@pytest.mark.parametrize("timeout", [1e-9, 1e18, float("inf")])
def test_odd_limits(single: ProcessPoolExecutor, timeout: float) -> None:
    if timeout == float("inf"):
        with pytest.raises(ValueError, match="float"):
            single.options(timeout=timeout).submit(T.echo, 1)
        return
    outcome = single.options(timeout=timeout).submit(T.take, 0.05).exception(PATIENCE_S)
    assert isinstance(outcome, TimeoutError) if timeout < 1 else outcome is None


# --- kill ---


def test_a_running_task_is_cancelled(single: ProcessPoolExecutor, begun: Begun) -> None:
    future = single.submit(T.stay, begun.path)
    pid = begun.wait()
    assert not future.cancel()
    assert single.kill(future)
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert single.submit(os.getpid).result(PATIENCE_S) != pid


def test_who_waits_for_it_is_told(single: ProcessPoolExecutor, begun: Begun) -> None:
    future = single.submit(T.stay, begun.path)
    begun.wait()
    heard: list[Any] = []
    future.add_done_callback(heard.append)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            future.result()
        except BaseException as error:
            outcome.append(type(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert single.kill(future)
    waiter.join(PATIENCE_S)
    assert outcome == [concurrent.futures.CancelledError]
    assert heard == [future]
    done, not_done = concurrent.futures.wait([future], PATIENCE_S)
    assert (done, not_done) == ({future}, set())


def test_a_task_that_waits_is_cancelled_and_nobody_dies(single: ProcessPoolExecutor, begun: Begun) -> None:
    # A worker may run its first task before the pool has its number.
    assert single.submit(T.echo, 0).result() == 0
    held = single.submit(T.stay, begun.path)
    pid = begun.wait()
    waiting = single.submit(T.echo, 1)
    assert single.kill(waiting)
    assert waiting.cancelled()
    assert [worker.pid for worker in single.workers()] == [pid]
    assert single.kill(held)


def test_what_was_sent_ahead_is_cancelled_and_nobody_dies(single: ProcessPoolExecutor, begun: Begun) -> None:
    assert list(single.map(T.echo, range(300))) == list(range(300))
    held = single.submit(T.stay, begun.path)
    ahead = [single.submit(T.echo, number) for number in range(20)]
    pid = begun.wait()
    assert all(single.kill(future) for future in ahead[::2])
    assert [worker.pid for worker in single.workers()] == [pid]
    assert single.kill(held)
    assert [future.result(PATIENCE_S) for future in ahead[1::2]] == list(range(1, 20, 2))
    assert all(future.cancelled() for future in ahead[::2])


def test_what_is_done_cannot_be_cancelled(single: ProcessPoolExecutor) -> None:
    future = single.submit(T.echo, 1)
    assert future.result() == 1
    assert not single.kill(future)
    assert future.result() == 1
    failed = single.submit(T.fail, "so")
    failed.exception()
    assert not single.kill(failed)


def test_a_future_of_somebody_else(single: ProcessPoolExecutor) -> None:
    with pytest.raises(TypeError, match="not a future of this pool"):
        single.kill(concurrent.futures.Future())
    with ProcessPoolExecutor(1) as other:
        future = other.submit(T.take, 0.3)
        while not future.running():
            os.sched_yield()
        assert not single.kill(future)
        assert future.result() is None


def test_kills_and_tasks_at_random(pool: ProcessPoolExecutor) -> None:
    """Whoever is not killed gives its result, whatever is killed beside it."""
    tasks = [(number, pool.submit(T.take_and_echo, 0.002 * (number % 7), number)) for number in range(200)]
    killed = {number for number, future in tasks[::3] if pool.kill(future)}
    for number, future in tasks:
        if number in killed:
            assert future.cancelled()
        else:
            assert future.result(PATIENCE_S) == number


# --- retries, memory, workers ---


def test_retries_of_one_task(single: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert single.options(retries=1).submit(T.kill_self_once, str(tmp_path / "mark"), 7).result(PATIENCE_S) == 7
    with pytest.raises(WorkerCrashed):
        single.submit(T.kill_self).result(PATIENCE_S)
    with pytest.raises(ValueError, match="retries must not be negative"):
        single.options(retries=-1)


def test_a_worker_that_has_grown_is_replaced(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, max_rss=200 << 20) as executor:
        first = executor.submit(os.getpid).result()
        assert executor.submit(os.getpid).result() == first
        executor.submit(T.grow, 300 << 20).result()
        assert executor.submit(os.getpid).result(PATIENCE_S) != first
    with pytest.raises(ValueError, match="max_rss must be greater than 0"):
        ProcessPoolExecutor(1, max_rss=0)


def test_what_the_workers_are_at(pool: ProcessPoolExecutor, begun: Begun) -> None:
    assert pool.workers() == []
    before = time.monotonic()
    future = pool.submit(T.stay, begun.path)
    pid = begun.wait()
    # A worker may begin before the pool has its number.
    while pid not in {worker.pid for worker in pool.workers()}:
        os.sched_yield()
    (worker,) = [worker for worker in pool.workers() if worker.pid == pid]
    assert isinstance(worker, Worker)
    assert (worker.state, worker.function, worker.tasks) == ("running", "tasks_for_pools.stay", 0)
    assert worker.since is not None
    assert before <= worker.since <= time.monotonic()
    assert worker.rss > 1 << 20
    assert pool.kill(future)
    assert pool.submit(T.echo, 1).result(PATIENCE_S) == 1
    assert all(worker.pid != pid for worker in pool.workers())


def test_map_with_limits(pool: ProcessPoolExecutor) -> None:
    assert list(pool.options(timeout=30, retries=1).map(T.echo, range(50), buffersize=8)) == list(range(50))


def test_a_signal_from_elsewhere_is_a_crash(single: ProcessPoolExecutor, begun: Begun) -> None:
    future = single.options(timeout=30).submit(T.stay, begun.path)
    os.kill(begun.wait(), signal.SIGTERM)
    with pytest.raises(WorkerCrashed):
        future.result(PATIENCE_S)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.getpid, ()), "posix.getpid"),
        ((len, ("argument",)), "builtins.len"),
        ((functools.partial(T.echo, "x"), ()), "functools.partial"),
        (("no function",), "no function"),
        ((b"no words",), "?"),
    ],
)
def test_a_call_is_named_by_how_it_begins(call: Any, name: str) -> None:
    packed = pickle.dumps(call, 5)
    assert name_of_call(packed) == name
    assert isinstance(name_of_call(packed[:15]), str)


def test_nothing_keeps_a_function_that_was_called(pool: ProcessPoolExecutor) -> None:
    class_of_it = T.Target
    target = class_of_it()
    seen = weakref.ref(target)
    future = pool.submit(target.method)
    assert future.result(PATIENCE_S) == 7
    del target
    gc.collect()
    assert seen() is None


# --- workers that cannot begin ---


def test_one_process_that_cannot_be_started_is_done_without(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    hire = ZygoteStarter.hire
    refusals: list[OSError] = []

    def reluctant(self: ZygoteStarter, fds: list[int]) -> tuple[int, int]:
        if refusals:
            raise refusals[0]
        return hire(self, fds)

    monkeypatch.setattr(ZygoteStarter, "hire", reluctant)
    with ProcessPoolExecutor(2) as pool:
        first = pool.submit(T.stay, begun.path)
        begun.wait()
        kept = pool.submit(os.getpid).result(PATIENCE_S)
        refusals.append(OSError(11, "Resource temporarily unavailable"))
        assert pool.kill(first)
        assert {pool.submit(os.getpid).result(PATIENCE_S) for _ in range(20)} == {kept}


def test_workers_that_are_killed_before_they_are_ready_are_replaced() -> None:
    """Somebody who kills says nothing about those who follow."""
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(T.echo, 7)
        for _ in range(8):
            pid = _starting(executor)
            if pid is None:
                break
            os.kill(pid, signal.SIGKILL)
        assert future.exception(PATIENCE_S) is None or isinstance(future.exception(), WorkerCrashed)
        assert executor.submit(T.echo, 8).result(PATIENCE_S) == 8


def _starting(executor: ProcessPoolExecutor) -> int | None:
    """Wait for the next worker to start; None if it was faster."""
    while not (workers := executor.workers()):
        os.sched_yield()
    return workers[0].pid if workers[0].state == "starting" else None


@pytest.mark.parametrize("end", ["shutdown", "kill_workers", "terminate_workers"])
def test_what_came_back_from_a_worker_is_cancelled_with_the_rest(single: ProcessPoolExecutor, end: str) -> None:
    """A task that was sent runs, as far as anybody can see, also when it was taken back from behind a long one."""
    told = tercet.SimpleQueue()
    list(single.map(T.echo, range(200)))
    long = single.submit(T.hold_up, told)
    behind = [single.submit(T.echo, number) for number in range(40)]
    told.get()
    if end == "shutdown":
        single.shutdown(wait=False, cancel_futures=True)
        assert not single.kill(behind[-1]) or behind[-1].cancelled()
        single.kill_workers()
    else:
        getattr(single, end)()
    assert all(future.cancelled() for future in behind)
    assert isinstance(long.exception(PATIENCE_S), BrokenProcessPool)
