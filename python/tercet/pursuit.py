"""One piece of work under way: its items, the thread that runs some of them in place, the pilot, the engines.

A `Run` begins when the first result is asked for and ends exactly once, however it ends. It belongs to the process
that began it: a copy made by ``fork`` can see it and does nothing to it.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from tercet.advice import Advice
from tercet.course import Course
from tercet.engine import Work, inside_worker, mark_worker
from tercet.home import Home
from tercet.pilot import Pilot, Wishes
from tercet.source import is_coroutine_function, name_of

__all__ = ["GRACE_S", "Run"]

GRACE_S = 0.5
"""How long tasks that nothing can stop are waited for."""

_alive: weakref.WeakSet[Run] = weakref.WeakSet()


class Run:
    """Work under way.

    Parameters
    ----------
    fn
        The function.
    course
        Its items and results.
    wishes
        What the caller settled.
    is_hosted
        Whether items run in place in a thread of the run's own, instead of the caller's.
    form, stops_at_error, is_strict, stands_for
        As for `tercet.engine.Work`.
    is_dry
        Whether only a verdict is wanted.
    block_most
        How many items may run in place at a time.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        course: Course,
        wishes: Wishes,
        *,
        is_hosted: bool = False,
        form: str = "many",
        stops_at_error: bool = True,
        is_strict: bool = False,
        stands_for: Callable[..., Any] | None = None,
        is_dry: bool = False,
        block_most: int = 1 << 12,
    ) -> None:
        is_coroutine = is_coroutine_function(fn)
        is_nested = inside_worker() and not is_coroutine
        if is_nested:
            wishes = Wishes("plain", None, wishes.pure)
        work = Work(
            fn,
            contextvars.copy_context(),
            form,
            stops_at_error,
            bool(wishes.pure),
            is_strict,
            stands_for,
            not is_hosted and wishes.model is None,
            self._tell,
        )
        self.name = name_of(fn)
        self.course = course
        self.home = Home(work, course, block_most)
        self.pilot = Pilot(work, course, self.home, wishes, is_coroutine=is_coroutine, is_dry=is_dry)
        if is_nested:
            self.pilot.note("it runs inside a task of another map, so in place")
        self._work = work
        self._is_hosted = is_hosted
        self._owner = os.getpid()
        self._began: float | None = None
        self._is_ended = False
        self._lock = threading.Lock()

    def _tell(self) -> None:
        self.pilot.call()

    def begin(self, *, needs_pilot: bool = True) -> None:
        """Begin to run; a single item with nothing settled needs nobody who looks at it."""
        self._began = time.perf_counter()
        _alive.add(self)
        if not self._is_hosted:
            self.home.enter()
        if needs_pilot or self.pilot.has_orders:
            self.pilot.start()
        if self._is_hosted:
            context = self._work.context.copy()
            threading.Thread(target=context.run, args=(self._host,), name="tercet-home", daemon=True).start()

    def _host(self) -> None:
        mark_worker()
        self.home.host()

    def end(self, wait_s: float = GRACE_S, *, kills: bool = True) -> None:
        """End: once, and only in the process that began.

        Parameters
        ----------
        wait_s
            How long to wait for what cannot be stopped.
        kills
            Whether to stop what runs.
        """
        with self._lock:
            if self._is_ended or self._began is None or self._owner != os.getpid():
                self._is_ended = True
                return
            self._is_ended = True
        self.course.close()
        for engine in self.pilot.stop():
            engine.close(wait_s, kills=kills)
        self.pilot.end(wait_s)
        _alive.discard(self)

    @property
    def is_ended(self) -> bool:
        """Whether the run has ended."""
        return self._is_ended

    def advice(self) -> Advice:
        """What is known at this moment."""
        pilot, course = self.pilot, self.course
        if self._is_ended and self._began is not None:
            pilot.last_word()
        model = "processes" if pilot.plan.model == "hybrid" else pilot.plan.model
        elapsed_s = max(0.0, course.last_s - self._began) if self._began is not None else 0.0
        return Advice(
            function=self.name,
            items=course.total,
            done=course.finished,
            model=model,
            workers=pilot.plan.workers,
            profile=pilot.profile,
            verdict=pilot.verdict,
            notes=pilot.notes,
            elapsed_s=elapsed_s,
            in_a_row_s=pilot.in_a_row_s,
            is_final=self._is_ended,
        )


@atexit.register
def _end_all() -> None:
    """End what is still under way when the interpreter goes: processes must not outlive it."""
    for run in list(_alive):
        run.end(0.0)
