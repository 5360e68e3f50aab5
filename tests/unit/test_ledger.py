"""`tercet.ledger`: what workers noted, added up."""

from __future__ import annotations

import contextvars
import math
from typing import Any

import pytest

from tercet.course import Course
from tercet.engine import Engine, Entry, Work
from tercet.ledger import Ledger
from tercet.probe import Sight


class Crew(Engine):
    """An engine whose tally a test writes."""

    model = "crew"

    def __init__(self) -> None:
        super().__init__(Work(abs, contextvars.copy_context()), Course(iter(()), 0, 1))

    def resize(self, limit: int) -> None: ...

    def note_tasks(self, count: int, wall_s: float, cpu_s: float) -> None:
        self.tally.extend(Entry(1, wall_s, cpu_s) for _ in range(count))


class Desk:
    """A ledger whose clock and processor a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu_s = 50.0, 0.0
        monkeypatch.setattr(Ledger, "_cpu", staticmethod(lambda: self.cpu_s))
        self.ledger = Ledger(lambda: self.now)
        self.crew = Crew()

    def take_in(self) -> None:
        self.ledger.take_in([self.crew], self.crew)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_tasks_are_counted_and_their_time_adds_up_over_windows(desk: Desk) -> None:
    desk.crew.note_tasks(4, 0.02, 0.001)
    desk.take_in()
    assert desk.ledger.ended == 4
    desk.ledger.turn(is_shared=True)
    assert desk.ledger.ended == 0
    desk.crew.note_tasks(1, 0.01, 0.001)
    desk.take_in()
    assert desk.ledger.in_a_row_s == pytest.approx(0.09)
    assert not desk.crew.tally


def test_what_another_engine_still_brings_counts_for_the_whole_but_not_for_the_window(desk: Desk) -> None:
    former = Crew()
    former.note_tasks(2, 0.5, 0.5)
    desk.ledger.take_in([former, desk.crew], desk.crew)
    assert desk.ledger.ended == 0
    assert desk.ledger.in_a_row_s == pytest.approx(1.0)


def test_crowded_threads_wait_for_one_another_and_only_the_least_wait_is_a_tasks_own(desk: Desk) -> None:
    desk.ledger.turn(is_shared=True)
    desk.crew.note_tasks(9, 0.2, 0.01)
    desk.crew.note_tasks(1, 0.03, 0.01)
    desk.take_in()
    desk.now += 0.1
    assert desk.ledger.in_a_row_s == pytest.approx(10 * 0.03)
    sight = desk.ledger.sight(None)
    assert (sight.finished, sight.wall_s, sight.cpu_s) == (10, pytest.approx(0.3), pytest.approx(0.1))


def test_processes_do_not_share_a_gil_so_their_waits_are_their_own(desk: Desk) -> None:
    desk.ledger.turn(is_shared=False)
    desk.crew.note_tasks(10, 0.2, 0.05)
    desk.take_in()
    desk.now += 0.1
    assert desk.ledger.in_a_row_s == pytest.approx(2.0)


def test_what_tasks_wait_in_a_queue_on_the_far_side_is_no_time_of_theirs(desk: Desk) -> None:
    desk.ledger.turn(is_shared=True, alone_s=0.01)
    desk.crew.note_tasks(10, 0.3, 0.0)
    desk.take_in()
    assert desk.ledger.in_a_row_s == pytest.approx(0.1)
    assert desk.ledger.sight(None).wall_s == pytest.approx(3.0)


def test_the_rate_is_what_tasks_use_and_not_what_it_costs_to_start_threads(desk: Desk) -> None:
    desk.ledger.turn(is_shared=True)
    desk.ledger.add_threads(10)
    desk.now += 0.01
    desk.cpu_s += 0.002
    assert desk.ledger.rate == pytest.approx(0.0, abs=1e-9)
    desk.cpu_s += 0.01
    assert desk.ledger.rate == pytest.approx(1.0)


def test_the_kinds_of_an_earlier_look_are_kept(desk: Desk) -> None:
    desk.crew.note_tasks(10, 0.02, 0.01)
    desk.take_in()
    basis = Sight(1, 1.0, 0.5, kinds={"network": 0.5, "cpu-nogil": 0.5}, samples=30)
    assert desk.ledger.sight(basis).shares() == pytest.approx({"network": 0.5, "cpu-nogil": 0.5})


def glimpse() -> Sight:
    return Sight(0, 0.02, 0.004, kinds={"cpu-gil": 0.2, "gil-wait": 0.8}, samples=40)


def test_a_wait_seen_first_and_computing_seen_later_are_taken_for_half_and_half(desk: Desk) -> None:
    found = desk.ledger.together(Sight(0, 0.003, 0.0, kinds={"sleep": 1.0}, samples=6), glimpse())
    assert found.shares() == pytest.approx({"sleep": 0.5, "cpu-gil": 0.5})


def test_whole_tasks_seen_before_are_replaced_by_what_is_seen_now(desk: Desk) -> None:
    found: Any = desk.ledger.together(Sight(9, 0.9, 0.0, kinds={"sleep": 1.0}, samples=60), glimpse())
    assert found.shares() == pytest.approx({"cpu-gil": 1.0})
    assert math.isclose(found.task_s, 0.1)
