"""`tercet.spread`: the `map` of every executor, in any order and with progress."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tercet
from tercet.spread import map_by_submit

PATIENCE_S = 60

KINDS: dict[str, Callable[[], Any]] = {
    "threads": lambda: tercet.ThreadPoolExecutor(2),
    "processes": lambda: tercet.ProcessPoolExecutor(2),
    "auto": lambda: tercet.Executor("threads", 2),
}


@pytest.fixture(params=KINDS)
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with KINDS[request.param]() as executor:
        yield executor


@pytest.fixture
def processes() -> Iterator[tercet.ProcessPoolExecutor]:
    with tercet.ProcessPoolExecutor(2) as executor:
        yield executor


class Heard(list[tuple[int, int | None]]):
    """A callable that notes what it is told, and by whom."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def __call__(self, done: int, total: int | None) -> None:
        self.append((done, total))
        self.threads.add(threading.get_ident())


# --- in any order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffersize", [None, 1, 7])
def test_every_result_comes_once(pool: Any, tasks: Any, buffersize: int | None) -> None:
    results = pool.map(tasks.triple, range(300), ordered=False, buffersize=buffersize)
    assert sorted(results) == [3 * x for x in range(300)]


def test_of_no_items_there_are_no_results(pool: Any, tasks: Any) -> None:
    assert list(pool.map(tasks.triple, [], ordered=False, progress=True)) == []


@pytest.mark.parametrize("buffersize", [None, 2])
def test_what_ends_first_comes_first(pool: Any, tasks: Any, tmp_path: Path, buffersize: int | None) -> None:
    gate = tmp_path / "gate"
    results = pool.map(tasks.follow, [str(gate), "", ""], ordered=False, buffersize=buffersize, timeout=PATIENCE_S)
    assert [next(results), next(results)] == ["", ""]
    gate.touch()
    assert list(results) == [str(gate)]


@pytest.mark.parametrize("chunksize", [2, 7, 1000])
def test_chunks_come_whole(processes: Any, tasks: Any, chunksize: int) -> None:
    results = list(processes.map(tasks.triple, range(100), chunksize=chunksize, ordered=False))
    assert sorted(results) == [3 * x for x in range(100)]
    for start in range(0, 100, chunksize):
        place = results.index(3 * start)
        expected = [3 * x for x in range(start, min(100, start + chunksize))]
        assert results[place : place + len(expected)] == expected


def test_several_iterables_end_with_the_shortest(pool: Any, tasks: Any) -> None:
    assert sorted(pool.map(tasks.add, [1, 2, 3], [10, 20], ordered=False)) == [11, 22]


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100])
def test_chunks_of_several_iterables(processes: Any, tasks: Any, chunksize: int) -> None:
    results = processes.map(tasks.add, range(20), iter(range(100, 150)), chunksize=chunksize)
    assert list(results) == [100 + 2 * x for x in range(20)]
    assert list(processes.map(tasks.add, [], [1], chunksize=chunksize)) == []
    assert list(processes.map(tasks.add, chunksize=chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 3])
def test_what_is_no_iterable_is_refused_at_once(processes: Any, tasks: Any, chunksize: int) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        processes.map(tasks.triple, 7, chunksize=chunksize)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_task_that_stops_an_iteration_does_not_cut_its_chunk(processes: Any, tasks: Any, columns: int) -> None:
    given = [range(10)] * columns
    with pytest.raises(RuntimeError):
        list(processes.map(tasks.stop_at_five, *given, chunksize=4))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_source_is_read_no_further_than_the_buffer(pool: Any, tasks: Any, ordered: bool) -> None:
    read = itertools.count()
    results = pool.map(tasks.triple, read, buffersize=5, ordered=ordered, progress=lambda done, total: None)
    taken = set(itertools.islice(results, 200))
    results.close()
    assert len(taken) == 200
    # What was taken, what may be under way, and the item that this look takes.
    assert next(read) <= 200 + 5


@pytest.mark.parametrize("progress", [None, lambda done, total: None])
def test_the_first_error_that_comes_is_raised_and_ends_it(pool: Any, tasks: Any, progress: Any) -> None:
    results = pool.map(tasks.fail_at, range(300), ordered=False, progress=progress)
    with pytest.raises(LookupError, match="no "):
        list(results)
    assert list(results) == []


def test_a_view_with_limits_does_the_same(processes: Any, tasks: Any) -> None:
    heard = Heard()
    view = processes.options(retries=1)
    assert sorted(view.map(tasks.triple, range(9), ordered=False, progress=heard)) == [3 * x for x in range(9)]
    assert heard == [(done, 9) for done in range(1, 10)]


