"""Leaving signals to the thread that they were meant for, while threads are started.

The kernel wakes the main thread for a signal of the process, and gives the signal to the first thread that changes its
mask before the main thread has had a processor. Every thread does so when it is born, and whoever starts it. Python
notes the signal then, and the main thread sleeps on: Ctrl-C seems to have done nothing. So signals are blocked while
threads are started and born, and let in again when none is under way.
"""

from __future__ import annotations

import time
from signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, sigpending, valid_signals

__all__ = ["Shield"]

_LOOKS = 50
_LOOK_S = 0.001
"""A signal that the main thread blocks stays pending: it is not waited for any longer than this."""


class Shield:
    """Blocks signals where it is entered, and in the threads that are started there until they call `lower`.

    Examples
    --------
    >>> import threading
    >>> shield = Shield()
    >>> with shield:
    ...     thread = threading.Thread(target=shield.lower)
    ...     thread.start()
    >>> thread.join()
    """

    def __init__(self) -> None:
        self._before: set[int] = set()

    def __enter__(self) -> None:
        self._before = set(pthread_sigmask(SIG_BLOCK, valid_signals()))

    def __exit__(self, *_: object) -> None:
        self.lower()

    def lower(self) -> None:
        """Let in what was let in before, once the signals that are under way have arrived."""
        for _ in range(_LOOKS):
            if sigpending() <= self._before:
                break
            time.sleep(_LOOK_S)
        pthread_sigmask(SIG_SETMASK, self._before)
