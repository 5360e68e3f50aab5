"""Tercet's event loop in a thread of its own, for coroutine functions.

Two threads serve it: one takes items from the course, which may have to wait for them, and one runs the loop, which
must never wait. The loop is the engine's own, so it makes no difference whether the caller runs one already.
"""

from __future__ import annotations

import threading
from time import perf_counter, thread_time
from typing import TYPE_CHECKING

from tercet.course import Batch, Course
from tercet.engine import Engine, Entry, Work, mark_worker, without_first_frame

if TYPE_CHECKING:
    import asyncio

__all__ = ["LoopEngine"]

_AT_ONCE = 256
"""How many coroutines are handed to the loop at a time, so that the first of them begin early."""


class LoopEngine(Engine):
    """Coroutines on one event loop, at most `limit` of them at a time."""

    model = "event-loop"

    def __init__(self, work: Work, course: Course) -> None:
        super().__init__(work, course)
        self._gate = threading.Condition()
        self._running = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_loop = threading.Event()
        self.loop_thread: int | None = None

    def resize(self, limit: int) -> None:
        """Let `limit` coroutines run at a time."""
        with self._gate:
            self.limit = limit
            self._gate.notify_all()
        if not self._threads and limit > 0:
            self._start_thread("tercet-loop", self._run_loop)
            self._has_loop.wait()
            self._start_thread("tercet-loop-feeder", self._feed)
        self.course.wake()

    def retire(self) -> None:
        """Take nothing more; the loop ends when its coroutines have."""
        super().retire()
        with self._gate:
            self._gate.notify_all()

    def close(self, wait_s: float, *, kills: bool) -> None:
        """End the loop: its coroutines are cancelled if `kills`, and get `wait_s` to clean up or to finish."""
        self.retire()
        loop = self._loop
        if kills and loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel_all)
            except RuntimeError:
                pass
        self._join(wait_s)

    # --- the feeding thread ---

    def _feed(self) -> None:
        mark_worker()
        loop = self._loop
        assert loop is not None
        while (free := self._wait_for_room()) and (batch := self.course.take(min(free, _AT_ONCE), self, 0)) is not None:
            with self._gate:
                self._running += len(batch.items)
            try:
                loop.call_soon_threadsafe(self._begin, batch)
            except RuntimeError:
                return
        try:
            loop.call_soon_threadsafe(self._no_more_to_come)
        except RuntimeError:
            pass

    def _wait_for_room(self) -> int:
        with self._gate:
            while self._running >= self.limit and not self.is_retired:
                self._gate.wait()
            return 0 if self.is_retired else self.limit - self._running

    # --- the loop's thread ---

    def _run_loop(self) -> None:
        import asyncio

        from tercet.loop import new_event_loop

        mark_worker()
        self.loop_thread = threading.get_native_id()
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._stay())
        finally:
            self._loop = None
            self._has_loop.set()

    async def _stay(self) -> None:
        """Keep the loop alive until nothing more comes and nothing runs."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._cpu_s = thread_time()
        self._is_done = asyncio.Event()
        self._is_fed = False
        self._has_loop.set()
        await self._is_done.wait()

    def _begin(self, batch: Batch) -> None:
        assert self._loop is not None
        for single in self.course.singles(batch):
            task = self._loop.create_task(self._run_one(single), context=self.work.context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _run_one(self, batch: Batch) -> None:
        (item,) = batch.items
        started = perf_counter()
        try:
            batch.results.append(await self.work.call(item))
        except BaseException as error:
            batch.fail(without_first_frame(error))
        # Coroutines share one thread: each is charged with what the thread used since the one before it ended.
        cpu_s = thread_time()
        self.tally.append(Entry(1, perf_counter() - started, cpu_s - self._cpu_s))
        self._cpu_s = cpu_s
        self.course.give(batch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with self._gate:
            self._running -= 1
            self._gate.notify()
        self._leave_if_done()

    def _no_more_to_come(self) -> None:
        self._is_fed = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._is_fed and not self._tasks:
            self._is_done.set()

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
