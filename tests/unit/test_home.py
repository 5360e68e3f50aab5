"""`tercet.home`: tasks in place, in blocks that others can divide."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tercet.course import Course
from tercet.engine import Work
from tercet.home import Home


def home_of(fn: Callable[..., Any], items: Any, **options: Any) -> tuple[Home, Course]:
    course = Course(((item,) for item in items), len(items), 1000)
    return Home(Work(fn, contextvars.copy_context()), course, **options), course


def run_all(home: Home, course: Course) -> list[Any]:
    results: list[Any] = []
    while (batch := home.run_some()) is not None:
        course.give(batch)
        found, error = course.collect()
        results += found
        if error is not None:
            raise error
    return results


def test_everything_runs_in_the_thread_that_asks() -> None:
    threads: set[int] = set()
    home, course = home_of(lambda x: threads.add(threading.get_ident()) or x, range(50))
    assert run_all(home, course) == list(range(50))
    assert threads == {threading.get_ident()}
    assert home.thread == threading.get_ident()
    assert not home.has_rest
    assert home.native_thread == threading.get_native_id()


def test_one_at_a_time_at_first_and_more_while_they_are_short() -> None:
    home, course = home_of(abs, range(1000))
    sizes = []
    while (batch := home.run_some()) is not None:
        sizes.append(len(batch.items))
        course.give(batch)
        course.collect()
    assert sizes[:2] == [1, 2]
    assert max(sizes) > 8


def test_a_block_is_no_longer_than_allowed() -> None:
    home, course = home_of(abs, range(1000), block_most=4)
    while (batch := home.run_some()) is not None:
        assert len(batch.items) <= 4
        course.give(batch)
        course.collect()


def test_figures_count_what_has_ended_in_the_block_that_runs() -> None:
    seen: list[tuple[int, float, float]] = []
    holder: list[Home] = []
    home, course = home_of(lambda x: seen.append(holder[0].so_far()), range(3))
    holder.append(home)
    assert run_all(home, course) == [None, None, None]
    assert [ran for ran, _, _ in seen] == [0, 1, 2]
    assert [ran for ran, _, _ in [home.so_far()]] == [3]
    walls = [wall for _, wall, _ in [*seen, home.so_far()]]
    assert walls == sorted(walls)


def test_another_thread_takes_what_is_left_of_a_block() -> None:
    """The task that finds itself slow stands for all: somebody closes home while the block runs."""
    holder: list[Home] = []

    def task(x: int) -> int:
        if x == 9:
            thread = threading.Thread(target=holder[0].hand_over)
            thread.start()
            thread.join()
        return x

    home, course = home_of(task, range(40))
    holder.append(home)
    results = run_all(home, course)
    assert results == list(range(10))
    assert home.run_some() is None

    class Crew:
        limit, is_retired = 1, False

    begun: list[int] = []
    while (batch := course.take(100, Crew(), 0)) is not None:
        begun += [item[0] for item in batch.items]
        batch.results.extend(item[0] for item in batch.items)
        course.give(batch)
    assert begun == list(range(10, 40))


def test_an_error_keeps_the_results_before_it() -> None:
    def task(x: int) -> int:
        if x == 5:
            raise LookupError(x)
        return x

    home, course = home_of(task, range(10))
    results: list[int] = []
    error = None
    while error is None:
        batch = home.run_some()
        assert batch is not None
        course.give(batch)
        found, error = course.collect()
        results += found
    assert results == [0, 1, 2, 3, 4]
    assert isinstance(error, LookupError)


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_task_that_raises_stopiteration_does_not_end_the_map_in_silence(at: int) -> None:
    def task(x: int) -> int:
        if x == at:
            raise StopIteration
        return x

    home, course = home_of(task, range(10))
    with pytest.raises(RuntimeError, match="a task raised StopIteration"):
        run_all(home, course)


def test_ctrl_c_in_a_task_goes_through_at_once() -> None:
    def task(x: int) -> int:
        raise KeyboardInterrupt

    home, _ = home_of(task, range(3))
    with pytest.raises(KeyboardInterrupt):
        home.run_some()


def test_other_ways_out_come_at_their_place() -> None:
    def task(x: int) -> int:
        raise SystemExit(3)

    home, course = home_of(task, range(3))
    with pytest.raises(SystemExit):
        run_all(home, course)


def test_the_last_call_is_kept_while_somebody_wants_to_know() -> None:
    home, course = home_of(str, range(3))
    run_all(home, course)
    assert home.last_call == [((2,), "2")]
    home.keeps_call, home.last_call = False, []
    assert home.last_call == []


@pytest.mark.parametrize(("task", "changes"), [(lambda row: row.append(1), True), (len, False)])
def test_a_task_that_changes_its_argument_is_seen(task: Callable[[list[int]], Any], changes: bool) -> None:
    home, course = home_of(task, [[1], [2]])
    home.checks_items = True
    run_all(home, course)
    assert home.changed_item == changes


def test_arguments_that_cannot_be_pickled_are_not_checked() -> None:
    home, course = home_of(lambda lock: lock.locked(), [threading.Lock()])
    home.checks_items = True
    assert run_all(home, course) == [False]
    assert not home.changed_item


def test_keyword_arguments_reach_the_function() -> None:
    course = Course(iter([((2,), {"ndigits": 1})]), 1, 10)
    home = Home(Work(lambda x, ndigits: (x, ndigits), contextvars.copy_context(), form="call"), course)
    assert run_all(home, course) == [(2, 1)]


def test_a_single_argument_needs_no_tuple() -> None:
    course = Course(iter([-1, -2]), 2, 10)
    home = Home(Work(abs, contextvars.copy_context(), form="one"), course)
    assert run_all(home, course) == [1, 2]


def test_a_host_serves_until_nothing_can_come() -> None:
    told: list[int] = []
    course = Course(((i,) for i in range(20)), 20, 1000)
    work = Work(abs, contextvars.copy_context(), told=lambda: told.append(1))
    host = threading.Thread(target=Home(work, course).host)
    host.start()
    results: list[int] = []
    while not course.is_over:
        found, _ = course.collect()
        results += found
        if not found:
            course.wait(30)
    host.join(30)
    assert not host.is_alive()
    assert results == list(range(20))
    assert told


def test_a_host_leaves_when_the_course_is_closed() -> None:
    course = Course(((i,) for i in range(1)), None, 1)
    host = threading.Thread(target=Home(Work(abs, contextvars.copy_context()), course).host)
    host.start()
    course.close()
    host.join(30)
    assert not host.is_alive()
