"""Futures: what a task will have come to.

The state lives in native code, where every engine completes it; whoever waits sleeps there. To the rest of the world
it is a future of the standard library, which `asyncio.wrap_future`, `concurrent.futures.wait` and everything built
on them use without knowing.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any, TypeVar

from tercet import _tercet

# Bound now: programs put the functions below in the place of these.
_wait_elsewhere = concurrent.futures.wait
_as_completed_elsewhere = concurrent.futures.as_completed

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Future",
    "as_completed",
    "wait",
]

T = TypeVar("T")


class Future(_tercet.Future, concurrent.futures.Future[T]):
    """The outcome of a task that runs elsewhere: `concurrent.futures.Future`, but native.

    Everything that a future of the standard library can do, this one can: callbacks, cancelling, waiting with a
    timeout, being set by hand, being subclassed. Making one takes no lock and a tenth of the memory, and who waits
    for it is woken once.

    Examples
    --------
    >>> future = Future()
    >>> future.set_result(42)
    >>> future.result(), future.done()
    (42, True)
    """


def wait(
    fs: Iterable[concurrent.futures.Future[T]], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> concurrent.futures._base.DoneAndNotDoneFutures[T]:
    """Wait for futures to end.

    For futures of tercet the caller is woken once, when all that it waits for has happened. A mix with futures of the
    standard library works as it does there.

    Parameters
    ----------
    fs
        The futures.
    timeout
        Seconds to wait at most; ``None`` sets no limit.
    return_when
        ``FIRST_COMPLETED``, ``FIRST_EXCEPTION`` or ``ALL_COMPLETED``.

    Returns
    -------
    tuple
        The sets ``done`` and ``not_done``, by name.

    Examples
    --------
    >>> ended, running = Future(), Future()
    >>> ended.set_result(1)
    >>> done, not_done = wait([ended, running], return_when=FIRST_COMPLETED)
    >>> done == {ended}, not_done == {running}
    (True, True)
    """
    fs = set(fs)
    if not _are_ours(fs):
        return _wait_elsewhere(fs, timeout, return_when)
    done, not_done = _tercet.wait(list(fs), timeout, return_when)
    return concurrent.futures._base.DoneAndNotDoneFutures(done, not_done)


def as_completed(
    fs: Iterable[concurrent.futures.Future[T]], timeout: float | None = None
) -> Iterator[concurrent.futures.Future[T]]:
    """Yield futures as they end, each once.

    Parameters
    ----------
    fs
        The futures. Those of tercet are waited for natively; a mix works as in the standard library.
    timeout
        Seconds, from the first request on, until all must have ended.

    Raises
    ------
    TimeoutError
        If some have not.

    Examples
    --------
    >>> first, second = Future(), Future()
    >>> second.set_result("b")
    >>> first.set_result("a")
    >>> sorted(future.result() for future in as_completed([first, second]))
    ['a', 'b']
    """
    fs = set(fs)
    if not _are_ours(fs):
        yield from _as_completed_elsewhere(fs, timeout)
        return
    completions = _tercet.Completions(list(fs), timeout)
    del fs
    yield from completions


def _are_ours(fs: set[Any]) -> bool:
    return all(isinstance(future, _tercet.Future) for future in fs)
