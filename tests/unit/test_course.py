"""`tercet.course`: every item once, results in order, no further ahead than the window."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.course import Batch, Course, feed_of


class Crew:
    """A worker's side: nobody rests, nobody is retired."""

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.is_retired = False


def course_of(items: Any, window: int = 100, widest: int | None = None, is_at_hand: bool = True) -> Course:
    return Course(
        ((item,) for item in items),
        len(items) if hasattr(items, "__len__") else None,
        window,
        widest,
        is_at_hand=is_at_hand,
    )


def run(batch: Batch) -> Batch:
    """Run a batch whose tasks give ten times the item."""
    batch.results.extend(item[0] * 10 for item in batch.items[len(batch.results) :])
    return batch


def test_results_are_collected_in_the_order_of_the_items() -> None:
    course, crew = course_of(range(4)), Crew()
    batches = [course.take(1, crew, 0) for _ in range(4)]
    for batch in reversed(batches):
        assert batch is not None
        assert course.collect() == ([], None)
        course.give(run(batch))
    assert course.collect() == ([0, 10, 20, 30], None)
    assert course.take(1, crew, 0) is None
    assert course.is_over


def test_what_is_ready_is_collected_although_more_is_out() -> None:
    course, crew = course_of(range(3)), Crew()
    first, second = course.take(1, crew, 0), course.take(1, crew, 0)
    assert first is not None
    assert second is not None
    course.give(run(first))
    assert course.collect() == ([0], None)
    assert not course.is_over


def test_a_batch_cut_short_comes_back_for_the_rest_alone() -> None:
    course, crew = course_of(range(5)), Crew()
    batch = course.take(5, crew, 0)
    assert batch is not None
    batch.results.extend([0, 10])
    course.give(batch)
    rest = course.take(5, crew, 0)
    assert rest is not None
    assert list(rest.items) == [(2,), (3,), (4,)]
    course.give(run(rest))
    assert course.collect() == ([0, 10, 20, 30, 40], None)


def test_what_came_back_goes_out_before_new_items_and_no_more_at_a_time_than_asked() -> None:
    course, crew = course_of(range(10)), Crew()
    batch = course.take(4, crew, 0)
    assert batch is not None
    course.give(batch)
    assert [list(b.items) for b in (course.take(3, crew, 0), course.take(3, crew, 0)) if b] == [
        [(0,), (1,), (2,)],
        [(3,)],
    ]


def test_an_error_comes_at_its_place_and_ends_the_course() -> None:
    course, crew = course_of(range(6)), Crew()
    first, second = course.take(2, crew, 0), course.take(3, crew, 0)
    assert first is not None
    assert second is not None
    second.results.append(20)
    error = ValueError("three")
    second.fail(error)
    course.give(second)
    assert course.take_now(1) is None
    assert not course.has_more
    assert course.collect() == ([], None)
    course.give(run(first))
    assert course.collect() == ([0, 10, 20], error)


def test_after_an_error_what_came_back_before_it_is_still_run() -> None:
    course, crew = course_of(range(6)), Crew()
    first, second = course.take(3, crew, 0), course.take(3, crew, 0)
    assert first is not None
    assert second is not None
    second.fail(KeyError("four"))
    course.give(second)
    first.results.append(0)
    course.give(first)
    rest = course.take(9, crew, 0)
    assert rest is not None
    assert list(rest.items) == [(1,), (2,)]
    course.give(run(rest))
    results, error = course.collect()
    assert results == [0, 10, 20]
    assert isinstance(error, KeyError)


def test_of_two_errors_the_first_in_order_is_the_one() -> None:
    course, crew = course_of(range(2)), Crew()
    first, second = course.take(1, crew, 0), course.take(1, crew, 0)
    assert first is not None
    assert second is not None
    second.fail(KeyError())
    course.give(second)
    first.fail(ValueError())
    course.give(first)
    assert isinstance(course.collect()[1], ValueError)


def test_an_error_of_the_source_comes_after_the_results_before_it() -> None:
    def source() -> Iterator[tuple[int]]:
        yield (1,)
        raise OSError("the disk is gone")

    course, crew = Course(source(), None, 10), Crew()
    batch = course.take(5, crew, 0)
    assert batch is not None
    course.give(run(batch))
    assert course.take(5, crew, 0) is None
    results, error = course.collect()
    assert results == [10]
    assert isinstance(error, OSError)


