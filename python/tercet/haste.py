"""Letting a pilot's step through, when tasks that compute stand in line for the GIL."""

from __future__ import annotations

import math
import sys
import threading

__all__ = ["Haste", "haste"]


class Haste:
    """Makes threads take turns faster while somebody is in haste.

    A task that computes gives the GIL away every 5 ms only, and whoever wants it stands in line with every other such
    task, after every file that is read. A step would take a tenth of a second; with a tenth of the interval it does
    not. It must be short, because turns cost: two threads that compute lose a third of their time to turns of half a
    millisecond, and computing then looks like native code.
    """

    _INTERVAL_S = 0.0005

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_haste = 0
        self._before = 0.005

    def __enter__(self) -> None:
        with self._lock:
            self._in_haste += 1
            if self._in_haste == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self._INTERVAL_S))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._in_haste -= 1
            # Somebody else may have set it meanwhile, and then it is theirs.
            if self._in_haste == 0 and math.isclose(sys.getswitchinterval(), self._INTERVAL_S, rel_tol=1e-3):
                sys.setswitchinterval(self._before)


haste = Haste()
"""The one that belongs to this interpreter, as the interval does."""
