"""The one seam between a map and what runs it.

An engine is a crew of workers that ask a `Course` for batches until there are none. Everything that chooses, sizes
and watches engines sees only `Engine`; `open_engine` is the only place that knows which class stands behind a name.

The contract
------------
- `Engine.resize` sets how many workers may take items; they start as they are needed, and 0 lets all of them rest.
- A worker takes a batch, runs its items in order, and gives it back; it fills in what every item came to, and an item
  that cannot be run where it was meant to be is run in the caller's process.
- What ran is noted in `Engine.tally`, without a lock: whoever reads it takes entries from its left end.
- `Engine.retire` lets the workers finish what they run and take nothing more. `Engine.close` ends them as well: soon
  where it can (processes are killed, coroutines cancelled), and where it cannot (threads) it waits for a while and
  leaves them to end by themselves, as they will after the task at hand.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, ClassVar, NamedTuple

from tercet.course import Batch, Course, Item

__all__ = ["MODELS", "Engine", "Entry", "Work", "inside_worker", "mark_worker", "open_engine"]

MODELS = ("plain", "threads", "processes", "event-loop")
"""The names that ``model=`` takes, beside ``"auto"``."""

_here = threading.local()


class Entry(NamedTuple):
    """What some items cost: how many ended, their wall time and their processor time, in seconds."""

    ended: int
    wall_s: float
    cpu_s: float


class Work(NamedTuple):
    """What is done with every item.

    Attributes
    ----------
    fn
        The function.
    context
        The context variables of the caller, as they were when the work began.
    form
        What an item is: ``"one"`` argument, ``"many"`` in a tuple, or a ``"call"``, a pair of a tuple and keyword
        arguments.
    stops_at_error
        Whether the items behind a failed one are of no use any more.
    is_pure
        Whether a task may be run twice, as the caller said.
    stands_for
        Where every item brings a function of its own: the one by which all of them are judged.
    is_strict
        Whether an item that cannot be sent to a process is an error, instead of being run here.
    may_stay
        Whether tasks that refuse to run in other threads may go on in the caller's.
    told
        Called when something has happened that the pilot should know.
    """

    fn: Callable[..., Any]
    context: Context
    form: str = "many"
    stops_at_error: bool = True
    is_pure: bool = False
    is_strict: bool = False
    stands_for: Callable[..., Any] | None = None
    may_stay: bool = False
    told: Callable[[], None] = lambda: None

    def call(self, item: Item) -> Any:
        """Call the function with one item."""
        if self.form == "one":
            return self.fn(item)
        if self.form == "many":
            return self.fn(*item)
        return self.fn(*item[0], **item[1])


class Engine(ABC):
    """Workers of one kind, which take from one course.

    Parameters
    ----------
    work
        What to do with every item.
    course
        Where the items come from and the results go.
    """

    model: ClassVar[str]
    """The name of the kind, as in `MODELS`."""

    def __init__(self, work: Work, course: Course) -> None:
        self.work = work
        self.course = course
        self.limit = 0
        self.is_retired = False
        self.tally: deque[Entry] = deque(maxlen=1 << 16)
        self.notes: list[str] = []
        self._threads: list[threading.Thread] = []

    @property
    def is_ready(self) -> bool:
        """Whether workers could take items now."""
        return True

    @property
    def refusal(self) -> str | None:
        """Why this engine cannot run the work after all, or ``None``."""
        return None

    @abstractmethod
    def resize(self, limit: int) -> None:
        """Let `limit` workers take items."""

    def retire(self) -> None:
        """Take nothing more."""
        self.is_retired = True
        self.course.wake()

    def close(self, wait_s: float, *, kills: bool) -> None:
        """End the workers, and wait for their threads for at most `wait_s` seconds.

        Parameters
        ----------
        wait_s
            How long to wait for tasks that nothing can stop.
        kills
            Whether tasks that run are to be stopped; otherwise they are given `wait_s` to finish.
        """
        self.retire()
        self._join(0.0 if kills and wait_s <= 0.0 else wait_s)

    def note(self, text: str) -> None:
        """Keep a sentence for the advice, once."""
        if text not in self.notes:
            self.notes.append(text)

    def some_thread(self) -> int | None:
        """The kernel's number of a thread of this process that runs tasks, or ``None``."""
        return None

    # --- for those who write an engine ---

    def _start_thread(self, name: str, target: Callable[..., None], *args: Any) -> None:
        """Start a thread in a copy of the caller's context. It never keeps the interpreter from ending."""
        context = self.work.context.copy()
        thread = threading.Thread(target=context.run, args=(target, *args), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _join(self, wait_s: float) -> None:
        until = monotonic() + wait_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - monotonic()))

    def _run_here(self, batch: Batch) -> None:
        """Run the next item of a batch in this thread."""
        try:
            batch.results.append(self.work.call(batch.items[len(batch.results)]))
        except BaseException as error:
            batch.fail(without_first_frame(error))


def without_first_frame(error: BaseException) -> BaseException:
    """Return an exception without the frame that caught it, which says nothing to a reader of the traceback."""
    trace = error.__traceback__
    return error.with_traceback(trace.tb_next if trace is not None else None)


def open_engine(name: str, work: Work, course: Course, **options: Any) -> Engine:
    """Open an engine by the name of its model.

    Each is imported when it is opened, so that nobody pays for one that is not used.
    """
    if name == "threads":
        from tercet.thread_engine import ThreadEngine

        return ThreadEngine(work, course, **options)
    if name == "processes":
        from tercet.process_engine import ProcessEngine

        return ProcessEngine(work, course, **options)
    if name == "event-loop":
        from tercet.loop_engine import LoopEngine

        return LoopEngine(work, course, **options)
    raise ValueError(f"no engine of that name: `{name}`")


def mark_worker() -> None:
    """Say that this thread is a worker, so that a map inside a task runs in place."""
    _here.is_worker = True


def inside_worker() -> bool:
    """Whether this thread is a worker of some engine, in this process or as the process itself."""
    import sys

    return getattr(_here, "is_worker", False) or "tercet_worker" in sys.modules
