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

import copy
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tercet.course import Course
from tercet.engine import Engine, Work, open_engine
from tercet.errors import NotPortable
from tercet.home import Home
from tercet.machine import costs, machine, native
from tercet.portable import Baggage, Journey, can_have_workers, pack, try_journey
from tercet.probe import Eye, Sight, profile_of
from tercet.purity import study
from tercet.sizer import Sizer

__all__ = ["Pilot", "Wishes"]

THREADS_MOST = 512
COROUTINES_MOST = 10_000

_FIRST_LOOK_S = 0.0015
_SECOND_LOOK_S = 0.0025
_RAREST_LOOK_S = 0.1
_SEEN_S = 0.002
_COMPUTED_S = 0.008
"""Computing is believed after this long: starting processes for nothing costs more than waiting for it."""
_CLIMB_S = 0.004
_PROCESSES_A_CORE = 4
_MIXED = 0.85
_FIRST_THREADS = 8
_WINDOW_S = 0.05
_BUSY = 0.6
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
        self._thread: threading.Thread | None = None
        self._notes: list[str] = []
        self._eye = Eye(home, clock)
        self._look_s = _FIRST_LOOK_S
        self._basis: Sight | None = None
        self._passage: _Passage | None = None
        self._containers: _Snapshot | None = None
        self._pending: tuple[Plan, Engine] | None = None
        self._sizer: Sizer | None = None
        self._window_began = 0.0
        self._cpu_began = 0.0
        self._closer_until: float | None = None
        self._closer_again = 0.0
        self._window = _Window()
        self._row_s = 0.0
        self._moved = -math.inf

    # --- life ---

    def start(self) -> None:
        """Begin: open what was asked for by name, or look at the first tasks."""
        self._window_began = self._clock()
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
        context = self._work.context.copy()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="tercet-pilot", daemon=True)
        self._thread.start()

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
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(wait_s)
        if self._thread is None:
            self._eye.close()
        self._drain()
        self._forget_results()

    @property
    def notes(self) -> tuple[str, ...]:
        """What else led to the choice, in the order in which it came up."""
        found = list(self._notes)
        for engine in list(self.engines.values()):
            found += [note for note in engine.notes if note not in found]
        return tuple(found)

    def _run(self) -> None:
        try:
            delay: float | None = self._look_s
            while delay is not None:
                self._news.wait(delay)
                self._news.clear()
                if self._is_over or self._course.is_over:
                    break
                self._sleep_while_idle()
                with _haste:
                    delay = self.step()
        finally:
            self._eye.close()

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
            self._eye.open()
            if self._eye.blindness is not None:
                self.note(self._eye.blindness)
            self._look_s = _SECOND_LOOK_S
            return self._look_s
        sight = self._eye.sight()
        self._look_s = min(2 * self._look_s, _RAREST_LOOK_S)
        if self._is_enough(sight):
            self._consider(sight, now)
            if sight.is_complete and sight.wall_s >= _WINDOW_S:
                self._eye.begin()
        return _CLIMB_S if self._sizer is not None or self._pending is not None else self._look_s

    def _is_enough(self, sight: Sight) -> bool:
        """Whether enough was seen to act on: waits show soon, computing only later, since processes take time to start."""
        if sight.wall_s < _SEEN_S:
            return False
        if sight.computing() > 0.5:
            # A few moments say that it computes, but not whether with the GIL; without a probe there are none.
            return sight.wall_s >= _COMPUTED_S and (sight.samples >= 8 or sight.wall_s >= 4 * _COMPUTED_S)
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
        elif self._wishes.model is None and left != 0 and has_more:
            if is_first_whole or now - self._moved >= _MOVES_APART_S:
                self._go(plan, sight, now)

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
            if plan.model == "processes" and plan.workers != self.plan.workers:
                self._switch(plan, self._open(plan))
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
                engine = self.engines[plan.model] = open_engine(plan.model, self._work, self._course, **options)
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
        self._moved = self._clock()
        self._turn(self._moved)

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
        engine = self._open(
            plan, baggage=self._passage.baggage, workers=plan.workers, seats=seats, item_s=sight.task_s
        )
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
            self.note(engine.refusal)
            self._passage = _Passage(None, None)
            if self._wishes.model is not None:
                self._course.fail(NotPortable(engine.refusal))
                return None
            self._moved = now
            return self._look_s
        if not engine.is_ready:
            return 0.02
        self._pending = None
        self._take_over(plan, engine)
        return _WINDOW_S

    def _take_over(self, plan: Plan, engine: Engine) -> None:
        """Let the processes begin, unless what is left would not reward them."""
        left, task_s = self._course.left, self._basis.task_s if self._basis is not None else 0.0
        if self._wishes.model is None:
            if left is not None and left * task_s < 4 * costs.process_trip_s:
                return
            if not self._wishes.pure and (change := self._change_seen()) is not None:
                self.note(f"no processes: {change}; `pure=True` says that it may run there all the same")
                self._passage = _Passage(None, None)
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
            self._passage = self._find_passage()
            self._home.keeps_call = False
            self._home.last_call = []
        return self._passage.baggage is not None

    def _find_passage(self) -> _Passage:
        if (why := can_have_workers()) is not None:
            self.note(why)
            return _Passage(None, None)
        fn = self._work.stands_for or self._work.fn
        found = study(fn)
        try:
            baggage = pack(fn, found, self._home.thread or None)
            if self._work.stands_for is not None:
                baggage = baggage.for_many()
        except NotPortable as refusal:
            self.note(f"no processes: {refusal}")
            return _Passage(None, None)
        doubts = [] if self._wishes.pure or self._wishes.model == "processes" else found.doubts
        for doubt in doubts:
            self.note(f"no processes: {doubt}; `pure=True` says that it may run there all the same")
        for note in baggage.notes:
            self.note(note)
        self._containers = _Snapshot(found.containers)
        self._home.checks_items = True
        item = self._home.last_call[0][0] if self._is_dry and self._home.last_call else None
        journey = try_journey(self._course.peek() if not self._is_dry else item, [r for _, r in self._home.last_call])
        if journey.refusal is not None and journey.refusal.startswith("a result"):
            self.note(f"no processes: {journey.refusal}")
            return _Passage(None, journey)
        return _Passage(None if doubts else baggage, journey)

    def _change_seen(self) -> str | None:
        """What the tasks that ran in place were seen to change, while the processes started."""
        if self._home.changed_item:
            return "a task changed its arguments"
        name = self._containers.changed() if self._containers is not None else None
        return f"the global `{name}` changed while tasks ran" if name is not None else None

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
            raise NotPortable(self._notes[-1].removeprefix("no processes: "))
        cores = max(1, math.ceil(self._cores()))
        plan = Plan("processes", workers or min(cores, self._course.left or cores))
        engine = self._open(plan, baggage=self._passage.baggage, workers=plan.workers, item_s=_BATCH_S)
        if engine is not None:
            self._pending = plan, engine

    # --- an engine at work ---

    def _look_at(self, engine: Engine, now: float) -> float | None:
        self._drain()
        seconds = now - self._window_began
        if self._look_closer(engine, seconds, now):
            return _CLIMB_S
        self._size_threads(engine, seconds, now)
        if seconds >= _WINDOW_S and self._window.count >= 3:
            self._review(now, seconds)
            self._turn(now)
        is_climbing = self._sizer is not None and self._sizer.is_climbing
        return _CLIMB_S if is_climbing or self._closer_until is not None else _WINDOW_S

    def _look_closer(self, engine: Engine, seconds: float, now: float) -> bool:
        """Where threads compute more than was expected, see what they compute, and ask again. True when that is under way.

        The clocks cannot tell computing with the GIL from computing without it, and tasks that have begun to compute at
        once, after a wait, do not end for a long time: so one of the threads is looked at from outside.
        """
        if self._wishes.model is not None or engine.model != "threads" or self._basis is None:
            return False
        if self._closer_until is None:
            is_early = now < self._closer_again or seconds < _CLIMB_S
            if is_early or self._rate(now) < _BUSY or self._explains_load():
                return False
            if (thread := engine.some_thread()) is None:
                return False
            self._eye.turn_to(thread)
            self._closer_until = now + _CLOSER_S
            return True
        if now < self._closer_until:
            return True
        self._closer_until = None
        self._closer_again = now + _MOVES_APART_S
        glimpse = self._eye.glimpse()
        if glimpse is not None:
            self._consider(self._together(self._basis, glimpse), now)
        return False

    def _together(self, before: Sight, glimpse: Sight) -> Sight:
        """What tasks are that were seen to wait at first, and are now seen to compute: some of each."""
        task_s = self._window.wall_s / self._window.count if self._window.count else before.task_s
        if before.is_complete:
            return Sight(1, task_s, task_s * glimpse.computing(), 0.0, glimpse.kinds, glimpse.samples)
        kinds = {kind: share / 2 for kind, share in before.shares().items()}
        for kind, share in glimpse.shares().items():
            kinds[kind] = kinds.get(kind, 0.0) + share / 2
        computing = (before.computing() + glimpse.computing()) / 2
        return Sight(1, task_s, task_s * computing, 0.0, kinds, glimpse.samples)

    def _rate(self, now: float) -> float:
        """Processors used by this process since the window began."""
        return (self._cpu() - self._cpu_began) / max(1e-6, now - self._window_began)

    def _cpu(self) -> float:
        """Processor time of this process without the pilot's own."""
        return time.process_time() - time.thread_time()

    def _explains_load(self) -> bool:
        """Whether the threads were opened for tasks that keep processors busy without the GIL."""
        assert self._basis is not None
        return self._basis.shares().get("cpu-nogil", 0.0) > 0.5 and self._basis.samples >= _SURE

    def _drain(self) -> None:
        """Add what the workers noted to the figures."""
        current = self.engines.get(self.plan.model)
        with self._lock:
            for engine in list(self.engines.values()):
                while engine.tally:
                    entry = engine.tally.popleft()
                    if engine is current:
                        self._window.add(*entry)
                    else:
                        self._row_s += entry.wall_s

    def _turn(self, now: float) -> None:
        """Close a window and begin the next."""
        self._row_s += self._window.row_s(now - self._window_began, self.plan)
        self._window = _Window()
        self._window_began = now
        self._cpu_began = self._cpu()

    @property
    def in_a_row_s(self) -> float:
        """The time of all finished tasks, one after another: about what a plain loop would have taken."""
        self._drain()
        return self._home.so_far()[1] + self._row_s + self._window.row_s(self._clock() - self._window_began, self.plan)

    def _size_threads(self, engine: Engine, seconds: float, now: float) -> None:
        sizer = self._sizer
        if sizer is None or sizer.is_settled:
            return
        if sizer.is_climbing and (self._rate(now) > _BUSY or not self._course.has_more):
            return
        was_climbing = sizer.is_climbing
        workers = sizer.after(seconds, self._window.count)
        if was_climbing:
            self._turn(now)
        if workers != self.plan.workers:
            self.plan = Plan("threads", workers)
            engine.resize(workers)

    def _review(self, now: float, seconds: float) -> None:
        """Ask again when the tasks have become something else than what the engine was chosen for."""
        sight = self._window.sight(seconds, self.plan, self._basis)
        is_settled = self._is_coroutine or self._wishes.model is not None
        if is_settled or self._basis is None:
            self._ask(sight, self._course.left)
            self._basis = sight
        elif sight.differs_from(self._basis):
            self._consider(sight, now)

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
        self._drain()
        ran, wall_s, cpu_s = self._home.so_far()
        if ran and not self._is_coroutine:
            self._ask(Sight(ran, wall_s, cpu_s), ran)
        elif self._window.count:
            seconds = max(1e-6, self._clock() - self._window_began)
            self._ask(self._window.sight(seconds, self.plan, self._basis), self._window.count)


