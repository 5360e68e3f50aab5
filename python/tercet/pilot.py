"""Choosing while it runs: who looks at the tasks, asks for a verdict, and opens what it names.

Life cycle
----------
1. The caller's thread runs the first items in place (`Home`). The pilot, a thread of its own, looks at it after 1.5 ms,
   and again ever more rarely: with the clocks, and with the native probe, which sees into a task that has not ended.
2. What was seen becomes a profile, and `decide` answers. Waiting needs threads: they open at once, few at first.
   Computing with the GIL needs processes: they start while work goes on in place, and take over when they are ready;
   before that, the function is read and packed, and what speaks against it is kept for the advice.
3. While an engine works, every window of time is compared with what the engine was chosen for. Tasks that have become
   something else lead to a new verdict, and to another engine if that gains enough.
4. The pilot ends with its map, and whoever ends the map closes the engines.

Every step is `Pilot.step`: it reads the clock it was given, acts, and returns when to look again. The thread around it
only waits, so the tests need neither the thread nor the clock.
"""

from __future__ import annotations

import json
import math
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable
from typing import Any, NamedTuple

from tercet.course import Course
from tercet.engine import Engine, Work, open_engine
from tercet.errors import NotPortable
from tercet.haste import haste
from tercet.home import Home
from tercet.ledger import Ledger
from tercet.machine import costs, machine, native
from tercet.passage import Passage
from tercet.probe import Eye, Sight, profile_of
from tercet.sizer import Sizer

__all__ = ["Pilot", "Wishes"]

THREADS_MOST = 512
COROUTINES_MOST = 10_000

_FIRST_LOOK_S = 0.0015
_SECOND_LOOK_S = 0.0025
_RAREST_LOOK_S = 0.1
_SEEN_S = 0.002
_TOO_LITTLE_S = 0.01
_COMPUTED_S = 0.008
"""Computing is believed after this long: starting processes for nothing costs more than waiting for it."""
_UNSEEN_S = 0.2
"""Without enough moments of the probe, computing is taken to hold the GIL only after this long."""
_CLIMB_S = 0.004
_PROCESSES_A_CORE = 4
_MIXED = 0.85
_FIRST_THREADS = 8
_WINDOW_S = 0.05
_BUSY = 0.6
_MUCH = 0.3
_MOVES_APART_S = 0.25
_WORTH_MOVING = 1.15
_WORTH_GUESSING = 1.3
_SURE = 20
_CLOSER_S = 0.02
_BATCH_S = 0.004
_REMEDIES = {
    "threading": "threads",
    "more-threads": "threads",
    "fewer-threads": "threads",
    "asyncio": "threads",
    "multiprocessing": "processes",
    "more-processes": "processes",
    "hybrid": "processes",
}


class Wishes(NamedTuple):
    """What the caller settled; the rest is chosen.

    Attributes
    ----------
    model
        One of `tercet.engine.MODELS`, or ``None``.
    workers
        How many workers, or ``None``.
    pure
        Whether the function may run in another process whatever it looks like; ``None`` leaves it to its source.
    """

    model: str | None = None
    workers: int | None = None
    pure: bool | None = None


class Plan(NamedTuple):
    """A model with its size."""

    model: str
    workers: int


