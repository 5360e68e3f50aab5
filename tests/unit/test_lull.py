"""The garbage collector rests while a large pickle is read, and nobody finds it otherwise than it was."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tercet.process_pool import ProcessPoolExecutor

pytestmark = pytest.mark.timeout(90)

PATIENCE_S = 60


def many(count: int = 200_000) -> list[list[int]]:
    """A pickle of this is more than a megabyte, and has the collector look many times."""
    return [[number] for number in range(count)]


def many_and(fn: Any) -> tuple[list[list[int]], Any]:
    """Return much, whose reader calls a function when the rest is read."""
    return many(), Told(fn)


class Told:
    """When it is unpickled, a function is called."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def __reduce__(self) -> Any:
        return call, (self.fn,)


def call(fn: Any) -> Any:
    return fn()


def is_on_in_a_fork() -> tuple[bool, bool]:
    """Whether the collector is on here, and in a fork."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, bytes([gc.isenabled()]))
        os._exit(0)
    in_fork = os.read(reader, 1) == b"\x01"
    os.waitpid(pid, 0)
    return gc.isenabled(), in_fork


def second(value: Any) -> Any:
    return value[1]


def switch_off(_: Any) -> bool:
    gc.disable()
    return gc.isenabled()


def is_on(_: Any) -> bool:
    return gc.isenabled()


def refuse() -> None:
    raise LookupError("not to be read")


def pass_first() -> bool:
    ENTERED[0].set()
    GATES[0].wait(PATIENCE_S)
    return gc.isenabled()


def pass_second() -> bool:
    ENTERED[1].set()
    GATES[1].wait(PATIENCE_S)
    return gc.isenabled()


ENTERED = threading.Event(), threading.Event()
GATES = threading.Event(), threading.Event()


@pytest.fixture
def single() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def looks() -> Iterator[list[str]]:
    """When the collector has looked."""
    seen: list[str] = []

    def note(phase: str, _: Any) -> None:
        seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_the_collector_does_not_look_meanwhile(single: ProcessPoolExecutor, looks: list[str]) -> None:
    future = single.submit(many)
    concurrent.futures.wait([future], PATIENCE_S)
    looks.clear()
    assert len(future.result()) == 200_000
    # One that is due comes when all is read.
    assert len(looks) <= 4
    assert gc.isenabled()


def test_one_that_is_off_stays_off(single: ProcessPoolExecutor) -> None:
    gc.disable()
    try:
        assert len(single.submit(many).result()) == 200_000
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert single.submit(is_on, many()).result()
    assert not single.submit(switch_off, many()).result()
    assert not single.submit(is_on, many()).result()


def test_it_is_on_again_after_an_error(single: ProcessPoolExecutor) -> None:
    with pytest.raises(LookupError, match="not to be read"):
        single.submit(many_and, refuse).result()
    assert gc.isenabled()
    with pytest.raises(LookupError, match="not to be read"):
        single.submit(second, (many(), Told(refuse))).result()
    assert single.submit(is_on, 0).result()


def test_it_is_on_in_a_fork(single: ProcessPoolExecutor) -> None:
    assert single.submit(second, (many(), Told(is_on_in_a_fork))).result() == (False, True)
    assert single.submit(is_on, 0).result()


def test_the_last_of_several_switches_it_on(single: ProcessPoolExecutor) -> None:
    futures = [single.submit(many_and, fn) for fn in (pass_first, pass_second)]
    threads = [threading.Thread(target=future.result) for future in futures]
    for thread in threads:
        thread.start()
    for entered in ENTERED:
        assert entered.wait(PATIENCE_S)
    for gate, thread, is_last in zip(GATES, threads, [False, True], strict=True):
        gate.set()
        thread.join(PATIENCE_S)
        assert gc.isenabled() == is_last
    assert [future.result()[1] for future in futures] == [False, False]
