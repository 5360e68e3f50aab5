"""The leader of a pool of processes: the thread that brings results home, and what the end of the program waits for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from threading import Thread
from typing import Any

from tercet import _tercet
from tercet.starter import Starter

__all__ = ["Lead"]

_leads: weakref.WeakSet[Lead] = weakref.WeakSet()
"""The leaders to wait for before the interpreter ends."""


class Lead:
    """Starts the leader of a pool, and knows its thread."""

    def __init__(self, start: Starter) -> None:
        self.thread: Thread | None = None
        self.is_awaited = True
        """Whether the interpreter does not end before its tasks are done."""
        self._start = start
        self._leader: _tercet.Leader | None = None

    def __call__(self, leader: _tercet.Leader, fn: Callable[..., Any]) -> None:
        """Start the leader; `fn` is the first function that the pool gets."""
        self._start.expect(fn)
        self._leader = leader
        if self.is_awaited:
            _leads.add(self)
        thread = Thread(target=self._run, name="tercet-processes", daemon=True)
        thread.start()
        # Not before: another thread may be about to wait for it.
        self.thread = thread

    def _run(self) -> None:
        leader = self._leader
        assert leader is not None
        try:
            leader.lead()
        finally:
            # The pool knows this object: a circle through native code, which no collector would find.
            self._leader = None
            self._start.close()

    def finish(self) -> None:
        """Take no more tasks, and wait until those that there are are done."""
        leader = self._leader
        if leader is not None:
            leader.close()
        if self.thread is not None:
            self.thread.join()


def _finish() -> None:
    """Let what was submitted be done before the interpreter ends, as the standard library does."""
    for lead in list(_leads):
        lead.finish()


threading._register_atexit(_finish)  # type: ignore[attr-defined]