class Pilot:
    """Looks at the tasks of one map and opens the engine that fits them.

    Parameters
    ----------
    work
        What is done with every item.
    course
        The items and their results.
    home
        The thread that runs items in place.
    wishes
        What the caller settled.
    is_coroutine
        Whether the tasks are coroutines.
    is_dry
        Whether only the verdict is wanted: nothing is opened then.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self,
        work: Work,
        course: Course,
        home: Home,
        wishes: Wishes,
        *,
        is_coroutine: bool = False,
        is_dry: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.plan = Plan("plain", 1)
        self.profile: dict[str, Any] = {}
        self.verdict: dict[str, Any] = {}
        self.engines: dict[str, Engine] = {}
        self._work = work
        self._course = course
        self._home = home
        self._wishes = wishes
        self._is_coroutine = is_coroutine
        self._is_dry = is_dry
        self._clock = clock
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._is_over = False
        self.is_asleep = False
        self._is_flying = False
        self._landed = threading.Lock()
        self._notes: list[str] = []
        self._eye = Eye(home, clock)
        self._is_warm = False
        self._began = 0.0
        self._look_s = _FIRST_LOOK_S
        self._basis: Sight | None = None
        self._passage: Passage | None = None
        self._pending: tuple[Plan, Engine] | None = None
        self._sizer: Sizer | None = None
        self._ledger = Ledger(clock)
        self._closer_until: float | None = None
        self._closer_again = 0.0
        self._moved = -math.inf

    # --- life ---

    def start(self) -> None:
        """Begin: open what was asked for by name, or look at the first tasks."""
        self._began = self._clock()
        model, workers = self._wishes.model, self._wishes.workers
        if self._is_coroutine:
            self._open_loop(workers or (1 if model == "plain" else COROUTINES_MOST))
        elif model == "plain" or (workers == 1 and model is None):
            return
        elif self._is_dry:
            self._eye.open()
        elif model == "threads":
            self._open_threads(workers or self._most_threads(), None)
        elif model == "processes":
            self._demand_processes(workers)
        if self._is_dry:
            return
        self._is_flying = True
        self._landed.acquire()
        # Not a `threading.Thread`, whose start waits until the new thread has had the GIL: short maps are over by then.
        start_new_thread(self._work.context.copy().run, (self._run,))

    @property
    def has_orders(self) -> bool:
        """Whether an engine was asked for by name, or is the only one that can run the work."""
        return self._is_coroutine or self._wishes.model is not None

    def call(self) -> None:
        """Look again soon: something has changed."""
        self._news.set()

    def stop(self) -> list[Engine]:
        """Decide nothing more, and return the engines that were opened, for the caller to close."""
        with self._lock:
            self._is_over = True
            engines = list(self.engines.values())
            if self._pending is not None and self._pending[1] not in engines:
                engines.append(self._pending[1])
        self._news.set()
        return engines

    def end(self, wait_s: float) -> None:
        """Wait for the pilot's thread, and let the probe go."""
        if self._is_flying:
            self._landed.acquire(timeout=wait_s)
        else:
            self._eye.close()
        self._take_in()
        self._forget_results()

    @property
    def notes(self) -> tuple[str, ...]:
        """What else led to the choice, in the order in which it came up."""
        found = [*self._notes, *(self._passage.notes if self._passage is not None else ())]
        for engine in list(self.engines.values()):
            found += [note for note in engine.notes if note not in found]
        return tuple(found)

    def _run(self) -> None:
        try:
            delay: float | None = max(0.0, self._look_s - (self._clock() - self._began))
            while delay is not None:
                self._news.wait(delay)
                self._news.clear()
                if self._is_over or self._course.is_over:
                    break
                self._sleep_while_idle()
                with haste:
                    delay = self.step()
        except Exception as error:
            self.note(f"the choice was left as it is after an error: {type(error).__name__}: {error}")
            raise
        finally:
            self._eye.close()
            self._landed.release()

    def _sleep_while_idle(self) -> None:
        """Where there is nothing to look at, as in an executor between two submissions, wait until `call`."""
        self.is_asleep = True
        while self._course.is_idle and not self._is_over and self._pending is None:
            self._news.wait()
            self._news.clear()
        self.is_asleep = False

    # --- one step ---

    def step(self) -> float | None:
        """Look once and act on it. Returns how long to wait before the next look, or ``None`` to look no more."""
        now = self._clock()
        if self._pending is not None:
            return self._await_engine(now)
        engine = self.engines.get(self.plan.model) if self.plan.model != "plain" else None
        if engine is None:
            return self._look_home(now)
        self._let_home_count(engine)
        return self._look_at(engine, now)

    # --- tasks in place ---

    def _look_home(self, now: float) -> float | None:
        if not self._eye.is_open:
            if self._is_nearly_done():
                return _SECOND_LOOK_S
            self._eye.open()
            if self._eye.blindness is not None:
                self.note(self._eye.blindness)
            self._look_s = _SECOND_LOOK_S
            return self._look_s
        self._look_s = min(2 * self._look_s, _RAREST_LOOK_S)
        if (sight := self._fresh_sight()) is not None:
            self._consider(sight, now)
        return _CLIMB_S if self._sizer is not None or self._pending is not None else self._look_s

    def _fresh_sight(self) -> Sight | None:
        """What tasks in place do, where enough was seen to act on it.

        The first task often does what no other has to, such as importing: once it has ended, looking begins anew.
        """
        sight = self._eye.sight()
        is_first = sight.is_complete and not self._is_warm
        self._is_warm = self._is_warm or is_first
        is_enough = self._is_enough(sight)
        if is_first or (is_enough and sight.is_complete and sight.wall_s >= _WINDOW_S):
            self._eye.begin()
        return sight if is_enough else None

    def _is_nearly_done(self) -> bool:
        """Whether so little is left in place that nothing could gain anything any more."""
        ran, wall_s, _ = self._home.so_far()
        left = self._course.left
        return ran >= 3 and left is not None and left * wall_s / ran < _TOO_LITTLE_S

    def _is_enough(self, sight: Sight) -> bool:
        """Whether enough was seen to act on: waits show soon, computing only later, as processes take time to start."""
        if sight.wall_s < _SEEN_S:
            return False
        if sight.computing() > 0.5:
            # A few moments say that it computes, but not whether with the GIL.
            patience_s = _COMPUTED_S if self._eye.is_blind else _UNSEEN_S
            return sight.wall_s >= _COMPUTED_S and (sight.samples >= 8 or sight.wall_s >= patience_s)
        return sight.finished >= 3 or sight.samples >= 3 or sight.wall_s >= _COMPUTED_S

    # --- from sight to plan ---

    def _consider(self, sight: Sight, now: float) -> None:
        """Ask for a verdict on what was seen, and act on it."""
        left = self._course.left
        plan = self._ask(sight, left)
        if plan.model == "processes" and self._wishes.model is None:
            may_leave = self._prepare()
            plan = self._ask(sight, left)
            plan = plan if may_leave or plan.model != "processes" else Plan("plain", 1)
        is_first_whole = sight.is_complete and not (self._basis is not None and self._basis.is_complete)
        self._basis = sight
        must_move = plan.model == "plain" and not self._work.stops_at_error and sight.computing() < 0.5
        has_more = self._course.has_more or self._home.has_rest
        if must_move and not sight.is_complete and self._wishes.model is None and has_more:
            # A task may wait for one that stands behind it: an executor must always get on.
            self._open_threads(self._wishes.workers or min(32, math.ceil(self._cores()) + 4), sight)
        elif self._is_dry:
            self.plan = plan
        elif self._wishes.model is None and left != 0 and has_more and (is_first_whole or self._may_move(now)):
            self._go(plan, sight, now)

    def _may_move(self, now: float) -> bool:
        return now - self._moved >= _MOVES_APART_S

    def _ask(self, sight: Sight, left: int | None) -> Plan:
        passage = self._passage
        is_portable = False if self._wishes.pure is False else None
        journey = None
        if passage is not None:
            is_portable, journey = passage.baggage is not None, passage.journey
        together = max(1.0, _BATCH_S / max(sight.task_s, 1e-7))
        self.profile = profile_of(
            sight,
            left=left,
            is_coroutine=self._is_coroutine,
            is_portable=is_portable,
            journey=journey,
            items_per_trip=together,
            has_processes="processes" in self.engines,
        )
        self.verdict = json.loads(native().decide(json.dumps(self.profile)))
        return self._plan_of(self.verdict)

    def _plan_of(self, verdict: dict[str, Any]) -> Plan:
        model = _REMEDIES.get(verdict["remedy"], "plain")
        workers = self._wishes.workers or verdict["workers"] or self._best_size(verdict, model)
        if model == "threads":
            workers = min(workers, THREADS_MOST)
        if workers <= 1 and self._wishes.workers is None:
            return Plan("plain", 1)
        return Plan(model, workers)

    def _best_size(self, verdict: dict[str, Any], model: str) -> int:
        """The smallest size within 5 % of the best that is predicted for a model."""
        known = [each for each in verdict["predictions"] if each["model"] == model]
        if not known:
            return max(1, math.ceil(self._cores()))
        best = max(each["speedup"] for each in known)
        return min(int(each["workers"]) for each in known if each["speedup"] >= 0.95 * best)

    def _expected(self, plan: Plan) -> float:
        """The predicted speed-up of a plan, against the plain loop."""
        if plan.model == "plain":
            return 1.0
        known = [each for each in self.verdict.get("predictions", ()) if each["model"] == plan.model]
        if not known:
            return 1.0
        return float(min(known, key=lambda each: abs(each["workers"] - plan.workers))["speedup"])

    def _go(self, plan: Plan, sight: Sight, now: float) -> None:
        """Move to another plan where that gains enough."""
        if plan.model == self.plan.model:
            self._resize(plan, sight)
            return
        gain = (self.verdict.get("speedup") or self._expected(plan)) / max(1e-9, self._expected(self.plan))
        is_sure = sight.is_complete and max(sight.samples, sight.finished) >= _SURE
        if plan.model != "plain" and gain < (_WORTH_MOVING if is_sure else _WORTH_GUESSING):
            return
        if plan.model == "plain":
            self._return_home(now)
        elif plan.model == "threads":
            self._open_threads(plan.workers, sight)
        else:
            self._open_processes(plan, sight)

    def _resize(self, plan: Plan, sight: Sight) -> None:
        """Stay with an engine, of another size."""
        most = self._sizer.target if self._sizer is not None else self.plan.workers
        if plan.model == "processes" and plan.workers != self.plan.workers:
            self._switch(plan, self._open(plan))
        elif plan.model == "threads" and plan.workers > most:
            self._sizer = Sizer(self.plan.workers, plan.workers, sight.task_s if sight.is_complete else None)
            self._course.widen(8 * plan.workers)

    # --- moving ---

    def _open_loop(self, most: int) -> None:
        self._basis = Sight(1, 1.0, 0.0, kinds={"cpu-gil": 0.5, "loop-idle": 0.5}, samples=3)
        plan = Plan("event-loop", most)
        self._switch(plan, self._open(plan))
        self._course.widen(most + 256)

    def _open(self, plan: Plan, **options: Any) -> Engine | None:
        """Open an engine, or find the one that rests since an earlier move. ``None`` when the map is ending."""
        with self._lock:
            if self._is_over:
                return None
            engine = self.engines.get(plan.model)
            if engine is None:
                try:
                    engine = open_engine(plan.model, self._work, self._course, **options)
                except RuntimeError as error:
                    # No thread can be started any more: the system refuses, or the interpreter is about to end.
                    self._stay(f"no {plan.model}: {error}")
                    return None
                self.engines[plan.model] = engine
            return engine

    def _switch(self, plan: Plan, engine: Engine | None) -> None:
        """Let `engine` take the items, and nobody else."""
        if engine is None:
            return
        previous = self.engines.get(self.plan.model)
        self.plan = plan
        if previous is not None and previous is not engine:
            previous.resize(0)
        self._home.hand_over()
        self._forget_results()
        engine.resize(self._size_now(plan))
        if engine.refusal is not None:
            self._stay(engine.refusal)
            self._return_home(self._clock())
            return
        self._moved = self._clock()
        self._turn()
        self._ledger.add_threads(plan.workers)

    def _size_now(self, plan: Plan) -> int:
        """How many workers at this moment: where processors are the limit, the task that still runs in place is one."""
        size = plan.workers
        if self._home.is_busy and self._is_computing():
            return max(1, size - 1)
        return size

    def _is_computing(self) -> bool:
        return self._basis is not None and self._basis.computing() > 0.5

    def _let_home_count(self, engine: Engine) -> None:
        """Give the place of the last task at home to a worker, once it has ended."""
        size = self._sizer.workers if self._sizer is not None else self.plan.workers
        if engine.limit < size and not self._home.is_busy and engine.limit > 0:
            engine.resize(size)

    def _stay(self, why: str) -> None:
        """Move no more: the work stays where it is, in place."""
        self.note(why)
        self._wishes = self._wishes._replace(model="plain")

    def _return_home(self, now: float) -> None:
        engine = self.engines.get(self.plan.model)
        self.plan = Plan("plain", 1)
        self._sizer = None
        if engine is not None:
            engine.resize(0)
        self._course.open_home()
        self._moved = now
        self._look_s = _SECOND_LOOK_S
        if self._eye.is_open:
            self._eye.begin()

    def _open_threads(self, workers: int, sight: Sight | None) -> None:
        """Open threads: as many as needed at once where processors set the pace, otherwise few at first."""
        workers = min(workers, self._course.left or workers)
        is_given = self._wishes.workers is not None
        is_plain = is_given or (sight is not None and sight.computing() > 0.5)
        start = workers if is_plain else min(workers, _FIRST_THREADS)
        task_s = sight.task_s if sight is not None and sight.is_complete else None
        self._sizer = None if is_given else Sizer(start, workers, task_s)
        engine = self._open(Plan("threads", workers))
        self._switch(Plan("threads", start), engine)
        self._course.widen(max(256, 8 * workers))

    def _open_processes(self, plan: Plan, sight: Sight) -> None:
        assert self._passage is not None
        assert self._passage.baggage is not None
        seats = math.ceil(plan.workers / (_PROCESSES_A_CORE * self._cores()))
        engine = self._open(plan, baggage=self._passage.baggage, workers=plan.workers, seats=seats, item_s=sight.task_s)
        if engine is None:
            return
        if engine.is_ready:
            self._take_over(plan, engine)
            return
        self._pending = plan, engine
        if sight.computing() < _MIXED:
            self._bridge()

    def _bridge(self) -> None:
        """While processes start, overlap the waits in a few threads."""
        threads = Plan("threads", self._best_size(self.verdict, "threads"))
        if self.plan.model == "plain" and threads.workers > 1 and self._expected(threads) > _WORTH_MOVING:
            self._sizer = None
            self._switch(threads, self._open(threads))

    def _await_engine(self, now: float) -> float | None:
        assert self._pending is not None
        plan, engine = self._pending
        if engine.refusal is not None:
            self._pending = None
            assert self._passage is not None
            self._passage.close(engine.refusal)
            if self._wishes.model is not None:
                self._course.fail(NotPortable(engine.refusal))
                return None
            self._moved = now
            return self._look_s
        if self._has_changed_its_mind(now):
            return _CLIMB_S
        if not engine.is_ready:
            return 0.02
        self._pending = None
        self._take_over(plan, engine)
        return _WINDOW_S

    def _has_changed_its_mind(self, now: float) -> bool:
        """Whether whole tasks, seen while the processes start, are no work for processes after all."""
        if self._wishes.model is not None or self.plan.model != "plain" or (sight := self._fresh_sight()) is None:
            return False
        if not sight.is_complete:
            return False
        plan = self._ask(sight, self._course.left)
        self._basis = sight
        if plan.model == "processes":
            return False
        self._pending = None
        self._go(plan, sight, now)
        return True

    def _take_over(self, plan: Plan, engine: Engine) -> None:
        """Let the processes begin, unless what is left would not reward them."""
        left, task_s = self._course.left, self._basis.task_s if self._basis is not None else 0.0
        if self._wishes.model is None:
            if left is not None and left * task_s < 4 * costs.process_trip_s:
                return
            if self._passage is not None and self._passage.close_if_changed():
                return
        self._sizer = None
        self._switch(plan, engine)

    def _most_threads(self) -> int:
        left = self._course.left
        return max(1, THREADS_MOST if left is None else min(left, THREADS_MOST))

    # --- processes ---

    def _prepare(self) -> bool:
        """Find out, once, whether the function may go to another process, and what it costs."""
        if self._passage is None:
            is_pure = bool(self._wishes.pure) or self._wishes.model == "processes"
            self._passage = Passage(self._work, self._course, self._home, is_pure=is_pure, is_dry=self._is_dry)
            self._home.keeps_call = False
            self._home.last_call = []
        return self._passage.baggage is not None

    def _forget_results(self) -> None:
        self._home.keeps_call = False
        self._home.checks_items = False
        self._home.last_call = []

    def _demand_processes(self, workers: int | None) -> None:
        """Processes were asked for by name: what speaks against them is an error."""
        self._home.hand_over()
        self._home.thread = threading.get_ident()
        self._prepare()
        assert self._passage is not None
        if self._passage.baggage is None:
            raise NotPortable(self._passage.notes[-1].removeprefix("no processes: "))
        cores = max(1, math.ceil(self._cores()))
        plan = Plan("processes", workers or min(cores, self._course.left or cores))
        engine = self._open(plan, baggage=self._passage.baggage, workers=plan.workers, item_s=_BATCH_S)
        if engine is not None:
            self._pending = plan, engine

    # --- an engine at work ---

    def _look_at(self, engine: Engine, now: float) -> float | None:
        self._take_in()
        if engine.refusal is not None:
            self._stay(engine.refusal)
            self._return_home(now)
            return self._look_s
        self._complete_basis()
        if self._look_closer(engine, now):
            return _CLIMB_S
        is_window = self._ledger.seconds >= _WINDOW_S and self._ledger.ended >= 3
        if is_window:
            self._review(now)
        if is_window or (self._sizer is not None and self._sizer.is_climbing):
            self._size_threads(engine)
        if is_window:
            self._turn()
        is_climbing = self._sizer is not None and self._sizer.is_climbing
        return _CLIMB_S if is_climbing or self._closer_until is not None else _WINDOW_S

    def _look_closer(self, engine: Engine, now: float) -> bool:
        """Where threads compute more than was expected, see what, and ask again. True while that is under way.

        The clocks cannot tell computing with the GIL from computing without it, and tasks that have begun to compute
        at once, after a wait, do not end for a long time: so one of the threads is looked at from outside.
        """
        if self._wishes.model is not None or engine.model != "threads" or self._basis is None:
            return False
        if self._closer_until is None:
            return self._begin_to_look_closer(engine, now)
        if now < self._closer_until:
            return True
        self._closer_until = None
        self._closer_again = now + _MOVES_APART_S
        glimpse = self._eye.glimpse()
        if glimpse is not None and glimpse.computing() > _MUCH:
            self._consider(self._ledger.together(self._basis, glimpse), now)
        return False

    def _begin_to_look_closer(self, engine: Engine, now: float) -> bool:
        assert self._basis is not None
        is_native = self._basis.shares().get("cpu-nogil", 0.0) > 0.5 and self._basis.samples >= _SURE
        is_early = now < self._closer_again or self._ledger.seconds < _CLIMB_S
        if is_early or is_native or self._ledger.rate < _BUSY or (thread := engine.some_thread()) is None:
            return False
        self._eye.turn_to(thread)
        self._closer_until = now + _CLOSER_S
        return True

    def _size_threads(self, engine: Engine) -> None:
        sizer = self._sizer
        if sizer is None or sizer.is_settled:
            return
        if sizer.is_climbing and (self._ledger.rate > _BUSY or not self._course.has_more):
            return
        was_climbing, before = sizer.is_climbing, self.plan.workers
        workers = sizer.after(self._ledger.seconds, self._ledger.ended)
        if was_climbing:
            self._turn()
        if workers != before:
            self.plan = Plan("threads", workers)
            self._ledger.add_threads(max(0, workers - before))
            engine.resize(workers)

    def _review(self, now: float) -> None:
        """Ask again when the tasks have become something else than what the engine was chosen for."""
        sight = self._ledger.sight(self._basis)
        is_settled = self._is_coroutine or self._wishes.model is not None
        if is_settled or self._basis is None:
            self._ask(sight, self._course.left)
            self._basis = sight
        elif sight.differs_from(self._basis) and not self._only_waits_longer(sight):
            self._consider(sight, now)

    def _only_waits_longer(self, sight: Sight) -> bool:
        """Whether threads only wait longer than the first tasks did, on the far side or in a queue before it."""
        assert self._basis is not None
        is_longer = sight.task_s > self._basis.task_s
        return self.plan.model == "threads" and is_longer and sight.computing() <= self._basis.computing()

    def _complete_basis(self) -> None:
        """Once the first task has ended, in place beside the threads that were opened for its sake, know its time."""
        ran, wall_s, cpu_s = self._home.so_far()
        if self._basis is None or self._basis.is_complete or ran == 0 or self._home.is_busy:
            return
        self._basis = Sight(ran, wall_s, cpu_s, 0.0, self._basis.kinds, self._basis.samples)
        if self._sizer is not None:
            self._sizer.learn(self._basis.task_s)

    # --- figures ---

    def _take_in(self) -> None:
        self._ledger.take_in(list(self.engines.values()), self.engines.get(self.plan.model))

    def _turn(self) -> None:
        alone_s = self._basis.task_s if self._basis is not None and self._basis.is_complete else None
        self._ledger.turn(is_shared=self.plan.model == "threads", alone_s=alone_s)

    @property
    def in_a_row_s(self) -> float:
        """The time of all finished tasks, one after another: about what a plain loop would have taken."""
        self._take_in()
        return self._home.so_far()[1] + self._ledger.in_a_row_s

    def _cores(self) -> float:
        return float(machine()["cores"])

    def note(self, text: str) -> None:
        """Keep a sentence for the advice, once."""
        if text not in self._notes:
            self._notes.append(text)

    def judge(self) -> None:
        """Judge what was seen, now: in a dry run, whose caller is the one who looks."""
        if not self._is_coroutine and self._eye.is_open:
            self._consider(self._eye.sight(), self._clock())
        else:
            self.last_word()

    def last_word(self) -> None:
        """At the end, judge what was seen if nothing was judged before: short maps end before the first look."""
        if self.verdict:
            return
        self._take_in()
        ran, wall_s, cpu_s = self._home.so_far()
        if ran and not self._is_coroutine:
            self._ask(Sight(ran, wall_s, cpu_s), ran)
        elif self._ledger.ended:
            self._ask(self._ledger.sight(self._basis), self._ledger.ended)
