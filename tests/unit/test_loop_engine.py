"""`tercet.loop_engine`: coroutines on a loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

import tercet

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def test_results_come_back_in_order(bench: Any) -> None:
    with bench("event-loop", double, range(1000), limit=100) as at:
        assert at.results() == [2 * x for x in range(1000)]


def test_the_loop_is_tercets(bench: Any) -> None:
    async def loop_of(_: int) -> type:
        return type(asyncio.get_running_loop())

    with bench("event-loop", loop_of, range(3)) as at:
        assert at.results() == [tercet.EventLoop] * 3


def test_as_many_run_at_the_same_time_as_allowed(bench: Any) -> None:
    running, most = 0, 0

    async def task(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return x

    with bench("event-loop", task, range(100), limit=7) as at:
        assert at.results() == list(range(100))
    assert most == 7


def test_coroutines_wait_for_one_another(bench: Any) -> None:
    gate: list[asyncio.Event] = []

    async def task(x: int) -> int:
        if not gate:
            gate.append(asyncio.Event())
        if x == 299:
            gate[0].set()
        await gate[0].wait()
        return x

    with bench("event-loop", task, range(300), limit=1000) as at:
        assert at.results() == list(range(300))


def test_a_loop_in_the_callers_thread_is_no_obstacle(bench: Any) -> None:
    async def main() -> list[int]:
        with bench("event-loop", double, range(5)) as at:
            return at.results()  # type: ignore[no-any-return]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_a_coroutine_sees_the_context_of_the_caller(bench: Any) -> None:
    PLACE.set("caller")

    async def task(x: int) -> str:
        seen = PLACE.get()
        PLACE.set("task")
        return seen

    with bench("event-loop", task, range(3)) as at:
        assert at.results() == ["caller"] * 3


@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_an_exception_comes_at_its_place(bench: Any, error: type[BaseException]) -> None:
    async def task(x: int) -> int:
        await asyncio.sleep(0)
        if x == 3:
            raise error
        return x

    with bench("event-loop", task, range(6)) as at, pytest.raises(error):
        at.results()


def test_what_is_called_without_giving_a_coroutine_is_an_error(bench: Any) -> None:
    with bench("event-loop", abs, [1]) as at, pytest.raises(TypeError, match="await"):
        at.results()


def test_closing_cancels_what_runs_and_waits_for_it_to_clean_up(bench: Any) -> None:
    has_begun, cleaned = threading.Event(), []

    async def task(x: int) -> None:
        try:
            has_begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(x)

    before = set(threading.enumerate())
    at = bench("event-loop", task, range(3))
    assert has_begun.wait(60)
    at.course.close()
    at.engine.close(60, kills=True)
    assert cleaned
    assert set(threading.enumerate()) <= before


def test_without_killing_what_runs_may_finish(bench: Any) -> None:
    at = bench("event-loop", double, range(50))
    assert at.results() == [2 * x for x in range(50)]
    at.course.close()
    at.engine.close(60, kills=False)
    assert not any(thread.is_alive() for thread in at.engine._threads)


def test_closing_twice_and_before_anything_ran_is_fine(bench: Any) -> None:
    at = bench("event-loop", double, [])
    at.course.close()
    at.engine.close(60, kills=True)
    at.engine.close(60, kills=True)