@pytest.mark.parametrize("is_at_hand", [True, False])
def test_the_source_is_read_no_further_than_the_window(is_at_hand: bool) -> None:
    read: list[int] = []

    def source() -> Iterator[tuple[int]]:
        for number in itertools.count():
            read.append(number)
            yield (number,)

    course, crew = Course(source(), None, 3, is_at_hand=is_at_hand), Crew()
    out = []
    while len(read) < 3:
        batch = course.take(100, crew, 0)
        assert batch is not None
        out.append(batch)
    assert not course._can_pull(is_home=False)
    for batch in out:
        course.give(run(batch))
    assert not course._can_pull(is_home=False)
    assert course.collect() == ([0, 10, 20], None)
    for _ in range(3):
        course.take(1, crew, 0)
    assert read == [0, 1, 2, 3, 4, 5]


def test_of_an_unknown_source_little_is_read_at_first_and_more_while_it_is_quick() -> None:
    course, crew = Course(((i,) for i in range(100)), None, 1000), Crew()
    sizes = [len(batch.items) for _ in range(5) if (batch := course.take(50, crew, 0)) is not None]
    assert sizes == [1, 2, 4, 8, 16]


def test_an_item_that_has_come_does_not_wait_for_the_next() -> None:
    """A worker that reads the source has two items in mind; the second comes only when the first is done."""
    is_done = threading.Event()

    def source() -> Iterator[tuple[int]]:
        yield (0,)
        yield (1,)
        assert is_done.wait(60)
        yield (2,)

    course, crew = Course(source(), None, 10), Crew()
    assert course.take(1, crew, 0) is not None
    found: list[Batch | None] = []
    reader = threading.Thread(target=lambda: found.append(course.take(2, crew, 0)))
    reader.start()
    other = course.take(5, crew, 1)
    assert other is not None
    assert list(other.items) == [(1,)]
    is_done.set()
    reader.join(60)
    assert found[0] is not None
    assert list(found[0].items) == [(2,)]


def test_a_window_widens_up_to_what_the_caller_allowed() -> None:
    course = course_of(range(100), window=4, widest=10)
    course.widen(8)
    assert course.window == 8
    course.widen(2)
    assert course.window == 8
    course.widen(50)
    assert course.window == 10


def test_a_worker_that_waits_for_room_wakes_when_results_are_collected() -> None:
    course, crew = course_of(range(2), window=1), Crew()
    first = course.take(1, crew, 0)
    assert first is not None
    found: list[Batch | None] = []
    waiter = threading.Thread(target=lambda: found.append(course.take(1, crew, 1)))
    waiter.start()
    course.give(run(first))
    assert course.collect() == ([0], None)
    waiter.join(30)
    assert found
    assert found[0] is not None
    assert list(found[0].items) == [(1,)]


@pytest.mark.parametrize("how", ["close", "retire", "end"])
def test_workers_that_wait_leave_when_nothing_can_come_any_more(how: str) -> None:
    course, crew = course_of(range(1)), Crew()
    batch = course.take(1, crew, 0)
    assert batch is not None
    found: list[object] = ["nothing yet"]
    waiter = threading.Thread(target=lambda: found.append(course.take(1, crew, 1)))
    waiter.start()
    if how == "close":
        course.close()
    elif how == "retire":
        crew.is_retired = True
        course.wake()
    else:
        course.give(run(batch))
    waiter.join(30)
    assert found == ["nothing yet", None]


def test_workers_beyond_the_limit_rest_until_it_is_raised() -> None:
    course, crew = course_of(range(1)), Crew(limit=0)
    found: list[Batch | None] = []
    waiter = threading.Thread(target=lambda: found.append(course.take(1, crew, 0)))
    waiter.start()
    assert course.has_more
    crew.limit = 1
    course.wake()
    waiter.join(30)
    assert found
    assert found[0] is not None


def test_a_source_that_is_being_read_is_not_read_by_another_thread() -> None:
    inside, may_go_on = threading.Event(), threading.Event()
    readers: set[int] = set()

    def source() -> Iterator[tuple[int]]:
        for number in range(4):
            readers.add(threading.get_ident())
            if number == 0:
                inside.set()
                assert may_go_on.wait(30)
            yield (number,)

    course, crew = Course(source(), None, 10), Crew()
    found: list[Batch | None] = []
    slow = threading.Thread(target=lambda: found.append(course.take(1, crew, 0)))
    slow.start()
    assert inside.wait(30)
    assert course.take_now(1) is None, "the caller's thread does not wait for the source while another reads it"
    other = threading.Thread(target=lambda: found.append(course.take(1, crew, 1)))
    other.start()
    may_go_on.set()
    slow.join(30)
    other.join(30)
    assert sorted(batch.start for batch in found if batch is not None) == [0, 1]


