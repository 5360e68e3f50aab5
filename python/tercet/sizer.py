"""How many workers overlap waits best: slow start, then what the figures of each window say.

A `Sizer` is arithmetic: it is told what a window of time brought and answers how many workers to have next. It knows
no clock and no thread, so that every case is a table in a test.

1. *Climb*: 1, 2, 4, 8 ... towards the target. Where enough tasks have ended to judge a step, it must bring 15 % more a
   second (the bias of .NET's thread pool against more threads), or the step is taken back. Long tasks give nothing to
   judge while the climb lasts; it then goes on in good faith.
2. *Check*, once: by Little's law, workers that are kept busy number as many as tasks end in the time that one takes
   alone. Far fewer means that the rest stand in a queue somewhere else, so that many less are tried.
3. *Trial*: if fewer bring 10 % less a second, tasks have merely become longer, and the larger number returns.
"""

from __future__ import annotations

from math import ceil

__all__ = ["Sizer"]

_WORTH = 1.15
_LOSS = 0.9
_CHECKED_S = 0.05


_CLIMB, _CHECK, _TRIAL, _SETTLED = "climb", "check", "trial", "settled"


class Sizer:
    """Finds a number of workers for tasks that wait.

    Parameters
    ----------
    start
        How many to begin with.
    target
        The most that can be useful.
    task_s
        How long a task takes alone, where that is known.

    Examples
    --------
    >>> sizer = Sizer(1, 8, None)
    >>> [sizer.after(0.005, 0) for _ in range(4)]
    [2, 4, 8, 8]
    """

    def __init__(self, start: int, target: int, task_s: float | None) -> None:
        self.target = max(1, target)
        self.workers = max(1, min(start, self.target))
        self._task_s = task_s
        self._phase = _CLIMB if self.workers < self.target else _CHECK
        self._best: tuple[int, float] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will change."""
        return self._phase == _SETTLED

    @property
    def is_climbing(self) -> bool:
        """Whether workers are still being added."""
        return self._phase == _CLIMB

    def stop(self) -> None:
        """Climb no further: something else than the waits is the limit."""
        if self._phase == _CLIMB:
            self._phase = _SETTLED

    def after(self, seconds: float, ended: int) -> int:
        """Return how many workers to have after a window of so many seconds in which so many tasks ended."""
        rate = ended / seconds if seconds > 0 else 0.0
        if self._phase == _CLIMB:
            self._climb(rate, ended)
        elif self._phase != _SETTLED and seconds >= _CHECKED_S and ended >= max(16, 2 * self.workers):
            if self._phase == _CHECK:
                self._check(rate)
            else:
                self._judge(rate)
        return self.workers

    def _climb(self, rate: float, ended: int) -> None:
        if ended >= 2 * self.workers:
            if self._best is not None and rate < _WORTH * self._best[1]:
                self.workers = self._best[0]
                self._phase = _SETTLED
                return
            self._best = (self.workers, rate)
        self.workers = min(2 * self.workers, self.target)
        if self.workers == self.target:
            self._phase = _CHECK

    def _check(self, rate: float) -> None:
        busy = rate * self._task_s if self._task_s is not None else float(self.workers)
        if busy >= 0.6 * self.workers:
            self._phase = _SETTLED
            return
        self._best = (self.workers, rate)
        self.workers = max(1, ceil(1.25 * busy))
        self._phase = _TRIAL

    def _judge(self, rate: float) -> None:
        assert self._best is not None
        if rate < _LOSS * self._best[1]:
            self.workers = self._best[0]
        self._phase = _SETTLED
