"""`tercet.synchronize`: locks between processes, beside those of the standard library."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.synchronize
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import tercet

PATIENCE_S = 60
FORK = multiprocessing.get_context("fork")
KINDS = ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"]

pytestmark = pytest.mark.timeout(90)


# --- as the standard library ----------------------------------------------------------------------------------


def test_a_lock_is_taken_once(shared: Any) -> None:
    lock = shared.Lock()
    assert lock.acquire() is True
    assert lock.acquire(False) is False
    assert lock.acquire(True, 0.01) is False
    assert lock.acquire(timeout=-1) is False
    assert lock.release() is None
    with pytest.raises(ValueError, match=r"^semaphore or lock released too many times$"):
        lock.release()


def test_a_lock_is_released_by_anybody(shared: Any) -> None:
    lock = shared.Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    assert lock.acquire(timeout=PATIENCE_S)
    thread.join()


def test_an_rlock_is_taken_again_by_its_owner(shared: Any) -> None:
    lock = shared.RLock()
    with lock, lock:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(lock.acquire(False)))
        thread.start()
        thread.join()
        assert found == [False]
    with pytest.raises(AssertionError, match=r"^attempt to release recursive lock not owned by thread$"):
        lock.release()


def test_a_semaphore_counts(shared: Any) -> None:
    semaphore = shared.Semaphore(2)
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]
    assert semaphore.get_value() == 0
    semaphore.release()
    semaphore.release()
    semaphore.release()
    assert semaphore.get_value() == 3


def test_a_bounded_semaphore_has_a_bound(shared: Any) -> None:
    semaphore = shared.BoundedSemaphore(1)
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
    assert semaphore.acquire(False)


def test_they_say_what_they_are(shared: Any) -> None:
    assert repr(shared.Lock()) == "<Lock(owner=None)>"
    assert repr(shared.RLock()) == "<RLock(None, 0)>"
    assert repr(shared.Semaphore(3)) == "<Semaphore(value=3)>"
    assert repr(shared.BoundedSemaphore(3)) == "<BoundedSemaphore(value=3, maxvalue=3)>"
    assert repr(shared.Condition()) == "<Condition(<RLock(None, 0)>, 0)>"
    with shared.Lock() as _, (lock := shared.Lock()):
        assert repr(lock) == "<Lock(owner=MainProcess)>"


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_pickled_for_nobody(shared: Any, kind: str) -> None:
    with pytest.raises(RuntimeError, match="objects should only be shared between processes through inheritance"):
        pickle.dumps(getattr(shared, kind)())


def test_an_event_wakes_all(shared: Any, sharing: Any) -> None:
    event, queue = shared.Event(), FORK.Queue()
    assert (event.is_set(), event.wait(0.01)) == (False, False)
    waiting = [FORK.Process(target=sharing.wait_and_tell, args=(event, queue)) for _ in range(3)]
    for process in waiting:
        process.start()
    assert [queue.get(timeout=PATIENCE_S) for _ in waiting] == ["waits"] * 3
    event.set()
    assert [queue.get(timeout=PATIENCE_S) for _ in waiting] == [True] * 3
    assert (event.is_set(), event.wait()) == (True, True)
    event.clear()
    assert not event.is_set()
    for process in waiting:
        process.join()


def test_a_condition_tells(shared: Any, sharing: Any) -> None:
    condition, value, queue = shared.Condition(), shared.Value("i"), FORK.Queue()
    waiting = [FORK.Process(target=sharing.wait_for, args=(condition, value, queue)) for _ in range(2)]
    for process in waiting:
        process.start()
    assert [queue.get(timeout=PATIENCE_S) for _ in waiting] == ["waits"] * 2
    with condition:
        value.value = 7
        condition.notify_all()
    assert [queue.get(timeout=PATIENCE_S) for _ in waiting] == [True] * 2
    for process in waiting:
        process.join()


def test_a_barrier_lets_all_go(shared: Any, sharing: Any) -> None:
    barrier, queue = shared.Barrier(3), FORK.Queue()
    meeting = [FORK.Process(target=sharing.meet, args=(barrier, queue)) for _ in range(2)]
    for process in meeting:
        process.start()
    numbers = [barrier.wait(PATIENCE_S), *(queue.get(timeout=PATIENCE_S) for _ in meeting)]
    assert sorted(numbers) == [0, 1, 2]
    for process in meeting:
        process.join()


def test_what_a_dead_process_holds_stays_held(shared: Any, sharing: Any) -> None:
    lock = shared.Lock()
    process = FORK.Process(target=sharing.die_with, args=(lock,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert lock.acquire(timeout=0.01) is False


def test_a_child_does_not_have_what_its_parent_has(shared: Any) -> None:
    lock, queue = shared.RLock(), FORK.Queue()
    with lock:
        process = FORK.Process(target=lambda: queue.put(lock.acquire(False)))
        process.start()
        assert queue.get(timeout=PATIENCE_S) is False
        process.join()


# --- between processes ----------------------------------------------------------------------------------------


def test_every_start_method_passes_all_on(context: Any, sharing: Any) -> None:
    queue, lock, event, value, array = (
        tercet.Queue(),
        tercet.Lock(),
        tercet.Event(),
        tercet.Value("i"),
        tercet.Array("i", 3),
    )
    here, there = tercet.Pipe()
    process = context.Process(target=sharing.touch_all, args=(queue, lock, event, value, array, there))
    process.start()
    assert (queue.get(), event.wait(), here.recv()) == ("put", True, "sent")
    process.join(PATIENCE_S)
    assert (process.exitcode, value.value, array[:]) == (0, 1, [1, 0, 0])


def test_a_task_of_a_pool_may_have_all(sharing: Any) -> None:
    queue, lock, event, value, array = (
        tercet.Queue(),
        tercet.Lock(),
        tercet.Event(),
        tercet.Value("i"),
        tercet.Array("i", 3),
    )
    here, there = tercet.Pipe()
    with tercet.ProcessPoolExecutor(2) as pool:
        tasks = [pool.submit(sharing.touch_all, queue, lock, event, value, array, there) for _ in range(20)]
        assert [task.result(PATIENCE_S) for task in tasks] == ["done"] * 20
    assert (value.value, array[:], event.is_set()) == (20, [20, 0, 0], True)
    assert [queue.get_nowait() for _ in range(20)] == ["put"] * 20
    assert [here.recv() for _ in range(20)] == ["sent"] * 20


@pytest.mark.parametrize("kind", [*KINDS, "Barrier"])
def test_a_pool_passes_on_each(kind: str, sharing: Any) -> None:
    made = getattr(tercet, kind)(*([1] if kind == "Barrier" else []))
    with tercet.ProcessPoolExecutor(1) as pool:
        assert pool.submit(type, made).exception(PATIENCE_S) is None


# --- better than the standard library -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_the_standard_librarys(kind: str) -> None:
    assert isinstance(getattr(tercet, kind)(), getattr(multiprocessing.synchronize, kind))
    assert isinstance(tercet.Barrier(1), multiprocessing.synchronize.Barrier)


def test_a_thousand_locks_need_few_descriptors() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    locks = [tercet.Lock() for _ in range(1000)]
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 20
    del locks
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 1


def test_an_event_that_is_taken_back_at_once_has_happened(sharing: Any) -> None:
    event, queue = tercet.Event(), tercet.Queue()
    for _ in range(50):
        thread = threading.Thread(target=sharing.wait_and_tell, args=(event, queue))
        thread.start()
        assert queue.get() == "waits"
        while queue.empty():
            event.set()
            event.clear()
        assert queue.get() is True
        thread.join()


def test_a_waiter_that_is_killed_does_not_keep_an_event(sharing: Any) -> None:
    event, queue = tercet.Event(), tercet.Queue()
    processes = [FORK.Process(target=sharing.wait_and_tell, args=(event, queue)) for _ in range(2)]
    for process in processes:
        process.start()
        assert queue.get() == "waits"
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].join()
    event.set()
    assert queue.get(timeout=PATIENCE_S) is True
    processes[1].join()
