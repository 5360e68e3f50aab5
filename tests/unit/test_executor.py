"""`tercet.executor`: the interface of the standard library, with a choice behind it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import itertools
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tercet.errors import NotPortable, WorkerDied
from tercet.executor import Executor


async def answer(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


def test_it_is_an_executor_of_the_standard_library() -> None:
    with Executor() as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        future = executor.submit(pow, 2, 10)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result() == 1024


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": -3}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": "2"}, TypeError, "workers must be an integer or None: '2'"),
        ({"model": "fibers"}, ValueError, "no model of that name"),
        ({"pure": 1}, TypeError, "pure must be True, False or None: 1"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Executor(**options)


def test_what_cannot_be_called_is_refused_at_the_call() -> None:
    with Executor() as executor, pytest.raises(TypeError, match="fn must be callable: 3"):
        executor.submit(3)  # type: ignore[arg-type]


def test_keyword_arguments_reach_the_function_whatever_their_names() -> None:
    def task(self: int, fn: int, *, args: int) -> tuple[int, int, int]:
        return self, fn, args

    with Executor() as executor:
        assert executor.submit(task, self=1, fn=2, args=3).result() == (1, 2, 3)


def test_every_call_is_made_once_and_brings_its_own_result() -> None:
    calls = itertools.count()

    def task(x: int) -> tuple[int, int]:
        return x, next(calls)

    with Executor() as executor:
        results = [future.result()[0] for future in [executor.submit(task, x) for x in range(2000)]]
    assert results == list(range(2000))
    assert next(calls) == 2000


def test_functions_have_lanes_of_their_own() -> None:
    with Executor() as executor:
        executor.submit(abs, -1).result()
        executor.submit(len, "ab").result()
        executor.submit(len, "abc").result()
        assert executor.explain(abs).done == 1
        assert executor.explain(len).done == 2
        assert executor.explain().function == "len"
        with pytest.raises(LookupError, match="nothing was submitted with this function yet"):
            executor.explain(max)


def test_lambdas_of_one_line_share_a_lane_and_keep_their_own_values() -> None:
    with Executor() as executor:
        futures = [executor.submit(lambda x, y=y: x * y, 10) for y in range(50)]
        assert [future.result() for future in futures] == [10 * y for y in range(50)]

        def maker(y: int) -> Any:
            return lambda x: x * y

        futures = [executor.submit(maker(y), 10) for y in range(50)]
        assert [future.result() for future in futures] == [10 * y for y in range(50)]
        assert len(executor._lanes) == 2


def test_partials_and_methods_of_one_function_keep_what_they_are_bound_to() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.start = start

        def plus(self, x: int) -> int:
            return self.start + x

        def __call__(self, x: int) -> int:
            return self.start * x

    with Executor() as executor:
        futures = [executor.submit(functools.partial(pow, y), 2) for y in range(20)]
        assert [future.result() for future in futures] == [y**2 for y in range(20)]
        futures = [executor.submit(Counter(y).plus, 1) for y in range(20)]
        assert [future.result() for future in futures] == [y + 1 for y in range(20)]
        futures = [executor.submit(Counter(y), 2) for y in range(20)]
        assert [future.result() for future in futures] == [2 * y for y in range(20)]
        found: list[list[int]] = [[] for _ in range(20)]
        concurrent.futures.wait([executor.submit(found[y].append, y) for y in range(20)])
        assert found == [[y] for y in range(20)]
        assert len(executor._lanes) == 4


def test_more_functions_than_lanes_are_no_trouble() -> None:
    with Executor() as executor:
        known: dict[str, Any] = {}
        for number in range(80):
            exec(f"def task_{number}(x): return x + {number}", known)
        futures = [executor.submit(known[f"task_{number}"], 1) for number in range(80)]
        assert [future.result() for future in futures] == [1 + number for number in range(80)]
        assert len(executor._lanes) <= 33


@pytest.mark.parametrize("model", [None, "plain", "threads", "processes"])
def test_an_exception_ends_its_own_call_alone(model: str | None, tasks: Any) -> None:
    with Executor(model) as executor:
        futures = [executor.submit(tasks.fail_at, x) for x in range(20)]
        for x, future in enumerate(futures):
            if x % 10 == 7:
                with pytest.raises(LookupError, match=f"no {x}"):
                    future.result()
            else:
                assert future.result() == x


def test_a_worker_that_dies_costs_its_own_call_alone(tasks: Any) -> None:
    with Executor("processes", max_workers=1) as executor:
        assert executor.submit(tasks.die, 1).result() == 1
        with pytest.raises(WorkerDied, match="SIGKILL"):
            executor.submit(tasks.die, 3).result()
        assert executor.submit(tasks.die, 2).result() == 2


def test_processes_asked_for_by_name_refuse_what_cannot_be_sent(tasks: Any) -> None:
    with Executor("processes", max_workers=1) as executor:
        with pytest.raises(NotPortable, match="it cannot be pickled"):
            executor.submit(lambda: 1).result()
        with pytest.raises(NotPortable, match="it cannot be pickled"):
            executor.submit(tasks.is_locked, threading.Lock()).result()
        assert executor.submit(tasks.triple, 2).result() == 6


def test_no_more_workers_than_asked_for(tasks: Any) -> None:
    with Executor("processes", max_workers=2) as executor:
        assert len({executor.submit(tasks.who, x).result() for x in range(20)}) <= 2
    running, most, lock = 0, 0, threading.Lock()

    def task(x: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    with Executor("threads", max_workers=3) as executor:
        concurrent.futures.wait([executor.submit(task, x) for x in range(200)])
    assert most <= 3


def test_coroutine_functions_are_awaited() -> None:
    for model in (None, "event-loop"):
        with Executor(model) as executor:
            assert [f.result() for f in [executor.submit(answer, x) for x in range(20)]] == list(range(1, 21))
            assert executor.explain(answer).model == "event-loop"
    with Executor("threads") as executor, pytest.raises(ValueError, match="runs on an event loop"):
        executor.submit(answer, 1)


def test_calls_that_wait_for_one_another_all_end() -> None:
    """A call that waits for one that was submitted after it must not keep it from running."""
    with Executor() as executor:
        gates = [threading.Event() for _ in range(6)]

        def task(x: int) -> int:
            if x + 1 < len(gates):
                assert gates[x + 1].wait(60)
            gates[x].set()
            return x

        assert [f.result(60) for f in [executor.submit(task, x) for x in range(6)]] == list(range(6))


# --- cancelling and the end -----------------------------------------------------------------------------------------


def test_a_call_that_has_not_begun_can_be_cancelled() -> None:
    gate, begun = threading.Event(), threading.Event()

    def task() -> None:
        begun.set()
        gate.wait(60)

    with Executor("threads", max_workers=1) as executor:
        first = executor.submit(task)
        assert begun.wait(60)
        second = executor.submit(task)
        assert second.cancel()
        assert not first.cancel()
        gate.set()
    assert first.result() is None
    assert second.cancelled()


def test_shutdown_waits_and_takes_no_more() -> None:
    executor = Executor()
    futures = [executor.submit(abs, -x) for x in range(100)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    executor.shutdown()


def test_shutdown_can_cancel_what_has_not_begun() -> None:
    gate, begun = threading.Event(), threading.Event()

    def task() -> None:
        begun.set()
        gate.wait(60)

    executor = Executor("threads", max_workers=1)
    futures = [executor.submit(task) for _ in range(10)]
    assert begun.wait(60)
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    executor.shutdown()
    assert futures[0].result() is None
    assert all(future.cancelled() for future in futures[1:])
    assert not concurrent.futures.wait(futures, 60).not_done


def test_shutdown_without_waiting_lets_calls_end() -> None:
    gate = threading.Event()
    executor = Executor("threads", max_workers=1)
    future = executor.submit(gate.wait, 60)
    executor.shutdown(wait=False)
    gate.set()
    assert future.result(60) is True


@pytest.mark.parametrize("model", [None, "plain", "threads", "processes"])
def test_nothing_is_left_behind(model: str | None, tasks: Any) -> None:
    before = set(threading.enumerate())
    with Executor(model) as executor:
        assert list(executor.map(tasks.triple, range(50))) == [3 * x for x in range(50)]
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before


# --- map ------------------------------------------------------------------------------------------------------------


def test_map_submits_before_the_first_result_is_asked_for() -> None:
    begun = threading.Event()
    with Executor() as executor:
        results = executor.map(lambda x: begun.set() or x, [1, 2])
        assert begun.wait(60)
        assert list(results) == [1, 2]


def test_map_with_a_buffersize_reads_no_further() -> None:
    read = itertools.count()
    with Executor() as executor:
        results = executor.map(abs, read, buffersize=5)
        assert list(itertools.islice(results, 20)) == list(range(20))
        assert next(read) <= 26
        results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": 1.5}, TypeError, "buffersize must be an integer or None"),
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1."),
    ],
)
def test_map_refuses_bad_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with Executor() as executor, pytest.raises(error, match=words):
        executor.map(abs, [1], **options)


def test_map_times_out() -> None:
    gate = threading.Event()
    with Executor("threads", max_workers=1) as executor:
        with pytest.raises(TimeoutError):
            list(executor.map(lambda _: gate.wait(60), [1, 2], timeout=0.01))
        gate.set()


def test_an_error_in_map_cancels_what_has_not_begun() -> None:
    gate = threading.Event()
    ran: list[int] = []

    def task(x: int) -> int:
        if x == 0:
            raise LookupError
        gate.wait(60)
        ran.append(x)
        return x

    with Executor("threads", max_workers=1) as executor:
        with pytest.raises(LookupError):
            list(executor.map(task, range(50)))
        gate.set()
    assert len(ran) <= 1


# --- advice ---------------------------------------------------------------------------------------------------------


def test_explain_says_what_was_chosen() -> None:
    with Executor() as executor:
        with pytest.raises(LookupError, match="nothing was submitted yet"):
            executor.explain()
        concurrent.futures.wait([executor.submit(time.sleep, 0.005) for _ in range(60)])
        advice = executor.explain(time.sleep)
    assert (advice.function, advice.model, advice.remedy) == ("sleep", "threads", "threading")
    assert "sleep" in str(advice)


def test_several_functions_in_one_lane_are_named_as_such() -> None:
    with Executor("threads") as executor:
        executor.submit(abs, 1).result()
        assert executor.explain().function == "abs"
        executor.submit(len, "a").result()
        assert executor.explain().function == "several functions"


# --- the standard library's own helpers -----------------------------------------------------------------------------


def test_wait_and_as_completed_and_asyncio_accept_its_futures() -> None:
    with Executor() as executor:
        futures = [executor.submit(abs, -x) for x in range(30)]
        assert sorted(f.result() for f in concurrent.futures.as_completed(futures)) == list(range(30))

        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            return list(await asyncio.gather(*(loop.run_in_executor(executor, abs, -x) for x in range(5))))

        assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_a_callback_may_submit() -> None:
    ends: list[int] = []
    with Executor() as executor:
        done = threading.Event()

        def again(future: concurrent.futures.Future[int]) -> None:
            ends.append(future.result())
            if len(ends) == 10:
                done.set()
            else:
                executor.submit(abs, -len(ends)).add_done_callback(again)

        executor.submit(abs, 0).add_done_callback(again)
        assert done.wait(60)
    assert ends == list(range(10))


@pytest.mark.parametrize("model", [None, "processes"])
def test_a_dropped_executor_does_what_was_submitted_and_leaves_nothing(model: str | None, tasks: Any) -> None:
    before = set(threading.enumerate())
    executor = Executor(model)
    futures = [executor.submit(tasks.triple, x) for x in range(50)]
    del executor
    gc.collect()
    assert [future.result(60) for future in futures] == [3 * x for x in range(50)]
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("dropped", ["", "del executor"])
def test_what_was_submitted_is_done_before_the_interpreter_ends(dropped: str) -> None:
    program = (
        "from tercet.executor import Executor\nimport time\n"
        "def task(x):\n    time.sleep(0.01)\n    print(f'done {x}\\n', end='', flush=True)\n"
        f"executor = Executor()\nfor x in range(5): executor.submit(task, x)\n{dropped}\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert sorted(found.stdout.splitlines()) == [f"done {x}" for x in range(5)]
    assert found.stderr == ""


def test_ctrl_c_while_a_result_is_awaited_gets_through() -> None:
    program = (
        "from tercet.executor import Executor\nimport os, signal, threading, time\n"
        "executor = Executor('threads')\nbegun = threading.Event()\n"
        "def task():\n    begun.set()\n    time.sleep(600)\n"
        "future = executor.submit(task)\nbegun.wait()\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n    future.result()\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    os._exit(0)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert found.stdout == "interrupted\n"


def test_calls_submitted_at_the_very_end_still_get_threads() -> None:
    """Eight calls that wait for one another need eight threads, after the main program has ended."""
    program = (
        "from tercet.executor import Executor\nimport threading\n"
        "meeting = threading.Barrier(8)\n"
        "def task():\n    meeting.wait(60)\n    print('met\\n', end='', flush=True)\n"
        "executor = Executor('threads', 8)\nfor _ in range(8): executor.submit(task)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert (found.stdout, found.stderr) == ("met\n" * 8, "")


def test_a_forked_child_ends_without_the_calls_of_its_parent() -> None:
    program = (
        "from tercet.executor import Executor\nimport os, sys, threading, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "may_end = threading.Event()\n"
        "executor = Executor('threads')\nfuture = executor.submit(may_end.wait, 60)\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "may_end.set()\nprint(future.result())\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert found.stdout == "7\nTrue\n"
