"""The program's side of its root: the process that every zygote of a program is forked from.

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
import select
import sys
import threading
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_WR, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from collections.abc import Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import monotonic
from typing import Any

from tercet import _tercet
from tercet.nursery import Nursery, as_bytes
from tercet.standing import interpreter_flags, standing

__all__ = ["begin", "end", "keep", "nursery"]

_START = """
import sys
sys.path.insert(0, sys.argv[1])
import zygote
del sys.path[0]
zygote.main(3, 4)
"""
_HERE = __file__.rpartition(os.sep)[0]

_ANSWER_S = 30.0
"""A root that is silent for so long is none: it never does anything that takes long."""

_LEAVE_S = 0.2
_CALL_S = 0.005
_SILENCE_S = 30.0
"""For so long a nursery that rests may import."""


class Root:
    """A root, as the program knows it."""

    def __init__(self, stance: tuple[Any, ...] | None) -> None:
        self.stance = stance
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._nurseries: set[int] = set()
        self._has_forked = False
        self._is_sound = True
        self._is_retired = False
        self._is_buried = False
        self._line, far = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self._line.settimeout(_ANSWER_S)
        life = -1
        copies: list[int] = []
        try:
            life = os.pidfd_open(self._owner)
            # Away from the numbers that they get there: a copy onto itself would stay closed on exec.
            copies = [fcntl(fd, F_DUPFD_CLOEXEC, 5) for fd in (far.fileno(), life)]
            self.pid = _spawn(*copies)
        except OSError:
            self._line.close()
            raise
        finally:
            far.close()
            for fd in [life, *copies]:
                if fd >= 0:
                    os.close(fd)
        self._line.send(os.fsencode(_tercet.__file__))

    def is_there(self) -> bool:
        """Whether it can be asked, as far as one knows."""
        return self._is_sound and self._hears()

    def has(self, one: Nursery) -> bool:
        """Whether a nursery is a fork of it."""
        return one.pid in self._nurseries

    def fork(self) -> Nursery:
        """Fork a nursery.

        Raises
        ------
        ConnectionError
            If the root is gone.
        OSError
            If it cannot fork.
        """
        near, far = socketpair(AF_UNIX, SOCK_SEQPACKET)
        try:
            with self._lock:
                pid = self._ask(b"N", [far.fileno()])
                self._has_forked = True
                if pid > 0:
                    self._nurseries.add(pid)
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        if pid < 0:
            near.close()
            raise OSError(-pid, os.strerror(-pid))
        return Nursery(pid, near, self._left)

    def retire(self) -> None:
        """Let it end when its last nursery has."""
        with self._lock:
            self._is_retired = True
            try:
                self._line.shutdown(SHUT_WR)
            except OSError:
                pass
            if not self._nurseries or not self._hears():
                self._bury()

    def end(self) -> None:
        """End it with all its nurseries, but do not wait for long."""
        with self._lock:
            self._is_retired = True
            try:
                self._line.send(b"E")
            except OSError:
                pass
            self._bury()

    def forget(self) -> None:
        """Close this copy of it, in a fork of the program."""
        self._line.close()

    def _hears(self) -> bool:
        """Whether somebody is at the other end, although others may speak with it right now."""
        poll = select.poll()
        poll.register(self._line, 0)
        return not poll.poll(0)

    def _left(self, pid: int) -> None:
        """Have a nursery reaped that ends or is to end."""
        with self._lock:
            self._nurseries.discard(pid)
            if not self._is_retired:
                try:
                    self._ask(b"K", number=pid)
                    return
                except OSError:
                    pass
            elif not self._nurseries:
                self._bury()
        try:
            # A root that was killed has left it to whoever adopts orphans, which may be this process.
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass

    def _ask(self, kind: bytes, fds: Sequence[int] = (), number: int = 0) -> int:
        try:
            extra = [(SOL_SOCKET, SCM_RIGHTS, as_bytes(fds))] if fds else []
            self._line.sendmsg([kind + number.to_bytes(8, "little")], extra)
            answer = self._line.recv(8)
        except BaseException as error:
            # The answer may still come, and would be taken for that of the next.
            self._is_sound = False
            if isinstance(error, TimeoutError):
                os.kill(self.pid, 9)
            if isinstance(error, OSError):
                raise ConnectionResetError("the process that starts zygotes does not answer") from error
            raise
        if len(answer) < 8:
            self._is_sound = False
            raise ConnectionResetError("the process that starts zygotes is gone")
        return int.from_bytes(answer, "little", signed=True)

    def _bury(self) -> None:
        """Wait for its end, which is near, so that no zombie is left."""
        if self._is_buried:
            return
        self._is_buried = True
        if not self._has_forked:
            # It may not be there yet, and has nobody to look after.
            os.kill(self.pid, 9)
        try:
            self._line.settimeout(_LEAVE_S)
            while self._line.recv(8):
                pass
        except ConnectionError:
            pass
        except OSError:
            os.kill(self.pid, 9)
        self._line.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


def _spawn(line: int, life: int) -> int:
    arguments = [sys.executable, *interpreter_flags(), "-S", "-P", "-c", _START, _HERE]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, line, 3),
        (os.POSIX_SPAWN_DUP2, life, 4),
    ]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)


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
        root, _estate.root, _estate.kept = _estate.root, None, None
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
