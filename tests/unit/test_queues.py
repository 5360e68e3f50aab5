"""`tercet.queues`: queues between processes, beside those of the standard library."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.queues
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest

import tercet

PATIENCE_S = 60
FORK = multiprocessing.get_context("fork")

pytestmark = pytest.mark.timeout(90)


# --- as the standard library ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_objects_come_out_as_they_went_in(shared: Any, kind: str) -> None:
    found = getattr(shared, kind)()
    items = [None, 0, -1, 10**30, 1.5, True, "text", "", b"bytes", b"", bytearray(b"more"), [1, [2]], {"a": (1.5, ())}]
    for item in items:
        found.put(item)
    taken = [found.get() for _ in items]
    assert taken == items
    assert [type(item) for item in taken] == [type(item) for item in items]


def test_large_objects_come_out_as_they_went_in(shared: Any) -> None:
    found = shared.Queue()
    for item in (os.urandom(3_000_000), [os.urandom(700_000), "x" * 300_000]):
        found.put(item)
        assert found.get(timeout=PATIENCE_S) == item


def test_arrays_come_out_writable_and_alone(shared: Any) -> None:
    found = shared.Queue()
    array = numpy.arange(100_000, dtype="int32").reshape(100, 1000)[::2, 3:]
    found.put({"one": array, "two": array})
    array = array.copy()
    taken = found.get(timeout=PATIENCE_S)
    assert (taken["one"] == array).all()
    assert taken["one"].flags.writeable
    taken["one"][0] = 5
    assert (taken["one"][0] == 5).all()


@pytest.mark.parametrize("timeout", [0.01, 0, -1])
def test_an_empty_queue_says_so(shared: Any, timeout: float) -> None:
    found = shared.Queue()
    with pytest.raises(queue.Empty):
        found.get(timeout=timeout)
    with pytest.raises(queue.Empty):
        found.get(False)
    with pytest.raises(queue.Empty):
        found.get_nowait()
    assert (found.empty(), found.full(), found.qsize()) == (True, False, 0)


def test_a_full_queue_says_so(shared: Any) -> None:
    found = shared.Queue(2)
    found.put(1)
    found.put(2, True, None)
    for put in (found.put_nowait, lambda item: found.put(item, False), lambda item: found.put(item, True, 0.01)):
        with pytest.raises(queue.Full):
            put(3)
    assert (found.full(), found.qsize()) == (True, 2)
    assert found.get() == 1
    assert not found.full()
    found.put(3)
    assert [found.get(), found.get()] == [2, 3]


def test_a_put_waits_for_room(shared: Any) -> None:
    found = shared.Queue(1)
    found.put(1)
    thread = threading.Thread(target=found.put, args=(2,))
    thread.start()
    assert [found.get(timeout=PATIENCE_S), found.get(timeout=PATIENCE_S)] == [1, 2]
    thread.join()


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_a_closed_queue_says_so(shared: Any, kind: str) -> None:
    found = getattr(shared, kind)()
    found.close()
    found.join_thread()
    for call in (lambda: found.put(1), found.get, found.get_nowait):
        with pytest.raises(ValueError, match=r"^Queue <.*> is closed$"):
            call()


def test_a_thread_is_joined_after_close_only(shared: Any) -> None:
    found = shared.Queue()
    with pytest.raises(AssertionError, match="not closed"):
        found.join_thread()
    found.cancel_join_thread()


def test_a_closed_simple_queue_says_so(shared: Any) -> None:
    found = shared.SimpleQueue()
    found.close()
    for call in (lambda: found.put(1), found.get, found.empty):
        with pytest.raises(OSError, match="handle is closed"):
            call()


def test_the_ends_of_a_closed_simple_queue_are_closed(shared: Any) -> None:
    found = shared.SimpleQueue()
    assert (found._reader.closed, found._writer.closed) == (False, False)
    found.close()
    assert (found._reader.closed, found._writer.closed) == (True, True)


def test_an_object_that_cannot_be_pickled_is_told_and_left_out(shared: Any, capfd: pytest.CaptureFixture[str]) -> None:
    found = shared.Queue(1)
    found.put(threading.Lock())
    found.put(True)
    assert found.get(timeout=PATIENCE_S) is True
    assert "cannot pickle '_thread.lock' object" in capfd.readouterr().err


def test_a_queue_is_pickled_for_nobody(shared: Any) -> None:
    for kind in ("Queue", "JoinableQueue", "SimpleQueue"):
        with pytest.raises(
            RuntimeError, match=f"^{kind} objects should only be shared between processes through inheri"
        ):
            pickle.dumps(getattr(shared, kind)())


def test_tasks_are_joined(shared: Any, sharing: Any) -> None:
    found = shared.JoinableQueue()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        found.task_done()
    workers = [FORK.Process(target=sharing.work, args=(found,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for item in [*range(100), None, None]:
        found.put(item)
    found.join()
    for worker in workers:
        worker.join()
    with pytest.raises(ValueError, match="too many times"):
        found.task_done()


def test_connections_go_through_queues(shared: Any) -> None:
    found = shared.Queue()
    here, there = shared.Pipe()
    found.put(there)
    taken = found.get(timeout=PATIENCE_S)
    here.send("hello")
    assert taken.recv() == "hello"


# --- between processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_every_start_method_passes_queues_on(kind: str, context: Any, sharing: Any) -> None:
    there, back = getattr(tercet, kind)(), getattr(tercet, kind)()
    process = context.Process(target=sharing.answer, args=(there, back))
    process.start()
    for item in ("a", b"b" * 200_000, [1, 2], None):
        there.put(item)
    assert [back.get() for _ in range(3)] == ["a", b"b" * 200_000, [1, 2]]
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def test_a_task_of_a_pool_may_have_a_queue(sharing: Any) -> None:
    back = tercet.Queue()
    with tercet.ProcessPoolExecutor(1) as pool:
        # Nobody but the task has this queue by the time it runs.
        there = tercet.Queue()
        there.put("found")
        there.put(None)
        task = pool.submit(sharing.answer, there, back)
        del there
        gc.collect()
        task.result(PATIENCE_S)
    assert back.get_nowait() == "found"


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
def test_an_initializer_of_a_pool_may_have_a_queue(sharing: Any, method: str | None) -> None:
    found = tercet.Queue()
    context = multiprocessing.get_context(method) if method else None
    with tercet.ProcessPoolExecutor(1, context, sharing.keep, (found,)) as pool:
        pool.submit(sharing.use_kept, "kept").result(PATIENCE_S)
    assert found.get_nowait() == "kept"


def test_a_result_is_no_queue(sharing: Any) -> None:
    with tercet.ProcessPoolExecutor(1) as pool:
        task = pool.submit(sharing.give_back, tercet.Queue())
        with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
            task.result(PATIENCE_S)


def test_many_to_many_lose_nothing(sharing: Any) -> None:
    found, out = tercet.Queue(10), tercet.Queue()
    putting = [FORK.Process(target=sharing.put_all, args=(found, range(start, 4000, 4))) for start in range(4)]
    taking = [FORK.Process(target=sharing.answer, args=(found, out)) for _ in range(4)]
    for process in putting + taking:
        process.start()
    for process in putting:
        process.join()
    for _ in taking:
        found.put(None)
    for process in taking:
        process.join()
    assert sorted(out.get_nowait() for _ in range(4000)) == list(range(4000))
    assert out.empty()


def test_what_a_process_put_outlives_it(sharing: Any) -> None:
    found = tercet.Queue()
    process = FORK.Process(target=sharing.put_all, args=(found, [b"x" * 1_000_000] * 50))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert [len(found.get_nowait()) for _ in range(50)] == [1_000_000] * 50


# --- better than the standard library -------------------------------------------------------------------------


def test_it_is_the_standard_librarys() -> None:
    assert isinstance(tercet.Queue(), multiprocessing.queues.Queue)
    assert isinstance(tercet.JoinableQueue(), multiprocessing.queues.JoinableQueue)
    assert isinstance(tercet.SimpleQueue(), multiprocessing.queues.SimpleQueue)


def test_what_was_put_is_there_at_once() -> None:
    found = tercet.Queue()
    found.put(1)
    assert (found.qsize(), found.empty(), found.get_nowait()) == (1, False, 1)


def test_what_is_changed_after_the_put_is_not_changed_in_the_queue() -> None:
    found, item = tercet.Queue(), [1]
    found.put(item)
    item.append(2)
    assert found.get() == [1]


def test_an_object_that_cannot_be_pickled_may_be_raised() -> None:
    found = tercet.Queue(raises=True)
    with pytest.raises(TypeError, match="cannot pickle"):
        found.put(threading.Lock())
    assert found.empty()


def test_an_error_of_unpickling_costs_the_message_alone() -> None:
    found = tercet.Queue()
    found.put(Unloadable())
    found.put(1)
    with pytest.raises(LookupError, match="not here"):
        found.get()
    assert found.get() == 1


class Unloadable:
    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise LookupError("not here")


@pytest.mark.parametrize("maxsize", [0, 3])
def test_producers_that_are_killed_leave_the_queue_open(maxsize: int, sharing: Any) -> None:
    found = tercet.Queue(maxsize)
    for number in range(10):
        process = FORK.Process(target=sharing.put_for_ever, args=(found, [number, "x" * 5000]))
        process.start()
        while found.get(timeout=PATIENCE_S) != [number, "x" * 5000]:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    while not found.empty():
        assert found.get_nowait()[1] == "x" * 5000
    found.put("open")
    assert found.get_nowait() == "open"


def test_consumers_that_are_killed_leave_the_queue_open(sharing: Any) -> None:
    found = tercet.Queue()
    for _ in range(10):
        told = tercet.Event()
        process = FORK.Process(target=sharing.get_for_ever, args=(found, told))
        process.start()
        found.put("x" * 5000)
        assert told.wait(PATIENCE_S)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found.put("open")
        assert found.get(timeout=PATIENCE_S) == "open"


def test_nothing_is_left_open() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    tercet.Queue().put(1)
    before = count()
    for _ in range(20):
        found = tercet.Queue()
        found.put([1])
        found.get()
        del found
    assert count() == before


BLOCKED = """
import tercet, time
queue, full, joined = tercet.Queue(), tercet.Queue(1), tercet.JoinableQueue()
full.put(1); joined.put(1)
lock, event = tercet.Lock(), tercet.Event()
lock.acquire()
here, there = tercet.Pipe()
try:
    print("ready", flush=True)
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    [
        "queue.get()",
        "queue.get(timeout=99)",
        "full.put(2)",
        "joined.join()",
        "lock.acquire()",
        "event.wait()",
        "here.recv()",
        "here.poll(None)",
        "here.send_bytes(bytes(10**8))",
    ],
)
def test_every_wait_answers_ctrl_c(call: str) -> None:
    program = [sys.executable, "-c", BLOCKED.format(call=call)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(PATIENCE_S) == 0


def test_a_queue_of_a_process_that_is_gone_says_so(sharing: Any) -> None:
    from tercet.handle import _Far

    far = _Far(os.getpid(), tercet.Queue()._fileno(), 1)
    with pytest.raises(FileNotFoundError, match="which owned this shared memory, has closed it or has ended"):
        far.detach()


def test_a_process_that_may_not_have_many_addresses_has_queues_too() -> None:
    program = """
import resource, tercet
tercet.Queue
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
queue = tercet.Queue()
queue.put("put")
print(queue.get())
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (answer.stdout, answer.stderr) == ("put\n", "")


def test_too_long_a_queue_is_refused() -> None:
    with pytest.raises(OverflowError, match="maxsize must be at most 2147483647"):
        tercet.Queue(2**31)
