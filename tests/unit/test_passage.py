"""`tercet.passage`: the way to another process, and what closes it."""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tercet.course import Course
from tercet.engine import Work
from tercet.home import Home
from tercet.passage import Passage
from tercet.worker import apply

TABLE = [1, 2, 3]
BOARD: dict[int, int] = {}


def pure(x: int) -> int:
    return x * TABLE[0]


def marks(x: int) -> int:
    BOARD[x] = 1
    return x


def passage_of(fn: Callable[..., Any], items: Any = (1, 2), **options: Any) -> tuple[Passage, Home, Course]:
    course = Course(((item,) for item in items), len(items), 100)
    stands_for = options.pop("stands_for", None)
    work = Work(fn, contextvars.copy_context(), stands_for=stands_for)
    home = Home(work, course)
    home.last_call = options.pop("last_call", [])
    return Passage(work, course, home, is_pure=options.pop("is_pure", False), is_dry=False), home, course


def test_a_pure_function_has_a_way_and_a_journey() -> None:
    passage, home, course = passage_of(pure, last_call=[((1,), 3)])
    assert passage.baggage is not None
    assert passage.journey is not None
    assert passage.journey.size > 0
    assert passage.notes == []
    assert home.checks_items
    assert course.take_now(9) is not None, "looking at an item has taken it away"


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (marks, "no processes: it writes to the global `BOARD`; `pure=True` says"),
        (lambda x: x, "no processes: a lambda has no name"),
        (threading.Lock().acquire, "no processes: "),
    ],
)
def test_what_speaks_against_it_is_noted(fn: Callable[..., Any], why: str) -> None:
    passage, _, _ = passage_of(fn)
    assert passage.baggage is None
    assert any(note.startswith(why) for note in passage.notes)


def test_what_the_caller_vouches_for_is_not_doubted() -> None:
    passage, home, _ = passage_of(marks, is_pure=True)
    assert passage.baggage is not None
    assert not home.checks_items
    BOARD[99] = 1
    assert not passage.close_if_changed()


def test_a_result_that_cannot_be_sent_closes_the_way() -> None:
    passage, _, _ = passage_of(pure, last_call=[((1,), threading.Lock())])
    assert passage.baggage is None
    assert any("a result cannot be pickled" in note for note in passage.notes)


def test_an_item_that_cannot_be_sent_does_not() -> None:
    passage, _, _ = passage_of(pure, items=[threading.Lock()])
    assert passage.baggage is not None


def test_a_container_that_changes_closes_the_way() -> None:
    passage, _, _ = passage_of(pure)
    assert not passage.close_if_changed()
    TABLE[0], before = 7, TABLE[0]
    try:
        assert passage.close_if_changed()
    finally:
        TABLE[0] = before
    assert passage.baggage is None
    assert any("`TABLE` changed while tasks ran" in note for note in passage.notes)


def test_an_argument_that_changes_closes_the_way() -> None:
    passage, home, _ = passage_of(pure)
    home.changed_item = True
    assert passage.close_if_changed()
    assert any("a task changed its arguments" in note for note in passage.notes)


def test_one_function_stands_for_many_that_are_like_it() -> None:
    passage, _, _ = passage_of(apply, stands_for=functools.partial(pure, 1))
    assert passage.baggage is not None
    assert passage.baggage.order["named"] == ("tercet.worker", "apply")
    passage, _, _ = passage_of(apply, stands_for=lambda: 1)
    assert passage.baggage is None


def test_where_there_are_no_workers_there_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    passage, _, _ = passage_of(pure)
    assert passage.baggage is None
    assert "darwin" in passage.notes[0]
