"""Tasks in place: in the thread that asks for the results, as a plain loop would run them.

The first tasks run here while they are measured, and all of them where nothing better is found. Short ones run in
blocks, through C from end to end, so that the plain loop's own cost per item is all that is left. A block is one list
and one iterator over it; another thread can take what is left of that iterator, so a block that turns out to be slow is
divided while it runs.
"""

from __future__ import annotations

import threading
import time
from _pickle import dumps
from collections.abc import Iterator
from itertools import starmap
from operator import length_hint
from time import perf_counter, thread_time
from types import FunctionType
from typing import Any, NamedTuple

from tercet.course import Batch, Course, Item, feed_of
from tercet.engine import Work

__all__ = ["Home"]

_BLOCK_S = 0.001
_SLOW_SOURCE_S = 0.001
_BLOCK_MOST = 1 << 12
"""Longer lists cost more in fresh memory than the blocks save."""


class _State(NamedTuple):
    """All figures at one moment: replaced as a whole, so that another thread never sees half a change."""

    ran: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    batch: Batch | None = None
    began: float = 0.0
    cpu_began: float = 0.0


class Home:
    """The thread that runs tasks in place, and what they cost there.

    Attributes
    ----------
    thread, native_thread
        Which thread ran tasks here last, by Python's number and by the kernel's.
    last_call
        The last finished task's item and result, in a list, while `keeps_call`: somebody wants to know whether they can
        be pickled.
    changed_item
        Whether a task was seen to change its arguments, looked for while `checks_items`.
    """

    def __init__(self, work: Work, course: Course, block_most: int = _BLOCK_MOST) -> None:
        self.thread = 0
        self.native_thread = 0
        self.keeps_call = True
        self.last_call: list[tuple[Any, Any]] = []
        self.checks_items = False
        self.changed_item = False
        self._work = work
        self._course = course
        self._block = 1
        self._block_most = block_most
        self._is_python = work.form == "one" and isinstance(work.fn, FunctionType)
        self._state = _State()

    def enter(self) -> None:
        """Be the thread that this is called from."""
        self.thread, self.native_thread = threading.get_ident(), threading.get_native_id()

    @property
    def is_busy(self) -> bool:
        """Whether a task runs here now."""
        return self._state.batch is not None

    @property
    def has_rest(self) -> bool:
        """Whether the block that runs here has items that have not begun."""
        batch = self._state.batch
        return batch is not None and batch.feed is not None and length_hint(batch.feed) > 0

    def run_some(self) -> Batch | None:
        """Run some items in place and return them, or ``None`` where there is nothing to run here now."""
        if (batch := self._course.take_now(self._block)) is None:
            return None
        self._run(batch)
        return batch

    def host(self) -> None:
        """Run whatever is to be run in place, in this thread, until there is nothing more."""
        while self._course.wait_home():
            if (batch := self.run_some()) is not None:
                self._course.give(batch)
                self._work.told()

    def hand_over(self) -> None:
        """Let nothing more begin here, and let others have what is left of the block that runs."""
        self._course.close_home(self._state.batch)

    def so_far(self) -> tuple[int, float, float]:
        """Return finished tasks, wall time and processor time, with those of the block that runs now."""
        ran, wall_s, cpu_s, batch, began, cpu_began = self._state
        if batch is None:
            return ran, wall_s, cpu_s
        return ran + len(batch.results), wall_s + perf_counter() - began, cpu_s + max(0.0, self._cpu_now() - cpu_began)

    def _cpu_now(self) -> float:
        """Processor time of the thread, asked for by another one."""
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(self.thread))
        except (AttributeError, OSError):
            return 0.0

    def _run(self, batch: Batch) -> None:
        work, results = self._work, batch.results
        before = _pickled(batch.items) if self.checks_items else None
        items = batch.items
        feed = batch.feed = feed_of(batch.items)
        self.enter()
        ran, wall_s, cpu_s = self._state[:3]
        cpu_began, began = thread_time(), perf_counter()
        self._state = _State(ran, wall_s, cpu_s, batch, began, cpu_began)
        try:
            if self._is_python:
                # Between two lines of Python a call of a Python function is cheaper than it is from C.
                fn = work.fn
                for item in feed:
                    results.append(fn(item))
            else:
                results.extend(self._calls(feed))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            batch.fail(error)
        else:
            if self._course.begun(batch) > len(results):
                batch.fail(_stray_stop())
        took_s = perf_counter() - began
        self._state = _State(ran + len(results), wall_s + took_s, cpu_s + thread_time() - cpu_began)
        if before is not None and len(results) == len(items) and _pickled(items) != before:
            self.changed_item = True
        if self.keeps_call and not batch.errors and results:
            self.last_call = [(items[len(results) - 1], results[-1])]
        self._choose_block(took_s, len(results))

    def _calls(self, feed: Iterator[Item]) -> Iterator[Any]:
        """The results of all calls, made as they are asked for, without a line of Python between two of them."""
        if self._work.form == "one":
            return map(self._work.fn, feed)
        return starmap(self._work.fn, feed) if self._work.form == "many" else map(self._work.call, feed)

    def _choose_block(self, wall_s: float, ran: int) -> None:
        """Twice as many next time while they are short; one at a time from a slow source, whose items may come late."""
        if self._course.pull_s > _SLOW_SOURCE_S:
            self._block = 1
        elif wall_s + self._course.pull_s < _BLOCK_S:
            self._block = min(2 * self._block, self._block_most)
        elif wall_s > 4 * _BLOCK_S:
            self._block = max(1, int(ran * _BLOCK_S / wall_s))


def _pickled(items: object) -> bytes | None:
    try:
        return dumps(items, 5)
    except Exception:
        return None


def _stray_stop() -> RuntimeError:
    """`StopIteration` out of a task would end the loop around it without a word."""
    return RuntimeError("a task raised StopIteration")
