"""How many workers overlap waits best: slow start, then what the figures of each window say.

A `Sizer` is arithmetic: it is told what a window of time brought and answers how many workers to have next. It knows
no clock and no thread, so that every case is a table in a test.

1. *Climb*: 1, 2, 4, 8 ... towards the target. Where enough tasks have ended to judge a step, it must bring 15 % more a
   second (the bias of .NET's thread pool against more threads), or the step is taken back. Long tasks give nothing to
   judge while the climb lasts; it then goes on in good faith.
2. *Check*: by Little's law, workers that are kept busy number as many as tasks end in the time that one takes alone.
   Far fewer means that the rest stand in a queue somewhere else, so that fewer are tried: as many as these, but at
   least a quarter.
3. *Trial*: if they bring 10 % less a second, tasks have merely become longer, and the larger number returns for good;
   otherwise the check is made again.
"""

from __future__ import annotations

from math import ceil

__all__ = ["Sizer"]

_WORTH = 1.15
_LOSS = 0.9
_CHECKED_S = 0.05
_FEWEST = 16


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
        self._seconds = 0.0
        self._ended = 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will change."""
        return self._phase == _SETTLED

    @property
    def is_climbing(self) -> bool:
        """Whether workers are still being added."""
        return self._phase == _CLIMB

    def learn(self, task_s: float) -> None:
        """Learn how long a task takes alone."""
        self._task_s = task_s

    def after(self, seconds: float, ended: int) -> int:
        """Return how many workers to have after a window of so many seconds in which so many tasks ended."""
        if self._phase == _CLIMB:
            self._climb(ended / seconds if seconds > 0 else 0.0, ended)
        elif self._phase != _SETTLED:
            self._gather(seconds, ended)
        return self.workers

    def _gather(self, seconds: float, ended: int) -> None:
        """Put windows together until they say something: long enough for several tasks in a row."""
        self._seconds += seconds
        self._ended += ended
        if self._seconds < max(_CHECKED_S, 3 * (self._task_s or 0.0)) or self._ended < _FEWEST:
            return
        rate = self._ended / self._seconds
        self._seconds, self._ended = 0.0, 0
        if self._phase == _CHECK:
            self._check(rate)
        else:
            self._judge(rate)

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
        self.workers = max(1, ceil(1.25 * busy), self.workers // 4)
        self._phase = _TRIAL

    def _judge(self, rate: float) -> None:
        assert self._best is not None
        self._phase = _CHECK
        if rate < _LOSS * self._best[1]:
            self.workers = self._best[0]
            self._phase = _SETTLED
