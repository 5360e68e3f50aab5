"""Threads of this process: the workers of a pool of our own, each with one long task.

Life cycle
----------
1. `resize` submits one serving for each worker that is not there yet, and the pool starts a thread for each.
2. A serving takes items from the course and runs them, until the course has nothing more for it, ever.
3. The first that is told so closes the pool, and so does `retire`: the threads leave when their servings end.

The pool is the engine's own and its threads are gone when the map is. Kept for the next map they would save it a
tenth of a millisecond each, and would bring along what the tasks of the last one have left in them: connections,
caches, variables of their thread.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from time import perf_counter, thread_time

from tercet.course import Course
from tercet.engine import Engine, Entry, Work, mark_worker, without_first_frame
from tercet.shield import Shield
from tercet.thread_pool import ThreadPoolExecutor

__all__ = ["ThreadEngine"]

_BOUND = (
    "objects created in a thread can only be used in that same thread",
    "signal only works in main thread",
    "There is no current event loop in thread",
    "main thread is not in main loop",
)
"""What `sqlite3`, `signal`, `asyncio` and `tkinter` say in a thread that is not theirs."""


class ThreadEngine(Engine):
    """Threads that each take one item at a time.

    A thread takes its next item itself, so that no other thread has to wake up between two tasks; and it wakes the
    caller only when it brings the result that comes next in order.
    """

    model = "threads"

    def __init__(self, work: Work, course: Course) -> None:
        super().__init__(work, course)
        self._pool = ThreadPoolExecutor(1, "tercet-thread", daemon=True)
        self._servings = 0
        self._is_over = False
        self._resizing = threading.Lock()
        self._shield = Shield()
        self._first: int | None = None
        self._refusal: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why the tasks must stay in the thread of the caller, once one of them has said so."""
        return self._refusal

    def resize(self, limit: int) -> None:
        """Let `limit` threads take items, or as many as the system grants."""
        self.limit = limit
        try:
            with self._resizing, self._shield:
                while self._servings < limit and not self._is_over:
                    self._begin_serving()
        except RuntimeError as refusal:
            if not self._is_over:
                self._make_do(str(refusal))
        self._threads = list(self._pool._threads)
        self.course.wake()

    def retire(self) -> None:
        """Take nothing more; the threads leave after the task at hand."""
        self._close_pool()
        super().retire()

    def some_thread(self) -> int | None:
        """The kernel's number of a thread that runs tasks."""
        return self._first

    def _begin_serving(self) -> None:
        """Let the pool have one more thread, which serves; or raise what the system says."""
        self._pool._max_workers = self._servings + 1
        serving = self._pool.submit(self.work.context.copy().run, self._serve, self._servings)
        live, _, _ = self._pool._count()
        if live <= self._servings and not self._is_over:
            # The pool would do with fewer threads and let the serving wait for one of them, which is for ever.
            serving.cancel()
            raise RuntimeError("can't start new thread")
        serving.add_done_callback(_tell)
        self._servings += 1

    def _make_do(self, refusal: str) -> None:
        """Go on with the threads there are."""
        self.limit = self._servings
        self.note(f"the system grants no more than {self.limit} threads: {refusal}")
        if not self._servings:
            self._refusal = f"no threads: {refusal}"

    def _close_pool(self) -> None:
        self._is_over = True
        self._pool.shutdown(wait=False)

    # --- in the threads ---

    def _serve(self, index: int) -> None:
        self._shield.lower()
        mark_worker()
        if index == 0:
            self._first = threading.get_native_id()
        course, call, tally = self.course, self.work.call, self.tally
        while (batch := course.take(1, self, index)) is not None:
            (item,) = batch.items
            started, cpu_started = perf_counter(), thread_time()
            try:
                batch.results.append(call(item))
            except BaseException as error:
                if self.work.may_stay and _is_bound_to_a_thread(error):
                    self._send_home(error)
                else:
                    batch.fail(without_first_frame(error))
            tally.append(Entry(1, perf_counter() - started, thread_time() - cpu_started))
            del item
            course.give(batch)
            del batch
        # Not before every serving has its own thread: one that ends would be taken for the next.
        with self._resizing:
            self._close_pool()

    def _send_home(self, error: BaseException) -> None:
        """Let the item, and all that follow, go back to the thread of the caller."""
        self._refusal = f"no threads: a task can only run in the thread of the caller ({type(error).__name__}: {error})"
        self.limit = 0
        self.work.told()


def _is_bound_to_a_thread(error: BaseException) -> bool:
    """Whether something that a task used has refused to be used in this thread, before it did anything."""
    text = str(error)
    return isinstance(error, Exception) and any(words in text for words in _BOUND)


def _tell(serving: Future[None]) -> None:
    """Raise what a serving raised, which is a fault of ours: what a callback raises is logged."""
    if not serving.cancelled():
        serving.result()
