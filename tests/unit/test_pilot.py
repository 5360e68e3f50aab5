"""`tercet.pilot`: from what was seen to the engine that fits, step by step, with a clock that stands still."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tercet import pilot as module
from tercet.course import Course
from tercet.engine import Engine, Entry, Work
from tercet.errors import NotPortable
from tercet.ledger import Ledger
from tercet.pilot import Pilot, Plan, Wishes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Home:
    """Stands for the caller's thread."""

    def __init__(self) -> None:
        self.thread, self.native_thread = threading.get_ident(), 4711
        self.figures = (0, 0.0, 0.0)
        self.is_busy, self.has_rest = True, False
        self.keeps_call, self.checks_items, self.changed_item = True, False, False
        self.last_call: list[Any] = []
        self.has_handed_over = False

    def so_far(self) -> tuple[int, float, float]:
        return self.figures

    def hand_over(self) -> None:
        self.has_handed_over = True


class FakeEngine(Engine):
    """An engine without workers, which a test fills by hand."""

    model = "fake"

    def __init__(self, name: str, work: Work, course: Course, options: dict[str, Any]) -> None:
        super().__init__(work, course)
        self.model = name  # type: ignore[misc]
        self.options = options
        self.sizes: list[int] = []
        self.ready = name != "processes"
        self.why_not: str | None = None

    @property
    def is_ready(self) -> bool:
        return self.ready

    @property
    def refusal(self) -> str | None:
        return self.why_not

    def resize(self, limit: int) -> None:
        self.limit = limit
        self.sizes.append(limit)

    def some_thread(self) -> int | None:
        return 815 if self.model == "threads" else None


class Stage:
    """A pilot with everything around it under a test's control."""

    def __init__(self, native: Any, monkeypatch: pytest.MonkeyPatch, fn: Callable[..., Any], **options: Any) -> None:
        self.native, self.clock, self.home = native, Clock(), Home()
        self.engines: list[FakeEngine] = []
        self.busy_s = 0.0
        total = options.pop("total", 100)
        self.course = Course(((i,) for i in range(total)), options.pop("known", total), 1000, 10_000)
        monkeypatch.setattr(module, "open_engine", self._open)
        monkeypatch.setattr(Ledger, "_cpu", lambda ledger: self.busy_s)
        work = Work(fn, contextvars.copy_context(), stops_at_error=options.pop("stops_at_error", True))
        wishes = Wishes(options.pop("model", None), options.pop("workers", None), options.pop("pure", None))
        self.pilot = Pilot(work, self.course, self.home, wishes, clock=self.clock, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "start_new_thread", lambda fn, args: None)

    def _open(self, name: str, work: Work, course: Course, **options: Any) -> FakeEngine:
        self.engines.append(FakeEngine(name, work, course, options))
        return self.engines[-1]

    def sees(self, seconds: float, finished: int = 0, computing: float = 0.0, **shares: float) -> None:
        """Let tasks in place run for so long, and a step be taken after it."""
        ran, wall_s, cpu_s = self.home.figures
        self.home.figures = (ran + finished, wall_s + seconds, cpu_s + computing * seconds)
        self.native.see(int(seconds * 2000), **shares)
        self.passes(seconds)

    def passes(self, seconds: float) -> float | None:
        self.clock.now += seconds
        return self.pilot.step()

    def tally(self, engine: FakeEngine, count: int, wall_s: float, cpu_s: float) -> None:
        engine.tally.extend(Entry(1, wall_s, cpu_s) for _ in range(count))


