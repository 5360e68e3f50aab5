"""`tercet.auto`: the face of `map` and `why`."""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import gc
import itertools
import os
import pickle
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tercet
from tercet.auto import Map

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


async def answer(x: int) -> int:
    return x + 1


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3, [1]), TypeError, "fn must be callable: 3"),
        ((abs,), TypeError, "map needs at least one iterable after the function"),
        ((abs, 5), TypeError, "int"),
        (
            (abs, [1], {"model": "fibers"}),
            ValueError,
            "only `auto`, `plain`, `threads`, `processes`, `event-loop`: 'fibers'",
        ),
        ((abs, [1], {"model": 3}), TypeError, "model must be a string or None: 3"),
        ((abs, [1], {"workers": 0}), ValueError, "workers must be at least 1: 0"),
        ((abs, [1], {"workers": 2.5}), TypeError, "workers must be an integer or None: 2.5"),
        ((abs, [1], {"workers": True}), TypeError, "workers must be an integer or None: True"),
        ((abs, [1], {"buffersize": 0}), ValueError, "buffersize must be at least 1: 0"),
        ((abs, [1], {"buffersize": "4"}), TypeError, "buffersize must be an integer or None: '4'"),
        ((abs, [1], {"progress": 3}), TypeError, "progress must be True, False or a callable: 3"),
        ((abs, [1], {"pure": "yes"}), TypeError, "pure must be True, False or None: 'yes'"),
        ((abs, [1], {"model": "event-loop"}), ValueError, "model `event-loop` runs coroutine functions only"),
        ((answer, [1], {"model": "threads"}), ValueError, "a coroutine function runs on an event loop, not in threads"),
        ((answer, [1], {"model": "processes"}), ValueError, "a coroutine function runs on an event loop"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(arguments: Any, error: type[Exception], words: str) -> None:
    positional = list(arguments)
    options = positional.pop() if positional and isinstance(positional[-1], dict) else {}
    with pytest.raises(error, match=words.replace("(", r"\(")):
        tercet.map(*positional, **options)


@pytest.mark.parametrize("model", [None, "auto", "plain"])
def test_the_good_ones_are_not(model: str | None) -> None:
    assert list(tercet.map(abs, [-1], model=model, workers=2, progress=False, buffersize=3, pure=True)) == [1]


# --- an iterator --------------------------------------------------------------------------------------------------


def test_it_is_an_iterator_of_results_in_order() -> None:
    squares = tercet.map(lambda x: x * x, range(10_000))
    assert iter(squares) is squares
    assert isinstance(squares, Iterator)
    assert isinstance(squares, Map)
    assert next(squares) == 0
    assert list(squares) == [x * x for x in range(1, 10_000)]
    with pytest.raises(StopIteration):
        next(squares)


def test_several_iterables_end_with_the_shortest() -> None:
    assert list(tercet.map(pow, [2, 3, 4], itertools.count(1))) == [2, 9, 64]
    assert list(tercet.map(max, "ab", ["c", "d", "e"], "xyz")) == ["x", "y"]
    assert list(tercet.map(abs, [])) == []


def test_nothing_runs_and_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        read.append(1)
        yield 1

    results = tercet.map(abs, source())
    assert read == []
    assert next(results) == 1


def test_a_map_that_was_never_begun_leaves_no_trace() -> None:
    before = set(threading.enumerate())
    results = tercet.map(abs, [1])
    del results
    assert set(threading.enumerate()) <= before


def test_short_tasks_run_in_the_callers_thread_and_context() -> None:
    PLACE.set("caller")
    seen = set(tercet.map(lambda _: (threading.get_ident(), PLACE.get()), range(100)))
    assert seen == {(threading.get_ident(), "caller")}


def test_an_error_comes_at_its_place_with_its_own_traceback() -> None:
    def task(x: int) -> int:
        if x == 70:
            raise LookupError("seventy")
        return x

    results = tercet.map(task, range(100))
    assert list(itertools.islice(results, 70)) == list(range(70))
    with pytest.raises(LookupError, match="seventy") as caught:
        next(results)
    assert caught.traceback[-1].name == "task"
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_of_the_source_comes_at_its_place() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("the line is cut")

    results = tercet.map(abs, source())
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the line is cut"):
        next(results)


@pytest.mark.parametrize("model", ["plain", "threads"])
def test_stopiteration_from_a_task_is_no_end(model: str) -> None:
    def task(x: int) -> int:
        if x == 2:
            raise StopIteration
        return x

    with pytest.raises((RuntimeError, StopIteration)):
        list(tercet.map(task, range(4), model=model))


def test_buffersize_one_reads_an_item_only_when_the_result_before_it_was_taken() -> None:
    """A source that depends on the results works then as it does with the built-in map."""
    waiting = [3]

    def countdown() -> Iterator[int]:
        while waiting:
            yield waiting.pop()

    found = []
    for number in tercet.map(int, countdown(), buffersize=1):
        found.append(number)
        if number:
            waiting.append(number - 1)
    assert found == [3, 2, 1, 0]


def test_results_are_let_go_once_they_were_taken() -> None:
    class Heavy:
        alive = 0

        def __init__(self, x: int) -> None:
            Heavy.alive += 1

        def __del__(self) -> None:
            Heavy.alive -= 1

    most = 0
    for _ in tercet.map(Heavy, itertools.islice(itertools.count(), 5000), buffersize=50):
        most = max(most, Heavy.alive)
    del _
    gc.collect()
    assert most <= 110
    assert Heavy.alive == 0


def test_an_endless_source_is_read_in_bounded_steps() -> None:
    read = itertools.count()
    results = tercet.map(lambda x: x, read, buffersize=20)
    assert list(itertools.islice(results, 200)) == list(range(200))
    assert next(read) <= 221
    results.close()


# --- the end ------------------------------------------------------------------------------------------------------


def test_after_close_there_is_nothing_more() -> None:
    results = tercet.map(abs, range(1000))
    next(results)
    results.close()
    results.close()
    assert list(results) == []
    assert results.advice.is_final


def test_closed_before_it_began_it_runs_nothing() -> None:
    ran: list[int] = []
    results = tercet.map(ran.append, range(10))
    results.close()
    assert list(results) == []
    assert ran == []


def test_leaving_a_with_block_closes_it() -> None:
    with tercet.map(abs, range(100)) as results:
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("how", ["close", "drop", "break", "error"])
def test_threads_are_gone_when_the_map_is(how: str) -> None:
    before = set(threading.enumerate())
    begun = threading.Semaphore(0)

    def task(x: int) -> int:
        begun.release()
        if how == "error" and x == 3:
            raise LookupError
        return x

    results = tercet.map(task, itertools.count(), model="threads", workers=8)
    if how == "break":
        for _ in results:
            break
        del results
    elif how == "error":
        with pytest.raises(LookupError):
            list(results)
    else:
        next(results)
        if how == "close":
            results.close()
        else:
            del results
    gc.collect()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(30)
    assert set(threading.enumerate()) <= before


def test_nothing_more_begins_after_the_end() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def task(x: int) -> int:
        begun.append(x)
        if x > 0:
            gate.wait(60)
        return x

    results = tercet.map(task, range(100), model="threads", workers=2)
    assert next(results) == 0
    results.close()
    count = len(begun)
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("tercet"):
            thread.join(60)
    assert len(begun) <= count + 1


def test_a_copy_made_by_fork_does_nothing_to_the_original() -> None:
    results = tercet.map(abs, range(1000), model="threads", workers=2)
    assert next(results) == 0
    pid = os.fork()
    if pid == 0:
        results.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(results) == list(range(1, 1000))


def test_it_can_be_closed_by_another_thread_while_a_result_is_awaited() -> None:
    begun, gate = threading.Event(), threading.Event()

    def task(x: int) -> None:
        begun.set()
        gate.wait(60)

    results = tercet.map(task, range(4), model="threads", workers=1)

    def closer() -> None:
        assert begun.wait(60)
        results.close()

    thread = threading.Thread(target=closer)
    thread.start()
    assert list(results) == []
    thread.join(60)
    gate.set()


@pytest.mark.parametrize("act", [copy.copy, pickle.dumps])
def test_it_cannot_be_copied_or_pickled(act: Any) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        act(tercet.map(abs, [1]))


# --- time-outs ----------------------------------------------------------------------------------------------------


def test_a_result_that_is_late_is_a_timeout() -> None:
    gate = threading.Event()
    results = tercet.map(lambda x: gate.wait(60), range(3), timeout=0.01)
    with pytest.raises(TimeoutError, match="not there in time"):
        next(results)
    gate.set()
    assert list(results) == []


def test_results_that_are_in_time_are_none() -> None:
    assert list(tercet.map(abs, range(100), timeout=600)) == list(range(100))


# --- progress and advice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["plain", "threads"])
def test_progress_counts_items(model: str) -> None:
    heard: list[tuple[int, int | None]] = []
    list(tercet.map(abs, range(300), model=model, progress=lambda done, total: heard.append((done, total))))
    assert heard == [(done, 300) for done in range(1, 301)]


def test_progress_of_an_unknown_number() -> None:
    heard: list[int | None] = []
    list(tercet.map(abs, (x for x in range(3)), progress=lambda done, total: heard.append(total)))
    assert heard == [None] * 3


def test_a_progress_that_fails_ends_the_map() -> None:
    def fail(done: int, total: int | None) -> None:
        raise LookupError("no terminal")

    results = tercet.map(abs, range(3), progress=fail)
    with pytest.raises(LookupError, match="no terminal"):
        next(results)
    assert results.advice.is_final


def test_advice_grows_and_is_final_at_the_end() -> None:
    results = tercet.map(abs, range(100))
    assert (results.advice.done, results.advice.items, results.advice.is_final) == (0, 100, False)
    next(results)
    assert results.advice.done >= 1
    list(results)
    advice = results.advice
    assert (advice.done, advice.is_final, advice.model, advice.remedy) == (100, True, "plain", "nothing")
    assert advice.profile["tasks"]["wall_s"] > 0
    assert "abs" in str(advice)
    assert "abs" in repr(results)
    assert "<table>" in results._repr_html_()


def test_advice_names_the_function_behind_what_wraps_it() -> None:
    assert tercet.map(functools.partial(pow, 2), [1]).advice.function == "pow"


def test_advice_of_threads_asked_for() -> None:
    results = tercet.map(abs, range(50), model="threads", workers=3)
    list(results)
    assert (results.advice.model, results.advice.workers) == ("threads", 3)


# --- coroutines ---------------------------------------------------------------------------------------------------


class Asks:
    async def __call__(self, x: int) -> int:
        return x + 1

    async def method(self, x: int) -> int:
        return x + 1


@pytest.mark.parametrize("fn", [answer, functools.partial(answer), Asks(), Asks().method])
@pytest.mark.parametrize("model", [None, "event-loop", "plain"])
def test_coroutine_functions_run_on_an_event_loop(fn: Any, model: str | None) -> None:
    results = tercet.map(fn, range(20), model=model)
    assert list(results) == list(range(1, 21))
    assert results.advice.model == "event-loop"
    assert results.advice.workers == (1 if model == "plain" else 10_000)


# --- why ----------------------------------------------------------------------------------------------------------


def test_why_runs_the_first_tasks_and_leaves_the_rest_alone() -> None:
    ran: list[int] = []

    def task(x: int) -> None:
        ran.append(x)
        time.sleep(0.005)

    items = iter(range(100))
    before = set(threading.enumerate())
    advice = tercet.why(task, items)
    assert 1 <= len(ran) <= 10
    assert ran == list(range(len(ran)))
    assert next(items) == len(ran)
    assert (advice.remedy, advice.model) == ("threading", "threads")
    assert set(threading.enumerate()) <= before


def test_why_of_a_coroutine_function() -> None:
    items = iter(range(100))
    advice = tercet.why(answer, items)
    assert advice.remedy == "asyncio"
    assert next(items) == 3


def test_why_of_short_tasks_and_of_none() -> None:
    assert tercet.why(abs, range(50)).remedy == "nothing"
    assert tercet.why(abs, []).done == 0


def test_why_passes_errors_on() -> None:
    with pytest.raises(TypeError):
        tercet.why(abs, ["a"])


# --- the start ----------------------------------------------------------------------------------------------------


def test_a_map_of_short_tasks_loads_neither_asyncio_nor_multiprocessing() -> None:
    import subprocess

    ask = (
        "import sys; before = set(sys.modules); import tercet; assert list(tercet.map(abs, [-1, 2])) == [1, 2]; "
        "print(sorted({'asyncio', 'multiprocessing'} & set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- things that belong to one thread -------------------------------------------------------------------------------


@pytest.fixture
def rows() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table numbers (n integer)")
        connection.executemany("insert into numbers values (?)", [(n,) for n in range(200)])
        yield connection


@pytest.mark.parametrize("model", ["plain", "threads"])
@pytest.mark.parametrize("form", ["cursor", "generator", "expression"])
def test_a_cursor_is_read_by_the_thread_that_made_it(rows: sqlite3.Connection, model: str, form: str) -> None:
    def generator() -> Iterator[tuple[int]]:
        cursor = rows.execute("select n from numbers order by n")
        yield from cursor

    cursor = rows.execute("select n from numbers order by n")
    source: Any = {"cursor": cursor, "generator": generator(), "expression": (row for row in cursor)}[form]
    if form == "generator":
        assert next(source) == (0,), "begun, it holds what it reads from"
    first = 1 if form == "generator" else 0
    assert list(tercet.map(lambda row: row[0], source, model=model, workers=4)) == list(range(first, 200))


def test_a_generator_that_opens_a_cursor_once_begun_is_read_by_one_thread(rows: sqlite3.Connection) -> None:
    def generator() -> Iterator[tuple[int]]:
        yield from rows.execute("select n from numbers order by n")

    def task(row: tuple[int]) -> int:
        time.sleep(0.002)
        return row[0]

    results = tercet.map(task, generator())
    assert list(results) == list(range(200))
    assert results.advice.model == "threads"


def test_tasks_that_only_run_in_the_callers_thread_go_back_to_it(rows: sqlite3.Connection) -> None:
    def task(n: int) -> int:
        time.sleep(0.005)
        return rows.execute("select n from numbers where n = ?", (n,)).fetchone()[0]  # type: ignore[no-any-return]

    results = tercet.map(task, range(40))
    assert list(results) == list(range(40))
    assert results.advice.model == "plain"
    assert any("can only run in the thread of the caller" in note for note in results.advice.notes)


def test_threads_asked_for_by_name_show_the_error(rows: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.ProgrammingError):
        list(tercet.map(lambda n: rows.execute("select 1").fetchone(), range(3), model="threads"))
