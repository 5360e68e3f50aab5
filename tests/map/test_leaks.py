"""Nothing is left behind: no thread, no process, no open file, and no memory that grows with the items."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import tracemalloc
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import tercet

MODELS = [None, "plain", "threads", "processes"]


def children() -> set[int]:
    """The child processes of this one, zombies included."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found.update(map(int, file.read().split()))
    return found


def belongings() -> tuple[set[threading.Thread], set[int], int]:
    gc.collect()
    return set(threading.enumerate()), children(), len(os.listdir("/proc/self/fd"))


def assert_as_before(before: tuple[set[threading.Thread], set[int], int]) -> None:
    """Nothing is left, once the threads that are about to end have ended."""
    for thread in set(threading.enumerate()) - before[0]:
        thread.join(60)
    after = belongings()
    assert after[0] <= before[0]
    assert after[1:] == before[1:]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("how", ["to the end", "break", "error", "close"])
def test_a_map_leaves_nothing_behind(tasks: ModuleType, model: str | None, how: str) -> None:
    list(tercet.map(tasks.triple, range(3), model=model))
    before = belongings()
    for _ in range(3):
        fn: Any = tasks.fail_at if how == "error" else tasks.triple
        results = tercet.map(fn, range(100), model=model)
        if how == "to the end":
            assert len(list(results)) == 100
        elif how == "error":
            with pytest.raises(LookupError):
                list(results)
        else:
            next(results)
            if how == "close":
                results.close()
        del results
    assert_as_before(before)


async def answer(x: int) -> int:
    return x


def test_a_map_of_coroutines_leaves_nothing_behind() -> None:
    list(tercet.map(answer, range(3)))
    before = belongings()
    for _ in range(3):
        assert list(tercet.map(answer, range(100))) == list(range(100))
        next(tercet.map(answer, itertools.count()))
    assert_as_before(before)


@pytest.mark.parametrize("model", MODELS)
def test_an_endless_source_is_run_in_bounded_memory(tasks: ModuleType, model: str | None) -> None:
    """Ten times as many items take no more memory, nor is the source read ever further ahead."""
    read = itertools.count()
    results = tercet.map(tasks.triple, read, model=model, workers=2 if model in ("threads", "processes") else None)
    furthest = 0
    tracemalloc.start()
    try:
        assert next(itertools.islice(results, 2000, None)) == 6000
        early = tracemalloc.get_traced_memory()[0]
        for index, result in enumerate(itertools.islice(results, 20_000), 2001):
            assert result == 3 * index
        furthest = next(read) - 22_001
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        results.close()
    assert furthest < 70_000
    assert late < early + 8_000_000


def test_endless_coroutines_are_run_in_bounded_numbers() -> None:
    read = itertools.count()
    with tercet.map(answer, read, workers=50) as results:
        assert list(itertools.islice(results, 3000)) == list(range(3000))
        assert next(read) < 3000 + 1000


def test_a_slow_consumer_holds_the_workers_back() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    with tercet.map(abs, source(), model="threads", workers=4, buffersize=10) as results:
        for expected in range(100):
            assert next(results) == expected
            assert len(read) <= expected + 11 + 10  # what was taken, what may be out, what came in the latest list
