"""What the pools of one program have in common: its root, and a nursery that waits for the next of them.

Life cycle
----------
1. The first pool of a program starts the root, an interpreter that loads tercet's native half and what zygotes need,
   and never anything of the program. For each pool it forks a *nursery*, which settles with the pool's data, imports
   for it, and forks its workers.
2. A nursery whose pool has closed, and whose imports have done no more than define something, is *kept*: it rests until
   the next pool, which finds everything imported. One is kept at a time. It is ended when a file that it has imported,
   or the environment, has changed since.
3. Where the program stands otherwise than when its root began (see `tercet.standing`), another root is started. The old
   one ends with its last nursery.
4. A root ends with its program, in whatever way that ends. A nursery that is at work outlives a root that was killed.

Guarantees
----------
- A fork of the program has no root: it starts its own.
- What hangs or crashes in a nursery that rests is noticed by its silence, and nobody waits for it.
"""

from __future__ import annotations

import atexit
import os
import threading
from time import monotonic
from typing import Any

from tercet.nursery import Nursery
from tercet.root import Root
from tercet.standing import standing

__all__ = ["begin", "end", "keep", "nursery"]

_CALL_S = 0.005
"""How long a pool waits for a nursery to say that it rests, before it takes another."""

_SILENCE_S = 30.0
"""For so long a nursery that rests may import."""


class _Estate:
    """The root of this process, and the nursery that rests."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.root: Root | None = None
        self.kept: Nursery | None = None
        self.since = 0.0

    def current(self) -> Root:
        """The root for a program that stands as this one does now; the lock is held."""
        stance = standing()
        root = self.root
        if root is not None and (not root.is_there() or (stance is not None and stance != root.stance)):
            self.let_go()
        if self.root is None:
            self.root = Root(stance)
        return self.root

    def let_go(self) -> None:
        """Forget the root, and what rests; the lock is held."""
        root, self.root = self.root, None
        kept, self.kept = self.kept, None
        if kept is not None:
            kept.close()
        if root is not None:
            root.retire()

    def take(self) -> Nursery | None:
        """The nursery that rests, if it may serve a pool; the lock is held."""
        kept = self.kept
        is_rested = kept is not None and kept.is_rested(_CALL_S)
        if is_rested is None:
            return None
        self.kept = None
        if kept is not None and not is_rested:
            kept.close()
            return None
        return kept

    def has_room(self) -> bool:
        """Whether another nursery may rest: none does, or it has died of it; the lock is held."""
        if self.kept is None:
            return True
        is_rested = self.kept.is_rested(0)
        return is_rested is False or (is_rested is None and monotonic() - self.since > _SILENCE_S)


_estate = _Estate()


def begin() -> None:
    """Start the root, if there is none: it will be there when the first task is."""
    try:
        with _estate.lock:
            _estate.current()
    except OSError:
        # Whoever wants something of it is told.
        pass


def nursery(data: dict[str, Any]) -> Nursery:
    """Return a nursery that has settled.

    Parameters
    ----------
    data
        What it has to take over: see ``settle`` in `tercet.worker`.
    """
    with _estate.lock:
        root = _estate.current()
        kept = _estate.take()
    if kept is not None and _has_settled(kept, data):
        return kept
    try:
        fresh = root.fork()
    except ConnectionError:
        # Somebody has killed it.
        with _estate.lock:
            root = _estate.current()
        fresh = root.fork()
    _has_settled(fresh, data)
    return fresh


def _has_settled(one: Nursery, data: dict[str, Any]) -> bool:
    has_settled = False
    try:
        has_settled = one.settle(data)
    finally:
        if not has_settled:
            one.close()
    return has_settled


def keep(one: Nursery, lesson: dict[str, Any] | None) -> None:
    """Let a nursery whose pool has closed rest until the next, or end it.

    Parameters
    ----------
    one
        The nursery.
    lesson
        What the workers of a map have learnt, if all went well: it is imported there for the next.
    """
    with _estate.lock:
        is_at_home = _estate.root is not None and _estate.root.has(one)
        other: Nursery | None = one
        if is_at_home and _estate.has_room() and one.rest(lesson):
            other, _estate.kept, _estate.since = _estate.kept, one, monotonic()
    if other is not None:
        other.close()


def end() -> None:
    """End the root of this process and all that came of it. What is begun after that gets another."""
    with _estate.lock:
        root, _estate.root = _estate.root, None
        kept, _estate.kept = _estate.kept, None
    if kept is not None:
        # The root ends it.
        kept.forget()
    if root is not None:
        root.end()


def _forget() -> None:
    """In a fork of the program: the root is the parent's."""
    global _estate
    left, _estate = _estate, _Estate()
    if left.root is not None:
        left.root.forget()
    if left.kept is not None:
        left.kept.forget()


os.register_at_fork(after_in_child=_forget)
atexit.register(end)