class _Haste:
    """Makes threads take turns faster while a pilot takes a step.

    A task that computes gives the GIL away every 5 ms only, and whoever wants it stands in line with every other such
    task, after every file that is read. A step would take a tenth of a second; with a tenth of the interval it does not.
    It is short, because turns cost: two threads that compute lose a third of their time to turns of half a millisecond.
    """

    _INTERVAL_S = 0.0005

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pilots = 0
        self._before = 0.005

    def __enter__(self) -> None:
        with self._lock:
            self._pilots += 1
            if self._pilots == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self._INTERVAL_S))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._pilots -= 1
            # Somebody else may have set it meanwhile, and then it is theirs.
            if self._pilots == 0 and math.isclose(sys.getswitchinterval(), self._INTERVAL_S, rel_tol=1e-3):
                sys.setswitchinterval(self._before)


_haste = _Haste()


class _Passage(NamedTuple):
    """What was found about the way to another process: the baggage, or ``None`` where there is no way."""

    baggage: Baggage | None
    journey: Journey | None


class _Snapshot:
    """What some containers held at one moment: all of it where they are small, otherwise how much."""

    _SMALL = 1000

    def __init__(self, containers: dict[str, Any]) -> None:
        self._then = {
            name: (value, len(value), copy.copy(value) if len(value) <= self._SMALL else None)
            for name, value in containers.items()
        }

    def changed(self) -> str | None:
        """Return the name of a container that is not as it was, or ``None``."""
        for name, (value, length, content) in self._then.items():
            try:
                if len(value) != length or (content is not None and bool(value != content)):
                    return name
            except Exception:
                return name
        return None


class _Window:
    """What workers noted in a stretch of time."""

    def __init__(self) -> None:
        self.count = 0
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self.least_wait_s = math.inf

    def add(self, count: int, wall_s: float, cpu_s: float) -> None:
        self.count += count
        self.wall_s += wall_s
        self.cpu_s += cpu_s
        self.least_wait_s = min(self.least_wait_s, max(0.0, wall_s - cpu_s) / max(1, count))

    def row_s(self, seconds: float, plan: Plan) -> float:
        """The time of these tasks, one after another.

        Threads wait for the GIL and for one another, which looks like any other wait: where they are crowded, only the
        least of the waits counts as a task's own. A worker process has its GIL to itself.
        """
        if plan.model == "threads" and self.cpu_s > 0.5 * seconds:
            return min(self.wall_s, self.count * self.least_wait_s + self.cpu_s)
        return self.wall_s

    def sight(self, seconds: float, plan: Plan, basis: Sight | None) -> Sight:
        """What these tasks would look like one at a time; of which kinds, an earlier look has to say."""
        kinds = basis.kinds if basis is not None else {}
        return Sight(self.count, self.row_s(seconds, plan), self.cpu_s, 0.0, kinds, self.count)


