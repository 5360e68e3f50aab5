"""The program's side of its root: the process that every zygote of a program is forked from.

It is there before it is needed, and never does anything that takes long. Its far side is in `tercet.zygote`, and what
becomes of it in `tercet.estate`.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_WR, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from collections.abc import Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any

from tercet import _tercet
from tercet.nursery import Nursery, as_bytes
from tercet.standing import interpreter_flags

__all__ = ["Root"]

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
"""How long the program waits for it to end, before it is killed."""


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
        try:
            self._line.send(os.fsencode(_tercet.__file__))
        except ConnectionError:
            # It has ended already, as whoever asks for a nursery will be told.
            pass

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
                self._kill()
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
            self._kill()
        try:
            self._line.settimeout(_LEAVE_S)
            while self._line.recv(8):
                pass
        except ConnectionError:
            pass
        except OSError:
            self._kill()
        self._line.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def _kill(self) -> None:
        # Unless it has ended, and the program has reaped it with all its children: the number may be another's.
        if self._hears():
            os.kill(self.pid, 9)


def _spawn(line: int, life: int) -> int:
    arguments = [sys.executable, *interpreter_flags(), "-S", "-P", "-c", _START, _HERE]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, line, 3),
        (os.POSIX_SPAWN_DUP2, life, 4),
    ]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
