"""Threads of this process."""

from __future__ import annotations

from time import perf_counter, thread_time

from tercet.course import Course
from tercet.engine import Engine, Entry, Work, mark_worker, without_first_frame

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
        self._refusal: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why the tasks must stay in the thread of the caller, once one of them has said so."""
        return self._refusal

    def resize(self, limit: int) -> None:
        """Let `limit` threads take items, or as many as the system grants."""
        self.limit = limit
        try:
            while len(self._threads) < limit:
                self._start_thread(f"tercet-thread-{len(self._threads)}", self._serve, len(self._threads))
        except RuntimeError as refusal:
            self.limit = len(self._threads)
            self.note(f"the system grants no more than {self.limit} threads: {refusal}")
            if not self._threads:
                self._refusal = f"no threads: {refusal}"
        self.course.wake()

    def some_thread(self) -> int | None:
        """The kernel's number of a thread that runs tasks."""
        return self._threads[0].native_id if self._threads else None

    def _serve(self, index: int) -> None:
        mark_worker()
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

    def _send_home(self, error: BaseException) -> None:
        """Let the item, and all that follow, go back to the thread of the caller."""
        self._refusal = f"no threads: a task can only run in the thread of the caller ({type(error).__name__}: {error})"
        self.limit = 0
        self.work.told()


def _is_bound_to_a_thread(error: BaseException) -> bool:
    """Whether something that a task used has refused to be used in this thread, before it did anything."""
    text = str(error)
    return isinstance(error, Exception) and any(words in text for words in _BOUND)
