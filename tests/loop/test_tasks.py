"""Tasks and futures that a loop makes."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")
TAKES_ANY_KEYWORD = sys.version_info >= (3, 13, 3)
"""Since then a loop hands on whatever it is given by name."""


async def where() -> str:
    return PLACE.get()


def test_a_future_is_asyncios_own_and_of_this_loop(loop: Loop) -> None:
    future = loop.create_future()
    assert type(future) is asyncio.Future
    assert future.get_loop() is loop


def test_a_task_is_asyncios_own_and_of_this_loop(loop: Loop) -> None:
    task = loop.create_task(where())
    assert type(task) is asyncio.Task
    assert task.get_loop() is loop
    assert task.get_name().startswith("Task-")
    assert loop.run_until_complete(task) == "nowhere"


@pytest.mark.parametrize("name", ["first", None])
def test_what_is_given_by_name_reaches_the_task(loop: Loop, name: str | None) -> None:
    context = contextvars.copy_context()
    context.run(PLACE.set, "here")
    task = loop.create_task(where(), name=name, context=context)
    assert task.get_name() == name or name is None
    assert loop.run_until_complete(task) == "here"


def test_without_a_context_a_task_has_a_copy_of_the_current_one(loop: Loop) -> None:
    async def move() -> None:
        PLACE.set("there")

    async def main() -> str:
        await loop.create_task(move())
        return PLACE.get()

    assert loop.run_until_complete(main()) == "nowhere"


@pytest.mark.parametrize("given", [{}, {"name": "named"}, {"context": contextvars.copy_context()}])
def test_a_factory_makes_the_tasks(loop: Loop, given: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []

    def factory(loop: Loop, coro: Coroutine[Any, Any, str], **named: Any) -> asyncio.Task[str]:
        seen.append({key: value for key, value in named.items() if value is not None})
        return asyncio.Task(coro, loop=loop, **named)

    loop.set_task_factory(factory)
    task = loop.create_task(where(), **given)
    assert loop.run_until_complete(task) == "nowhere"
    # Older versions give the name afterwards.
    assert seen == [given if TAKES_ANY_KEYWORD else {key: given[key] for key in given if key != "name"}]
    assert task.get_name() == given.get("name", task.get_name())
    loop.set_task_factory(None)
    assert loop.run_until_complete(loop.create_task(where())) == "nowhere"
    assert len(seen) == 1


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2)])
def test_what_is_no_coroutine_is_refused(loop: Loop, arguments: tuple[int, ...]) -> None:
    make: Any = loop.create_task
    with pytest.raises(TypeError):
        make(*arguments)


def test_a_keyword_that_no_version_knows_is_refused(loop: Loop) -> None:
    make: Any = loop.create_task
    coroutine = where()
    with pytest.raises(TypeError, match=r"unexpected keyword argument|invalid keyword argument"):
        make(coroutine, nickname="it")
    coroutine.close()


def test_the_coroutine_may_be_given_by_name_where_asyncio_takes_it(loop: Loop) -> None:
    make: Any = loop.create_task
    assert loop.run_until_complete(make(coro=where())) == "nowhere"


def test_a_closed_loop_makes_no_tasks(loop: Loop) -> None:
    loop.close()
    coroutine = where()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        del coroutine


def test_debug_mode_notes_where_a_task_was_made(loop: Loop) -> None:
    loop.set_debug(True)
    task: Any = loop.create_task(where())
    assert task._source_traceback[-1].name == "test_debug_mode_notes_where_a_task_was_made"
    future: Any = loop.create_future()
    assert future._source_traceback[-1].name in ("create_future", "test_debug_mode_notes_where_a_task_was_made")
    assert loop.run_until_complete(task) == "nowhere"


def test_classes_that_others_put_in_asyncios_place_are_used(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Task(asyncio.Task):  # type: ignore[type-arg]
        pass

    class Future(asyncio.Future):  # type: ignore[type-arg]
        pass

    monkeypatch.setattr("asyncio.tasks.Task", Task)
    monkeypatch.setattr("asyncio.futures.Future", Future)
    task = loop.create_task(where())
    assert type(task) is Task
    assert type(loop.create_future()) is Future
    assert loop.run_until_complete(task) == "nowhere"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
def test_eager_tasks_begin_at_once(loop: Loop) -> None:
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main() -> bool:
        return loop.create_task(where()).done()

    assert loop.run_until_complete(main())