def test_a_dead_worker_costs_the_result_of_its_task_alone(processes: Any, tasks: Any) -> None:
    results = processes.map(tasks.die, range(3, 10), ordered=False)
    with pytest.raises(tercet.WorkerCrashed):
        list(results)
    assert sorted(processes.map(tasks.die, range(4, 10), ordered=False)) == list(range(4, 10))


def test_a_task_may_wait_for_a_map_on_its_own_pool(tasks: Any) -> None:
    with tercet.ThreadPoolExecutor(1) as executor:
        inner = executor.submit(lambda: sorted(executor.map(tasks.triple, range(20), ordered=False, buffersize=3)))
        assert inner.result(PATIENCE_S) == [3 * x for x in range(20)]


# --- the end of patience ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("progress", [None, lambda done, total: None])
def test_a_result_that_is_missing_at_the_end_of_the_time_is_an_error(
    pool: Any, tasks: Any, tmp_path: Path, ordered: bool, progress: Any
) -> None:
    gate = tmp_path / "gate"
    results = pool.map(tasks.follow, ["", str(gate)], timeout=2, ordered=ordered, progress=progress)
    assert next(results) == ""
    with pytest.raises(TimeoutError) as caught:
        next(results)
    assert caught.value.args == ()
    gate.touch()


def test_what_has_not_begun_is_cancelled_when_the_iterator_is_closed(tasks: Any, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", []

    def run(name: str) -> str:
        begun.append(name)
        return str(tasks.follow(name))

    with tercet.ThreadPoolExecutor(1) as executor:
        results = executor.map(run, ["", str(gate), "", ""], ordered=False)
        assert next(results) == ""
        results.close()  # type: ignore[attr-defined]
        gate.touch()
    assert begun in ([""], ["", str(gate)])


# --- progress -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [None, 4])
def test_who_asks_for_the_results_hears_of_every_item(
    pool: Any, tasks: Any, ordered: bool, buffersize: int | None
) -> None:
    heard = Heard()
    results = pool.map(tasks.triple, range(50), ordered=ordered, buffersize=buffersize, progress=heard)
    found = list(results)
    assert (found if ordered else sorted(found)) == [3 * x for x in range(50)]
    assert heard == [(done, 50) for done in range(1, 51)]
    assert heard.threads == {threading.get_ident()}


@pytest.mark.parametrize("ordered", [True, False])
def test_items_are_counted_and_not_chunks(processes: Any, tasks: Any, ordered: bool) -> None:
    heard = Heard()
    list(processes.map(tasks.triple, iter(range(25)), chunksize=10, ordered=ordered, progress=heard))
    assert heard == [(done, 25) for done in range(1, 26)]


def test_where_nobody_knows_how_many_there_are_the_total_is_none(pool: Any, tasks: Any) -> None:
    heard = Heard()
    list(pool.map(tasks.triple, (x for x in range(5)), buffersize=2, progress=heard))
    assert heard == [(done, None) for done in range(1, 6)]


def test_what_is_done_counts_also_behind_a_result_that_is_waited_for(pool: Any, tasks: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def open_gate(done: int, total: int | None) -> None:
        if done == 4:
            gate.touch()

    results = pool.map(tasks.follow, [str(gate), "", "", "", ""], progress=open_gate, timeout=PATIENCE_S)
    assert list(results) == [str(gate), "", "", "", ""]


def test_anything_else_than_progress_is_refused_at_once(pool: Any, tasks: Any) -> None:
    with pytest.raises(TypeError, match="progress must be True, False or a callable: 'yes'"):
        pool.map(tasks.triple, range(3), progress="yes")


def test_an_error_of_what_shows_progress_is_raised_and_ends_it(pool: Any, tasks: Any) -> None:
    def refuse(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    results = pool.map(tasks.triple, range(3), progress=refuse)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


# --- futures of others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
def test_futures_of_the_standard_library_will_do(tasks: Any, ordered: bool) -> None:
    heard = Heard()
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        submit = executor.submit
        found = list(map_by_submit(submit, tasks.triple, (range(40),), None, 3, ordered=ordered, progress=heard))
        with pytest.raises(LookupError, match="no "):
            list(map_by_submit(submit, tasks.fail_at, (range(40),), None, None, ordered=ordered, progress=heard))
    assert (found if ordered else sorted(found)) == [3 * x for x in range(40)]
    assert heard[:40] == [(done, 40) for done in range(1, 41)]


def test_strangers_that_are_not_wanted_any_more_are_cancelled(tasks: Any) -> None:
    made: list[concurrent.futures.Future[Any]] = []

    def submit(fn: Any, *args: Any) -> concurrent.futures.Future[Any]:
        made.append(concurrent.futures.Future())
        return made[-1]

    results = map_by_submit(submit, tasks.triple, (range(3),), None, None, ordered=False)
    made[1].set_result("early")
    assert next(results) == "early"
    results.close()  # type: ignore[attr-defined]
    assert [future.cancelled() for future in made] == [True, False, True]
