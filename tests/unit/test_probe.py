"""`tercet.probe`: what was seen, as the profile that the decision reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet import machine
from tercet.portable import Journey
from tercet.probe import Eye, Sight, profile_of


def profile(sight: Sight, **more: Any) -> dict[str, Any]:
    known = {"left": 10, "is_coroutine": False, **more}
    return profile_of(sight, **known)


def test_the_clock_says_how_much_and_the_moments_say_what() -> None:
    sight = Sight(10, 1.0, 0.25, kinds={"network": 0.6, "sleep": 0.2, "cpu-gil": 0.1, "cpu-nogil": 0.1}, samples=10)
    assert sight.shares() == pytest.approx({"cpu-gil": 0.125, "cpu-nogil": 0.125, "network": 0.5625, "sleep": 0.1875})


def test_without_moments_computing_is_taken_to_hold_the_gil() -> None:
    assert Sight(10, 1.0, 0.25).shares() == pytest.approx({"cpu-gil": 0.25, "other": 0.75})


def test_waiting_for_the_gil_or_for_a_processor_is_not_the_tasks_own() -> None:
    kinds = {"cpu-gil": 0.25, "sleep": 0.25, "gil-wait": 0.3, "runnable": 0.2}
    assert Sight(4, 1.0, 0.25, kinds=kinds, samples=20).shares() == pytest.approx({"cpu-gil": 0.5, "sleep": 0.5})
    assert Sight(4, 1.0, 0.25, queued_s=0.75).shares() == pytest.approx({"cpu-gil": 1.0})
    assert Sight(4, 1.0, 0.25, kinds=kinds, queued_s=0.45).shares() == pytest.approx({"cpu-gil": 1.0})


def test_moments_in_which_the_gil_is_passed_on_are_no_native_code() -> None:
    assert Sight(1, 1.0, 1.0, kinds={"cpu-gil": 0.85, "cpu-nogil": 0.15}).shares() == pytest.approx({"cpu-gil": 1.0})
    half = Sight(1, 1.0, 1.0, kinds={"cpu-gil": 0.5, "cpu-nogil": 0.5}).shares()
    assert half == pytest.approx({"cpu-gil": 0.5, "cpu-nogil": 0.5})


def test_a_task_that_has_not_ended_is_expected_to_take_as_long_again() -> None:
    assert Sight(0, 0.01, 0.0).task_s == pytest.approx(0.02)
    assert Sight(5, 0.01, 0.0).task_s == pytest.approx(0.002)
    assert not Sight(0, 0.01, 0.0).is_complete


def test_the_time_of_a_task_is_what_it_would_take_alone() -> None:
    assert Sight(2, 1.0, 0.3, kinds={"gil-wait": 0.2}, samples=20, queued_s=0.4).task_s == pytest.approx(0.2)
    assert Sight(2, 1.0, 0.9, queued_s=0.4).task_s == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (Sight(10, 0.1, 0.0), False),
        (Sight(10, 0.3, 0.0), False),
        (Sight(10, 0.5, 0.0), True),
        (Sight(10, 0.01, 0.0), True),
        (Sight(10, 0.1, 0.05), True),
        (Sight(10, 0.1, 0.02), False),
    ],
)
def test_tasks_become_something_else_when_they_take_longer_or_compute(other: Sight, differs: bool) -> None:
    assert other.differs_from(Sight(10, 0.1, 0.0)) == differs


def test_a_profile_has_the_facts_under_the_names_that_decide_reads(native: Any) -> None:
    sight = Sight(10, 0.2, 0.1, kinds={"network": 0.5, "cpu-gil": 0.5}, samples=40)
    found = profile(sight, left=100, is_portable=True, journey=Journey(0.001, 2048))
    assert found["source"] == "probe"
    assert found["samples"] == 40
    assert found["work"]["gil"] == pytest.approx(0.5)
    assert found["work"]["wait"] == pytest.approx(0.5)
    assert found["tasks"] == {
        "count": 100.0,
        "wall_s": pytest.approx(0.02),
        "is_coroutine": False,
        "is_portable": True,
        "pickle_s": 0.001,
        "pickle_bytes": 2048.0,
    }
    assert found["phases"]["body_s"] == pytest.approx(2.0)


def test_processes_that_run_already_cost_nothing_to_start(native: Any) -> None:
    assert profile(Sight(1, 1.0, 1.0))["machine"]["process_start_s"] > 0
    assert profile(Sight(1, 1.0, 1.0), has_processes=True)["machine"]["process_start_s"] == 0


def test_where_nobody_knows_how_much_is_left_a_second_of_work_is_expected(native: Any) -> None:
    found = profile(Sight(10, 0.1, 0.1), left=None)
    assert found["tasks"]["count"] == pytest.approx(100)
    assert found["phases"]["body_s"] == pytest.approx(1.0)


def test_child_programs_count_as_their_processors(native: Any) -> None:
    found = profile(Sight(2, 1.0, 0.0, extra_cpu_s=0.8, kinds={"child": 1.0}, samples=50))
    assert found["work"]["child_cpu"] == pytest.approx(0.8)
    assert found["work"]["wait"] == pytest.approx(1.0)


def test_the_real_decision_reads_every_profile() -> None:
    sight = Sight(3, 0.3, 0.0, kinds={"network": 1.0}, samples=30)
    verdict = json.loads(machine.native().decide(json.dumps(profile(sight, left=40))))
    assert verdict["remedy"] == "threading"
    assert verdict["workers"] > 8


kinds = st.dictionaries(
    st.sampled_from(["cpu-gil", "cpu-nogil", "gc", "network", "sleep", "lock", "gil-wait", "runnable", "gil-held"]),
    st.floats(0, 1),
)


@given(
    finished=st.integers(0, 1000),
    wall_s=st.floats(1e-9, 1e3),
    share=st.floats(0, 1),
    seen=kinds,
    samples=st.integers(0, 50),
    left=st.none() | st.integers(0, 10**6),
)
def test_shares_sum_to_one_and_any_profile_can_be_decided_on(
    finished: int, wall_s: float, share: float, seen: dict[str, float], samples: int, left: int | None
) -> None:
    sight = Sight(finished, wall_s, wall_s * share, 0.0, seen, samples)
    assert sum(sight.shares().values()) == pytest.approx(1.0)
    assert "remedy" in machine.native().decide(json.dumps(profile(sight, left=left)))


# --- the eye ------------------------------------------------------------------------------------------------------


class Home:
    """Stands for the thread that runs tasks in place."""

    def __init__(self) -> None:
        self.native_thread = 4711
        self.figures = (0, 0.0, 0.0)

    def so_far(self) -> tuple[int, float, float]:
        return self.figures


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_eye_sees_what_happened_since_it_began(native: Any) -> None:
    home, clock = Home(), Clock()
    home.figures = (5, 1.0, 0.5)
    eye = Eye(home, clock)  # type: ignore[arg-type]
    eye.open()
    assert native.probes[0].watched == [4711]
    home.figures, clock.now = (9, 1.4, 0.6), 100.4
    native.see(12, network=0.75, cpu_gil=0.25)
    sight = eye.sight()
    assert (sight.finished, sight.samples) == (4, 12)
    assert (sight.wall_s, sight.cpu_s) == pytest.approx((0.4, 0.1))
    assert dict(sight.kinds) == {"network": 0.75, "cpu-gil": 0.25}


def test_what_the_caller_does_between_two_results_is_not_the_tasks_doing(native: Any) -> None:
    home, clock = Home(), Clock()
    eye = Eye(home, clock)  # type: ignore[arg-type]
    eye.open()
    home.figures, clock.now = (4, 0.1, 0.1), 101.0
    native.see(500, cpu_s=0.9, network=0.5, cpu_gil=0.5)
    sight = eye.sight()
    assert sight.samples == 0
    assert sight.shares() == pytest.approx({"cpu-gil": 1.0})


def test_how_computing_divides_is_the_tasks_doing_where_the_caller_only_waits(native: Any) -> None:
    home, clock = Home(), Clock()
    eye = Eye(home, clock)  # type: ignore[arg-type]
    eye.open()
    home.figures, clock.now = (4, 0.5, 0.5), 101.0
    native.see(500, cpu_s=0.51, lock=0.5, cpu_nogil=0.5)
    assert eye.sight().shares() == pytest.approx({"cpu-nogil": 1.0})


def test_a_glimpse_of_another_thread_needs_enough_moments(native: Any) -> None:
    eye = Eye(Home(), Clock())  # type: ignore[arg-type]
    eye.open()
    eye.turn_to(1234)
    native.see(3, cpu_gil=1.0)
    assert eye.glimpse() is None
    native.see(30, cpu_gil=1.0)
    glimpse = eye.glimpse()
    assert glimpse is not None
    assert glimpse.kinds == {"cpu-gil": 1.0}
    assert native.probes[0].watched == [4711, 1234]


def test_without_a_probe_the_clocks_have_to_do(native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(hz: float) -> Any:
        raise OSError("the interpreter cannot be read")

    monkeypatch.setattr(native, "Probe", refuse)
    home = Home()
    eye = Eye(home, Clock())  # type: ignore[arg-type]
    eye.open()
    home.figures = (4, 0.1, 0.05)
    assert "cannot be read" in (eye.blindness or "")
    assert eye.sight().shares() == pytest.approx({"cpu-gil": 0.5, "other": 0.5})
    eye.close()


def test_a_closed_eye_lets_its_probe_go(native: Any) -> None:
    eye = Eye(Home(), Clock())  # type: ignore[arg-type]
    eye.open()
    eye.close()
    assert native.probes[0].is_stopped
    assert not eye.is_open
    assert eye.glimpse() is None
