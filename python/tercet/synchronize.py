"""`Lock` and its kin: those of `multiprocessing`, on shared memory.

They are subclasses of the standard library's, with the same behaviour. What is different: a lock takes 64 bytes of a
memory file without a name, so nothing is registered, nothing is left behind, and a thousand of them need a few
descriptors; one that nobody holds costs no call of the system; they are arguments of tasks of
`tercet.ProcessPoolExecutor`.

As in the standard library, what a process holds when it is killed stays held: nobody can know in what state it left
what the lock guards. A process that is killed while it waits for a condition may hold up the next `notify`, as there.
"""

from __future__ import annotations

import multiprocessing.synchronize as standard
from multiprocessing import util
from typing import Any

from tercet import _tercet, handle

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

_RECURSIVE, _SEMAPHORE = 0, 1
_MOST = _tercet.SemLock.SEM_VALUE_MAX


class _Shared:
    """What a lock has in place of the standard library's named semaphore."""

    _semlock: _tercet.SemLock

    def _open(self, semlock: _tercet.SemLock) -> None:
        self._semlock = semlock
        self.acquire, self.release = semlock.acquire, semlock.release
        util.register_after_fork(self, _forget)

    def __getstate__(self) -> Any:
        semlock = self._semlock
        far = handle.to_descriptor(self, semlock.fileno())
        return far, semlock._place(), semlock.kind, semlock.maxvalue

    def __setstate__(self, state: Any) -> None:
        far, place, kind, maxvalue = state
        self._open(_tercet.SemLock._from_fd(far.detach(), place[0], place[1], kind, maxvalue))

    def __enter__(self) -> bool:
        return self._semlock.__enter__()

    def __exit__(self, *args: object) -> None:
        self._semlock.__exit__(*args)


def _forget(lock: _Shared) -> None:
    lock._semlock._after_fork()


class Semaphore(_Shared, standard.Semaphore):
    """A semaphore between processes: `multiprocessing.Semaphore`.

    Parameters
    ----------
    value
        How many may have it at a time.
    ctx
        A context of `multiprocessing`, for programs that make the class of the standard library themselves; not used.

    Examples
    --------
    >>> semaphore = Semaphore(2)
    >>> semaphore.acquire(), semaphore.acquire(), semaphore.acquire(block=False)
    (True, True, False)
    """

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._open(_tercet.SemLock(_SEMAPHORE, value, _MOST))


class BoundedSemaphore(_Shared, standard.BoundedSemaphore):
    """A semaphore that is never released too often: `multiprocessing.BoundedSemaphore`.

    Parameters
    ----------
    value, ctx
        As for `Semaphore`.

    Examples
    --------
    >>> semaphore = BoundedSemaphore(1)
    >>> semaphore.release()
    Traceback (most recent call last):
    ValueError: semaphore or lock released too many times
    """

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._open(_tercet.SemLock(_SEMAPHORE, value, value))


class Lock(_Shared, standard.Lock):
    """A lock between processes, which any of them may release: `multiprocessing.Lock`.

    Parameters
    ----------
    ctx
        As for `Semaphore`.

    Examples
    --------
    >>> lock = Lock()
    >>> with lock:
    ...     lock.acquire(block=False)
    False
    """

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._open(_tercet.SemLock(_SEMAPHORE, 1, 1))


class RLock(_Shared, standard.RLock):
    """A lock that its owner may take again: `multiprocessing.RLock`.

    Parameters
    ----------
    ctx
        As for `Semaphore`.

    Examples
    --------
    >>> lock = RLock()
    >>> with lock, lock:
    ...     pass
    """

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._open(_tercet.SemLock(_RECURSIVE, 1, 1))


class _Context:
    """What the standard library's compound classes take their locks from."""

    def __init__(self) -> None:
        self.Lock, self.RLock, self.Semaphore, self.Condition = Lock, RLock, Semaphore, Condition


class Condition(standard.Condition):
    """A condition between processes: `multiprocessing.Condition`.

    Parameters
    ----------
    lock
        The lock that guards it; an `RLock` of its own if there is none.
    ctx
        As for `Semaphore`.

    Examples
    --------
    >>> condition = Condition()
    >>> with condition:
    ...     condition.notify()
    """

    def __init__(self, lock: Any = None, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        super().__init__(lock, ctx=_Context())  # type: ignore[arg-type]

    def __getstate__(self) -> Any:
        return self._lock, self._sleeping_count, self._woken_count, self._wait_semaphore  # type: ignore[attr-defined]


class Event(standard.Event):
    """Something that processes wait for: `multiprocessing.Event`.

    One who waits is told of an event even if it is taken back at once. A process that is killed while it waits
    disturbs nobody.

    Parameters
    ----------
    ctx
        As for `Semaphore`.

    Examples
    --------
    >>> event = Event()
    >>> event.set()
    >>> event.wait()
    True
    """

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._open(_tercet.SharedEvent())

    def _open(self, event: _tercet.SharedEvent) -> None:
        self._event = event
        self.is_set, self.set, self.clear, self.wait = (  # type: ignore[method-assign]
            event.is_set,
            event.set,
            event.clear,
            event.wait,
        )

    def __getstate__(self) -> Any:
        return handle.to_descriptor(self, self._event.fileno()), self._event._place()

    def __setstate__(self, state: Any) -> None:
        far, place = state
        self._open(_tercet.SharedEvent._from_fd(far.detach(), *place))


class Barrier(standard.Barrier):
    """Where processes wait for one another: `multiprocessing.Barrier`.

    Parameters
    ----------
    parties
        How many are waited for.
    action
        Called by one of them when all are there.
    timeout
        How many seconds `wait` waits if nothing else is said.
    ctx
        As for `Semaphore`.

    Examples
    --------
    >>> barrier = Barrier(1)
    >>> barrier.wait()
    0
    """

    def __init__(self, parties: int, action: Any = None, timeout: float | None = None, *, ctx: object = None) -> None:  # noqa: ARG002
        from tercet.sharedctypes import Block

        # The standard library's `__setstate__` is its own constructor.
        self.__setstate__((parties, action, timeout, Condition(), Block(8)))  # type: ignore[attr-defined]
