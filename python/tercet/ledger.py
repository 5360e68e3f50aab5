"""What the workers of an engine did, window by window.

Workers note every batch in their engine's tally; a `Ledger` adds it up for one stretch of time after another. It
answers how much a plain loop would have taken, how busy the processors are, and what one task alone looks like.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

from tercet.engine import Engine
from tercet.probe import Sight

__all__ = ["Ledger"]

_THREAD_START_S = 0.0002
_QUEUED = 2.0


class Ledger:
    """Figures of the engine at work.

    Parameters
    ----------
    clock
        Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._row_s = 0.0
        self._alone_s: float | None = None
        self._begin(is_shared=False)

    # --- windows ---

    def turn(self, *, is_shared: bool, alone_s: float | None = None) -> None:
        """Close the window and begin the next.

        Parameters
        ----------
        is_shared
            Whether the workers share one GIL, and so wait for one another.
        alone_s
            How long a task takes alone, where that was seen.
        """
        with self._lock:
            self._row_s += self._in_a_row()
            self._begin(is_shared=is_shared)
            self._alone_s = alone_s

    def add_threads(self, count: int) -> None:
        """Note that so many threads are started in this window."""
        self._starts_s += _THREAD_START_S * count

    def _begin(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._began = self._clock()
        self._cpu_began = self._cpu()
        self._starts_s = 0.0
        self.ended = 0
        self._wall_s = self._cpu_s = 0.0
        self._least_wait_s = math.inf

    def take_in(self, engines: Iterable[Engine], current: Engine | None) -> None:
        """Add what workers have noted; only those of `current` belong to the window."""
        with self._lock:
            for engine in engines:
                while engine.tally:
                    entry = engine.tally.popleft()
                    if engine is current:
                        self._add(*entry)
                    else:
                        self._row_s += entry.wall_s

    def _add(self, ended: int, wall_s: float, cpu_s: float) -> None:
        self.ended += ended
        self._wall_s += wall_s
        self._cpu_s += cpu_s
        self._least_wait_s = min(self._least_wait_s, max(0.0, wall_s - cpu_s) / max(1, ended))

    # --- answers ---

    @property
    def seconds(self) -> float:
        """How long the window is by now."""
        return max(1e-6, self._clock() - self._began)

    @property
    def rate(self) -> float:
        """Processors that tasks have used in it; what starting threads cost is not the tasks' doing."""
        return (self._cpu() - self._cpu_began - self._starts_s) / self.seconds

    @property
    def in_a_row_s(self) -> float:
        """The time of all tasks so far, one after another."""
        return self._row_s + self._in_a_row()

    def _of_window(self) -> float:
        """The same for the window.

        Threads wait for the GIL and for one another, which looks like any other wait: where they are crowded, only the
        least of the waits counts as a task's own. A worker process has its GIL to itself.
        """
        if self._is_crowded():
            return min(self._wall_s, self.ended * self._least_wait_s + self._cpu_s)
        return self._wall_s

    def _is_crowded(self) -> bool:
        return self._is_shared and self._cpu_s > 0.5 * self.seconds

    def _in_a_row(self) -> float:
        """The same again, where tasks may have stood in a queue on the far side: then as long as they took alone."""
        whole = self._of_window()
        if self._alone_s is None or not self._is_shared or self._is_crowded():
            return whole
        alone = self.ended * self._alone_s
        return alone if whole > _QUEUED * alone else whole

    def sight(self, basis: Sight | None) -> Sight:
        """What the tasks of the window would look like one at a time; of which kinds, an earlier look has to say."""
        kinds = basis.kinds if basis is not None else {}
        return Sight(self.ended, self._of_window(), self._cpu_s, 0.0, kinds, self.ended)

    def together(self, before: Sight, glimpse: Sight) -> Sight:
        """What tasks are that were seen to wait at first, and of which one is now seen to compute: some of each."""
        task_s = self._wall_s / self.ended if self.ended else before.task_s
        if before.is_complete:
            return Sight(1, task_s, task_s * glimpse.computing(), 0.0, glimpse.kinds, glimpse.samples)
        kinds = {kind: share / 2 for kind, share in before.shares().items()}
        for kind, share in glimpse.shares().items():
            kinds[kind] = kinds.get(kind, 0.0) + share / 2
        computing = (before.computing() + glimpse.computing()) / 2
        return Sight(1, task_s, task_s * computing, 0.0, kinds, glimpse.samples)

    @staticmethod
    def _cpu() -> float:
        """Processor time of this process, without that of the thread which asks: the pilot's own."""
        return time.process_time() - time.thread_time()