@pytest.fixture
def stage(native: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    def make(fn: Callable[..., Any] = time.sleep, **options: Any) -> Stage:
        made = Stage(native, monkeypatch, fn, **options)
        made.pilot.start()
        return made

    return make


def answer(native: Any, remedy: str, workers: int | None = None, speedup: float = 4.0, **more: Any) -> None:
    native.answer = lambda profile: native.verdict(remedy, workers, speedup, **more)


def compute(x: int) -> int:
    return x * x


# --- waiting ------------------------------------------------------------------------------------------------------


def test_a_first_task_that_waits_opens_threads_although_it_has_not_ended(stage: Any, native: Any) -> None:
    answer(native, "threading", 50)
    here = stage()
    here.passes(0.0015)
    here.sees(0.0025, sleep=1.0)
    assert here.home.has_handed_over
    (threads,) = here.engines
    assert (threads.model, threads.sizes) == ("threads", [8])
    assert here.pilot.plan == Plan("threads", 8)


def test_more_threads_open_step_by_step_up_to_what_the_verdict_says(stage: Any, native: Any) -> None:
    answer(native, "threading", 50)
    here = stage()
    here.passes(0.0015)
    here.sees(0.0025, network=1.0)
    for _ in range(6):
        here.passes(0.004)
    assert here.engines[0].sizes == [8, 16, 32, 50]


def test_no_more_threads_open_than_there_are_items(stage: Any, native: Any) -> None:
    answer(native, "threading", 500)
    here = stage(total=20)
    here.passes(0.0015)
    here.sees(0.0025, network=1.0)
    for _ in range(6):
        here.passes(0.004)
    assert here.engines[0].sizes[-1] == 20


def test_a_given_number_of_workers_is_taken_at_once(stage: Any, native: Any) -> None:
    answer(native, "threading", 50)
    here = stage(workers=13)
    here.passes(0.0015)
    here.sees(0.0025, network=1.0)
    assert here.engines[0].sizes == [13]
    assert here.passes(0.004) is not None
    assert here.engines[0].sizes == [13]


def test_the_profile_says_what_the_probe_saw(stage: Any, native: Any) -> None:
    here = stage()
    here.passes(0.0015)
    here.sees(0.004, network=1.0)
    (profile,) = native.profiles
    assert profile["shares"] == {"network": 1.0}
    assert profile["tasks"]["count"] == 100
    assert profile["tasks"]["wall_s"] == pytest.approx(0.008)


def test_too_short_a_look_decides_nothing(stage: Any, native: Any) -> None:
    here = stage()
    here.passes(0.0015)
    here.sees(0.001, sleep=1.0)
    assert native.profiles == []


# --- computing ----------------------------------------------------------------------------------------------------


def computing_stage(stage: Any, native: Any, fn: Callable[..., Any] = compute, **options: Any) -> Stage:
    answer(native, "multiprocessing", 4, 3.0)
    here: Stage = stage(fn, **options)
    here.passes(0.0015)
    here.sees(0.0025, computing=1.0, cpu_gil=1.0)
    return here


def test_computing_is_not_believed_too_early(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    assert here.engines == []
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert [engine.model for engine in here.engines] == ["processes"]


def test_work_goes_on_in_place_until_processes_are_ready(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    assert not here.home.has_handed_over
    assert here.pilot.plan.model == "plain"
    here.passes(0.02)
    here.engines[0].ready = True
    here.passes(0.02)
    assert here.home.has_handed_over
    assert here.pilot.plan == Plan("processes", 4)


def test_a_first_task_that_computes_and_others_that_wait_change_the_choice(stage: Any, native: Any) -> None:
    """The first may have had to import something; processes that are starting for its sake are not used."""
    here = computing_stage(stage, native)
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert [engine.model for engine in here.engines] == ["processes"]
    here.sees(0.02, finished=1, computing=1.0, cpu_gil=1.0)
    answer(native, "threading", 30, 25.0)
    here.sees(0.03, finished=2, network=1.0)
    assert native.profiles[-1]["tasks"]["wall_s"] == pytest.approx(0.015)
    assert here.pilot.plan.model == "threads"
    here.engines[0].ready = True
    here.passes(0.02)
    assert here.pilot.plan.model == "threads"


def test_the_task_that_still_runs_in_place_counts_as_a_worker(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    here.engines[0].ready = True
    here.passes(0.02)
    assert here.engines[0].sizes == [3]
    here.home.is_busy = False
    here.passes(0.02)
    assert here.engines[0].sizes == [3, 4]


def test_processes_that_refuse_leave_the_work_in_place_and_say_why(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    here.engines[0].why_not = "a worker process cannot find the function"
    here.passes(0.02)
    assert not here.home.has_handed_over
    assert here.pilot.notes == ("a worker process cannot find the function",)
    here.sees(0.1, finished=5, computing=1.0, cpu_gil=1.0)
    assert native.profiles[-1]["tasks"]["is_portable"] is False


def test_processes_that_come_too_late_are_not_used(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native, total=3)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    while (batch := here.course.take_now(10)) is not None:
        batch.results.extend(0 for _ in batch.items)
        here.course.give(batch)
    here.engines[0].ready = True
    here.passes(0.02)
    assert not here.home.has_handed_over


@pytest.mark.parametrize(
    ("fn", "why"),
    [(lambda x: x, "a lambda has no name"), (threading.Lock().acquire, "cannot be pickled")],
)
def test_what_cannot_be_sent_stays_in_the_process(stage: Any, native: Any, fn: Any, why: str) -> None:
    here = computing_stage(stage, native, fn)
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert native.profiles[-1]["tasks"]["is_portable"] is False
    assert any(why in note for note in here.pilot.notes)


COUNTS: dict[int, int] = {}


def counts(x: int) -> int:
    COUNTS[x] = 1
    return x


def test_what_may_not_be_pure_stays_in_the_process(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native, counts)
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert native.profiles[-1]["tasks"]["is_portable"] is False
    assert any("writes to the global `COUNTS`" in note and "`pure=True`" in note for note in here.pilot.notes)


def test_unless_the_caller_says_that_it_is(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native, counts, pure=True)
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert native.profiles[-1]["tasks"]["is_portable"] is True
    assert [engine.model for engine in here.engines] == ["processes"]


def test_or_says_that_nothing_may_leave(stage: Any, native: Any) -> None:
    here = stage(compute, pure=False)
    here.passes(0.0015)
    here.sees(0.01, computing=1.0, cpu_gil=1.0)
    assert native.profiles[-1]["tasks"]["is_portable"] is False


def test_a_result_that_cannot_be_pickled_keeps_the_work_here(stage: Any, native: Any) -> None:
    answer(native, "multiprocessing", 4, 3.0)
    here = stage(compute)
    here.home.last_call = [((1,), threading.Lock())]
    here.passes(0.0015)
    here.sees(0.012, finished=1, computing=1.0, cpu_gil=1.0)
    assert here.engines == []
    assert any("a result cannot be pickled" in note for note in here.pilot.notes)


@pytest.mark.parametrize("how", ["argument", "container"])
def test_a_change_seen_while_processes_start_keeps_the_work_here(stage: Any, native: Any, how: str) -> None:
    here = computing_stage(stage, native, reads)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    if how == "argument":
        here.home.changed_item = True
    else:
        FACTORS.append(1)
    here.engines[0].ready = True
    here.passes(0.02)
    assert not here.home.has_handed_over
    assert any("changed" in note for note in here.pilot.notes)


FACTORS = [1, 2]


def reads(x: int) -> int:
    return FACTORS[0] * x


def test_native_code_without_the_gil_gets_as_many_threads_as_needed_at_once(stage: Any, native: Any) -> None:
    answer(native, "threading", 4, 3.8)
    here = stage()
    here.passes(0.0015)
    here.sees(0.02, finished=2, computing=1.0, cpu_nogil=1.0)
    assert here.engines[0].sizes == [3]
    here.home.is_busy = False
    here.passes(0.005)
    assert here.engines[0].sizes == [3, 4]


def test_a_small_gain_seen_in_a_few_moments_is_no_reason_to_move(stage: Any, native: Any) -> None:
    answer(native, "threading", 4, 1.2)
    here = stage()
    here.passes(0.0015)
    here.sees(0.009, computing=1.0, cpu_gil=1.0)
    assert here.engines == []
    here.sees(0.05, finished=30, computing=1.0, cpu_gil=1.0)
    assert [engine.model for engine in here.engines] == ["threads"]


def test_where_nothing_gains_the_work_stays_in_place(stage: Any, native: Any) -> None:
    here = stage()
    here.passes(0.0015)
    for _ in range(5):
        here.sees(0.05, finished=100, computing=1.0, cpu_gil=1.0)
    assert here.engines == []
    assert here.pilot.plan.model == "plain"


def test_nothing_is_opened_for_items_that_have_all_begun(stage: Any, native: Any) -> None:
    answer(native, "threading", 8)
    here = stage(total=1)
    here.course.take_now(1)
    here.course.take_now(1)
    here.passes(0.0015)
    here.sees(0.01, sleep=1.0)
    assert here.engines == []


# --- a change of mind ---------------------------------------------------------------------------------------------


def test_short_tasks_that_become_long_waits_leave_the_plain_loop(stage: Any, native: Any) -> None:
    here = stage(total=10_000)
    here.passes(0.0015)
    here.sees(0.06, finished=3000, computing=1.0, cpu_gil=1.0)
    assert here.pilot.plan.model == "plain"
    answer(native, "threading", 30)
    here.sees(0.1, finished=2, network=1.0)
    assert here.pilot.plan.model == "threads"


def test_what_is_left_of_a_block_in_place_is_worth_a_move(stage: Any, native: Any) -> None:
    """All items may have been pulled into the block that has become slow."""
    answer(native, "threading", 8)
    here = stage(total=50)
    while here.course.take_now(50) is not None:
        pass
    here.home.has_rest = True
    here.passes(0.0015)
    here.sees(0.01, sleep=1.0)
    assert here.pilot.plan.model == "threads"


def waiting_stage(stage: Any, native: Any, **options: Any) -> Stage:
    answer(native, "threading", 8)
    here: Stage = stage(compute, **options)
    here.passes(0.0015)
    here.sees(0.01, finished=4, sleep=1.0)
    assert here.pilot.plan == Plan("threads", 8)
    here.home.is_busy = False
    return here


def test_waits_that_turn_into_computing_are_looked_at_closer_and_moved(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    answer(native, "multiprocessing", 4, 3.0)
    here.busy_s += 0.3
    here.passes(0.3)
    assert native.probes[0].watched[-1] == 815
    native.see(40, cpu_s=0.004, cpu_gil=0.2, gil_wait=0.8)
    here.passes(0.021)
    assert [engine.model for engine in here.engines] == ["threads", "processes"]
    here.engines[1].ready = True
    here.passes(0.02)
    assert here.pilot.plan.model == "processes"
    assert here.engines[0].sizes[-1] == 0


def test_a_closer_look_that_finds_nothing_but_waiting_changes_nothing(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    answer(native, "nothing", 1, 1.0)
    here.busy_s += 0.3
    here.passes(0.3)
    native.see(40, lock=1.0)
    here.passes(0.021)
    assert here.pilot.plan.model == "threads"


def test_a_busy_processor_that_native_code_explains_is_no_reason_to_look_closer(stage: Any, native: Any) -> None:
    answer(native, "threading", 4, 3.8)
    here = stage()
    here.passes(0.0015)
    here.sees(0.02, finished=30, computing=1.0, cpu_nogil=1.0)
    here.busy_s += 0.4
    here.passes(0.3)
    assert 815 not in native.probes[0].watched


def test_threads_grow_beyond_what_a_first_look_expected(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    answer(native, "threading", 40, 30.0)
    here.tally(here.engines[0], 60, 0.0005, 0.0)
    here.passes(0.3)
    for _ in range(5):
        here.passes(0.004)
    assert here.engines[0].sizes == [8, 16, 32, 40]


def test_threads_that_wait_longer_than_the_first_tasks_did_are_no_reason_to_ask_again(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    asked = len(native.profiles)
    here.tally(here.engines[0], 20, 0.08, 0.0)
    here.passes(0.3)
    assert len(native.profiles) == asked


def test_how_long_the_first_task_took_is_known_once_it_has_ended(stage: Any, native: Any) -> None:
    answer(native, "threading", 100)
    here = stage(compute, total=5000)
    here.passes(0.0015)
    here.sees(0.004, sleep=1.0)
    for _ in range(6):
        here.passes(0.004)
    assert here.engines[0].sizes[-1] == 100
    here.home.figures, here.home.is_busy = (1, 0.01, 0.0), False
    for _ in range(3):
        here.tally(here.engines[0], 20, 0.2, 0.0)
        here.passes(0.06)
    assert here.engines[0].sizes[-1] <= 50, "20 in 60 ms at 10 ms each are 3 that are not in a queue"


def test_tasks_that_compute_less_in_processes_than_expected_are_judged_again(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    here.engines[0].ready = True
    here.passes(0.02)
    here.home.is_busy = False
    answer(native, "hybrid", 8, 7.0)
    here.tally(here.engines[0], 20, 0.02, 0.01)
    here.passes(0.3)
    assert native.profiles[-1]["work"]["wait"] == pytest.approx(0.5)
    assert here.pilot.plan == Plan("processes", 8)
    assert here.engines[0].sizes[-1] == 8


def test_the_same_engine_is_found_again_after_a_move_back(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    answer(native, "nothing", 1, 1.0)
    here.tally(here.engines[0], 40, 0.00001, 0.00001)
    here.passes(0.3)
    assert here.pilot.plan.model == "plain"
    assert here.course.home_is_open
    answer(native, "threading", 8)
    here.sees(0.3, finished=50, sleep=1.0)
    assert here.pilot.plan.model == "threads"
    assert len(here.engines) == 1


def test_moves_keep_a_distance(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    answer(native, "nothing", 1, 1.0)
    here.tally(here.engines[0], 40, 0.00001, 0.00001)
    here.passes(0.06)
    assert here.pilot.plan.model == "threads"


def test_crowded_threads_do_not_take_their_own_queue_for_waiting(stage: Any, native: Any) -> None:
    here = waiting_stage(stage, native)
    before = here.pilot.in_a_row_s
    here.tally(here.engines[0], 10, 0.08, 0.01)
    here.tally(here.engines[0], 1, 0.012, 0.01)
    here.clock.now += 0.11
    assert here.pilot.in_a_row_s - before == pytest.approx(11 * 0.012, rel=0.01)


# --- asked for by name --------------------------------------------------------------------------------------------


def test_the_plain_loop_asked_for_opens_nothing(stage: Any, native: Any) -> None:
    here = stage(model="plain")
    assert here.engines == []
    assert not here.home.has_handed_over


def test_threads_asked_for_open_before_anything_runs_in_place(stage: Any, native: Any) -> None:
    here = stage(model="threads", workers=3)
    assert here.engines[0].sizes == [3]
    assert here.home.has_handed_over


def test_processes_asked_for_are_an_error_where_they_cannot_be(stage: Any, native: Any) -> None:
    with pytest.raises(NotPortable, match="a lambda has no name"):
        stage(lambda x: x, model="processes")


def test_processes_asked_for_take_even_what_may_not_be_pure(stage: Any, native: Any) -> None:
    here = stage(counts, model="processes", workers=2)
    assert here.engines[0].options["workers"] == 2
    assert here.home.has_handed_over


def test_processes_asked_for_that_refuse_end_the_map_with_the_reason(stage: Any, native: Any) -> None:
    here = stage(compute, model="processes")
    here.engines[0].why_not = "a worker process cannot find the function"
    assert here.passes(0.02) is None
    _, error = here.course.collect()
    assert isinstance(error, NotPortable)
    assert "cannot find the function" in str(error)


def test_an_engine_asked_for_is_never_left(stage: Any, native: Any) -> None:
    here = stage(compute, model="threads", workers=4)
    here.home.is_busy = False
    answer(native, "multiprocessing", 4, 9.0)
    here.tally(here.engines[0], 40, 0.02, 0.02)
    here.passes(0.5)
    here.busy_s += 1.0
    here.passes(0.5)
    assert here.pilot.plan.model == "threads"
    assert here.pilot.verdict["remedy"] == "multiprocessing"


def test_coroutines_run_on_the_loop_from_the_start(stage: Any, native: Any) -> None:
    here = stage(is_coroutine=True)
    assert here.engines[0].model == "event-loop"
    assert here.engines[0].sizes == [10_000]
    answer(native, "asyncio", 100)
    here.tally(here.engines[0], 10, 0.02, 0.0001)
    here.passes(0.06)
    assert native.profiles[-1]["tasks"]["is_coroutine"] is True


# --- an executor's calls ------------------------------------------------------------------------------------------


def test_calls_that_wait_for_one_another_get_threads_whatever_the_verdict(stage: Any, native: Any) -> None:
    answer(native, "nothing", 1, 1.0)
    here = stage(stops_at_error=False)
    here.passes(0.0015)
    here.sees(0.01, lock=1.0)
    assert here.pilot.plan.model == "threads"


# --- life ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_opens_nothing(stage: Any, native: Any) -> None:
    answer(native, "threading", 50)
    here = stage(is_dry=True)
    here.home.figures = (1, 0.01, 0.0)
    native.see(20, sleep=1.0)
    here.clock.now += 0.01
    here.pilot.judge()
    assert here.engines == []
    assert here.pilot.plan == Plan("threads", 50)


def test_a_pilot_that_was_stopped_opens_nothing_more(stage: Any, native: Any) -> None:
    answer(native, "threading", 50)
    here = stage()
    assert here.pilot.stop() == []
    here.passes(0.0015)
    here.sees(0.01, sleep=1.0)
    assert here.engines == []


def test_stopping_returns_every_engine_also_one_that_is_starting(stage: Any, native: Any) -> None:
    here = computing_stage(stage, native)
    here.sees(0.01, finished=1, computing=1.0, cpu_gil=1.0)
    assert here.pilot.stop() == here.engines


def test_a_map_that_ended_before_the_first_look_is_judged_afterwards(stage: Any, native: Any) -> None:
    here = stage()
    here.home.figures = (100, 0.0001, 0.0001)
    assert here.pilot.verdict == {}
    here.pilot.last_word()
    assert here.pilot.verdict["remedy"] == "nothing"
    assert native.profiles[-1]["tasks"]["wall_s"] == pytest.approx(1e-6)
