"""`tercet.thread_engine`: threads that take one item at a time."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from typing import Any

import pytest

import tercet
from tercet.engine import MODELS, inside_worker, open_engine

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


def test_results_come_back_in_order(bench: Any) -> None:
    with bench("threads", abs, range(-500, 0), limit=4) as at:
        assert at.results() == list(range(500, 0, -1))


def test_as_many_tasks_run_at_the_same_time_as_there_are_workers(bench: Any) -> None:
    meeting = threading.Barrier(6)
    with bench("threads", lambda _: meeting.wait(60), range(6), limit=6) as at:
        assert sorted(at.results()) == list(range(6))


def test_more_workers_can_be_had_later_and_fewer_take_no_more(bench: Any) -> None:
    meeting = threading.Barrier(2)
    with bench("threads", lambda _: meeting.wait(60), range(2), limit=1) as at:
        at.engine.resize(2)
        assert sorted(at.results()) == [0, 1]
    with bench("threads", abs, range(20), limit=3) as at:
        at.engine.resize(0)
        at.engine.resize(1)
        assert at.results() == list(range(20))


def test_a_task_sees_the_context_of_the_caller_and_cannot_change_it_for_others(bench: Any) -> None:
    PLACE.set("caller")

    def task(x: int) -> str:
        seen = PLACE.get()
        PLACE.set(f"task {x}")
        return seen

    with bench("threads", task, range(1)) as at:
        assert at.results() == ["caller"]
    assert PLACE.get() == "caller"


def test_an_exception_has_its_own_traceback_and_nothing_of_the_engine(bench: Any) -> None:
    def task(x: int) -> int:
        raise LookupError(x)

    with bench("threads", task, [1]) as at, pytest.raises(LookupError) as caught:
        at.results()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "task" in names
    assert "_serve" not in names


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_no_way_out_of_a_task_takes_its_thread_along(bench: Any, error: type[BaseException]) -> None:
    def task(x: int) -> int:
        if x == 1:
            raise error
        return x

    with bench("threads", task, range(3), limit=1) as at, pytest.raises(error):
        at.results()


def test_a_map_inside_a_task_runs_in_place(bench: Any) -> None:
    def task(x: int) -> Any:
        inner = tercet.map(abs, [-1, -2])
        return inside_worker(), list(inner), inner.advice.model, inner.advice.notes

    with bench("threads", task, [1]) as at:
        ((is_inside, results, model, notes),) = at.results()
    assert (is_inside, results, model) == (True, [1, 2], "plain")
    assert any("inside a task" in note for note in notes)
    assert not inside_worker()


def test_no_thread_is_left(bench: Any) -> None:
    before = set(threading.enumerate())
    at = bench("threads", abs, range(50), limit=8)
    at.results()
    at.course.close()
    at.engine.close(30, kills=False)
    assert set(threading.enumerate()) <= before


def test_a_task_that_cannot_be_stopped_is_left_to_end_by_itself(bench: Any) -> None:
    may_end, has_begun = threading.Event(), threading.Event()

    def task(x: int) -> None:
        has_begun.set()
        may_end.wait(60)

    at = bench("threads", task, range(9), limit=1)
    assert has_begun.wait(60)
    at.course.close()
    at.engine.close(0.0, kills=True)
    (thread,) = at.engine._threads
    assert thread.daemon
    may_end.set()
    thread.join(60)
    assert not thread.is_alive()
    assert at.course.finished == 1


def test_as_many_threads_as_the_system_grants(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def grudging(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", grudging)
    with bench("threads", abs, range(20), limit=9) as at:
        assert at.results() == list(range(20))
        assert at.engine.limit == 3
        assert "no more than 3 threads" in at.engine.notes[0]


def test_where_no_thread_is_granted_the_work_stays_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = tercet.map(time.sleep, [0.003] * 20)
    assert list(results) == [None] * 20
    assert results.advice.model == "plain"
    assert any("no threads: can't start new thread" in note for note in results.advice.notes)


def test_what_ran_is_noted(bench: Any) -> None:
    with bench("threads", abs, range(7)) as at:
        at.results()
    assert sum(entry.ended for entry in at.engine.tally) == 7


def test_every_model_but_the_plain_loop_has_an_engine() -> None:
    with pytest.raises(ValueError, match="no engine of that name: `plain`"):
        open_engine("plain", None, None)  # type: ignore[arg-type]
    assert MODELS == ("plain", "threads", "processes", "event-loop")
