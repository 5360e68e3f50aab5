"""`tercet.sizer`: slow start, and what the figures of a window say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.sizer import Sizer


def settle(sizer: Sizer, rate_of: object, seconds: float = 0.1, windows: int = 40) -> int:
    """Let a sizer see windows in which `rate_of(workers)` tasks end every second."""
    for _ in range(windows):
        sizer.after(seconds, int(rate_of(sizer.workers) * seconds))  # type: ignore[operator]
    return sizer.workers


def test_without_anything_to_judge_it_doubles_up_to_the_target() -> None:
    sizer = Sizer(1, 20, None)
    assert [sizer.after(0.005, 0) for _ in range(6)] == [2, 4, 8, 16, 20, 20]
    assert not sizer.is_climbing


@pytest.mark.parametrize("knee", [4, 8, 24])
def test_a_server_with_a_knee_gets_about_as_many_as_it_serves_at_once(knee: int) -> None:
    alone_s = 0.01
    workers = settle(Sizer(1, 256, alone_s), lambda workers: min(workers, knee) / alone_s)
    assert knee <= workers <= 2 * knee


def test_waits_that_all_overlap_get_all_the_workers() -> None:
    assert settle(Sizer(1, 64, 0.005), lambda workers: workers / 0.005) == 64


def test_a_step_that_brings_nothing_is_taken_back() -> None:
    sizer = Sizer(4, 64, None)
    sizer.after(0.1, 100)
    assert sizer.workers == 8
    sizer.after(0.1, 105)
    assert sizer.workers == 4
    assert sizer.is_settled


def test_too_many_after_a_climb_in_good_faith_are_tried_with_fewer() -> None:
    sizer = Sizer(64, 64, 0.02)
    found = [sizer.after(0.5, 200) for _ in range(8)]
    assert found[0] == 16
    assert found[-1] == 10
    assert sizer.is_settled


def test_fewer_that_bring_less_give_way_to_the_former_number() -> None:
    sizer = Sizer(64, 64, 0.02)
    sizer.after(0.5, 200)
    sizer.after(0.5, 100)
    assert sizer.workers == 64
    assert sizer.is_settled


def test_a_window_too_short_to_judge_by_changes_nothing() -> None:
    sizer = Sizer(64, 64, 0.02)
    assert sizer.after(0.01, 200) == 64
    assert not sizer.is_settled
    sizer = Sizer(64, 64, 0.02)
    assert sizer.after(0.5, 3) == 64
    assert not sizer.is_settled


def test_short_windows_are_put_together() -> None:
    sizer = Sizer(64, 64, 0.05)
    assert [sizer.after(0.05, 8) for _ in range(3)] == [64, 64, 16]


def test_how_long_a_task_takes_may_be_learnt_later() -> None:
    sizer = Sizer(64, 64, None)
    sizer.learn(0.02)
    assert sizer.after(0.5, 200) == 16


@given(
    start=st.integers(1, 64),
    target=st.integers(1, 512),
    task_s=st.none() | st.floats(1e-4, 1.0),
    windows=st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 5000)), max_size=60),
)
def test_there_is_always_a_worker_and_never_more_than_the_target(
    start: int, target: int, task_s: float | None, windows: list[tuple[float, int]]
) -> None:
    sizer = Sizer(start, target, task_s)
    for seconds, ended in windows:
        assert 1 <= sizer.after(seconds, ended) <= target