def test_a_closed_home_gives_the_rest_of_its_block_away() -> None:
    course, crew = course_of(range(10)), Crew()
    batch = course.take_now(6)
    assert batch is not None
    batch.feed = feed_of(batch.items)
    batch.results.append(next(batch.feed)[0] * 10)
    next(batch.feed)
    course.close_home(batch)
    assert list(batch.feed) == []
    assert course.begun(batch) == 2
    assert course.take_now(1) is None
    others = course.take(9, crew, 0)
    assert others is not None
    assert [item[0] for item in others.items] == [2, 3, 4, 5]
    batch.results.append(10)
    course.give(batch)
    course.give(run(others))
    assert course.collect()[0] == [0, 10, 20, 30, 40, 50]


def test_a_finished_block_at_the_front_goes_straight_to_the_caller() -> None:
    course = course_of(range(4))
    first, second = course.take_now(2), course.take_now(2)
    assert first is not None
    assert second is not None
    assert not course.skip(run(second)), "it is not its turn"
    assert course.skip(run(first))
    course.give(second)
    assert course.collect() == ([20, 30], None)
    assert course.finished == 4
    assert course.is_over or course.take_now(1) is None


def test_peeking_takes_nothing_away() -> None:
    course = course_of(range(3))
    assert course.peek() == [(0,)]
    assert course.peek() == [(0,)]
    batch = course.take_now(3)
    assert batch is not None
    assert list(batch.items) == [(0,)]


def test_singles_come_home_one_by_one() -> None:
    course, crew = course_of(range(3)), Crew()
    batch = course.take(3, crew, 0)
    assert batch is not None
    singles = course.singles(batch)
    course.give(run(singles[2]))
    course.give(run(singles[0]))
    assert course.collect() == ([0], None)
    course.give(run(singles[1]))
    assert course.collect() == ([10, 20], None)


def test_how_much_is_left_is_known_when_the_total_is_or_the_source_has_ended() -> None:
    course, crew = course_of(range(5)), Crew()
    assert course.left == 5
    batch = course.take(2, crew, 0)
    assert batch is not None
    course.give(run(batch))
    assert course.left == 3
    endless = Course(((i,) for i in range(2)), None, 10, is_at_hand=True)
    assert endless.left is None
    batch = endless.take(10, crew, 0)
    assert endless.left == 2


def test_an_error_can_end_the_course_from_outside() -> None:
    course = course_of(range(3))
    error = RuntimeError("no worker can be had")
    course.fail(error)
    assert course.collect() == ([], error)


@pytest.mark.parametrize("feed", [feed_of])
def test_a_feed_shared_by_threads_gives_each_item_once(feed: Any) -> None:
    shared = feed(list(range(20_000)))
    taken: list[list[int]] = [[], []]
    gate = threading.Barrier(2)

    def drain(mine: list[int]) -> None:
        gate.wait()
        mine.extend(shared)

    threads = [threading.Thread(target=drain, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken[0] + taken[1]) == list(range(20_000))


@given(
    count=st.integers(0, 40),
    window=st.integers(1, 12),
    moves=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 7)), max_size=200),
    bad=st.none() | st.integers(0, 45),
)
def test_any_order_of_taking_and_giving_loses_nothing(
    count: int, window: int, moves: list[tuple[int, int]], bad: int | None
) -> None:
    """Whatever the workers do, the caller gets what a plain loop would give, and nothing is begun twice."""
    course = course_of(range(count), window)
    begun: list[int] = []
    out: list[Batch] = []
    results: list[int] = []
    error: BaseException | None = None

    def run_some(batch: Batch, most: int) -> None:
        for (item,) in batch.items[:most]:
            begun.append(item)
            if item == bad:
                batch.fail(ValueError(item))
                return
            batch.results.append(item * 10)

    def collect() -> None:
        nonlocal error
        found, failure = course.collect()
        results.extend(found)
        error = error or failure

    def take(want: int) -> None:
        if not course.is_over and (batch := course.take_now(want)) is not None:
            out.append(batch)

    for move, size in moves:
        if move <= 1:
            take(size)
        elif move == 2 and out:
            batch = out.pop(size % len(out))
            run_some(batch, size)
            course.give(batch)
        else:
            collect()
    for _ in range(10 * count + 10):
        take(7)
        while out:
            batch = out.pop()
            run_some(batch, len(batch.items))
            course.give(batch)
        collect()
        if error is not None or course.is_over:
            break
    assert sorted(begun) == sorted(set(begun))
    if bad is not None and bad < count:
        assert isinstance(error, ValueError)
        assert results == [item * 10 for item in range(bad)]
    else:
        assert error is None
        assert results == [item * 10 for item in range(count)]
