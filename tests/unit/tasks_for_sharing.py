"""What other processes do with queues, locks and memory that they were given."""

from __future__ import annotations

import os
import signal
from typing import Any


def answer(questions: Any, answers: Any) -> None:
    """Send back what comes, until `None` does."""
    while (found := questions.get()) is not None:
        answers.put(found)


def put_all(queue: Any, items: Any) -> None:
    for item in items:
        queue.put(item)


def put_for_ever(queue: Any, item: Any) -> None:
    while True:
        queue.put(item)


def get_for_ever(queue: Any, told: Any) -> None:
    while True:
        queue.get()
        told.set()


def die_with(lock: Any) -> None:
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def add(value: Any, times: int) -> None:
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def work(queue: Any) -> None:
    """Be done with each task, until `None` comes."""
    while queue.get() is not None:
        queue.task_done()
    queue.task_done()


def wait_and_tell(event: Any, queue: Any) -> None:
    queue.put("waits")
    queue.put(event.wait(60))


def wait_for(condition: Any, value: Any, queue: Any) -> None:
    with condition:
        queue.put("waits")
        queue.put(condition.wait_for(lambda: value.value == 7, 60))


def meet(barrier: Any, queue: Any) -> None:
    queue.put(barrier.wait(60))


def talk(connection: Any) -> None:
    """Send back what comes, until the other end is closed."""
    try:
        while True:
            connection.send(connection.recv())
    except EOFError:
        connection.close()


def touch_all(queue: Any, lock: Any, event: Any, value: Any, array: Any, connection: Any) -> str:
    """Use one of each."""
    with lock:
        value.value += 1
        array[0] = value.value
    queue.put("put")
    event.set()
    connection.send("sent")
    return "done"


def keep(queue: Any) -> None:
    """Keep what an initializer was given."""
    global kept
    kept = queue


def use_kept(item: Any) -> None:
    kept.put(item)


def fill(array: Any, value: float) -> Any:
    array[...] = value
    return float(array.sum())


def give_back(value: Any) -> Any:
    return value


kept: Any = None
