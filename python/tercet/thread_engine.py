"""Threads of this process."""

from __future__ import annotations

from time import perf_counter, thread_time

from tercet.engine import Engine, Entry, mark_worker, without_first_frame

__all__ = ["ThreadEngine"]


class ThreadEngine(Engine):
    """Threads that each take one item at a time.

    A thread takes its next item itself, so that no other thread has to wake up between two tasks; and it wakes the
    caller only when it brings the result that comes next in order.
    """

    model = "threads"

    def resize(self, limit: int) -> None:
        """Let `limit` threads take items, or as many as the system grants."""
        self.limit = limit
        try:
            while len(self._threads) < limit:
                self._start_thread(f"tercet-thread-{len(self._threads)}", self._serve, len(self._threads))
        except RuntimeError as refusal:
            self.limit = len(self._threads)
            self.note(f"the system grants no more than {self.limit} threads: {refusal}")
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
                batch.fail(without_first_frame(error))
            tally.append(Entry(1, perf_counter() - started, thread_time() - cpu_started))
            del item
            course.give(batch)
            del batch
