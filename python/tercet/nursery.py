"""The program's side of a nursery: the process that forks the workers of a pool. Its far side is in `tercet.zygote`."""

from __future__ import annotations

import os
import sys
from _pickle import dumps
from _socket import MSG_DONTWAIT, SCM_RIGHTS, SHUT_WR, SOL_SOCKET, socket
from collections.abc import Callable, Sequence
from errno import EBADF
from typing import Any

from tercet import zygote
from tercet.standing import handed_on

__all__ = ["Nursery", "as_bytes"]

_PIECE = 1 << 16


class Nursery:
    """Forks workers on request.

    Parameters
    ----------
    pid
        Its number.
    line
        The socket at whose other end it listens.
    left
        Called with the number when it has ended or is to be killed.
    """

    def __init__(self, pid: int, line: socket, left: Callable[[int], None]) -> None:
        self.pid = pid
        self.has_threads = False
        """Whether imports have started threads in it, which its forks would not have."""
        self._line = line
        self._left = left
        self._owner = os.getpid()
        self._is_in_step = True
        self._has_workers = self._is_rested = False

    def settle(self, data: dict[str, Any]) -> bool:
        """Take over what the functions of a pool rely on. False where it has imported what is no longer so."""
        self._is_rested = False
        for is_last in (False, False, True):
            handed, fds = handed_on()
            try:
                answer = self._ask(b"L", dumps({**data, **handed}, 5), fds)
                break
            except OSError as error:
                # One of them has been closed meanwhile, by another thread.
                if error.errno != EBADF or is_last:
                    raise
            finally:
                os.close(fds[0])
        self.has_threads = answer == zygote.HAS_THREADS
        return answer != zygote.STALE

    def fork(self, fds: list[int], order: tuple[str, int, list[str]]) -> int:
        """Fork a worker and return its number."""
        self._has_workers = True
        pid = self._ask(b"F", dumps(order, 5), fds)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def status(self, pid: int) -> int | None:
        """Return the exit code of a worker that has ended, negative for a signal."""
        try:
            code = self._ask(b"W", pid.to_bytes(8, "little"))
        except OSError:
            return None
        return None if code == zygote.UNKNOWN else code

    def rest(self, lesson: dict[str, Any] | None) -> bool:
        """End what workers are left and wait for another pool. False if it must not.

        With a lesson of a map, what its workers have imported is imported there as well, and nobody waits for that.
        """
        if self.has_threads or not self._is_in_step or self._owner != os.getpid():
            return False
        try:
            self._send(b"R", dumps(lesson, 5))
        except OSError:
            return False
        self._has_workers = False
        return True

    def is_rested(self, patience_s: float) -> bool | None:
        """Say whether it may serve another pool: not if its imports have done more than define something.

        ``None`` while it is not known.
        """
        if not self._is_rested:
            self._line.settimeout(patience_s)
            try:
                self._is_rested = len(self._line.recv(8, 0 if patience_s else MSG_DONTWAIT)) == 8
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                return False
            finally:
                self._line.settimeout(None)
        return self._is_rested

    def close(self) -> None:
        """End it, and with it every worker."""
        if self._owner != os.getpid():
            self.forget()
            return
        if self._has_workers:
            # It reaps them; and whoever has none is killed, at whatever it is.
            try:
                self._line.shutdown(SHUT_WR)
                while self._line.recv(8):
                    pass
            except OSError:
                pass
        self._line.close()
        self._left(self.pid)

    def forget(self) -> None:
        """Close this copy of it, in a fork of the program."""
        self._line.close()

    def _ask(self, kind: bytes, packed: bytes, fds: Sequence[int] = ()) -> int:
        # Whoever is interrupted here leaves an answer that is not for the next.
        self._is_in_step = False
        self._send(kind, packed, fds)
        answer = self._line.recv(8)
        if len(answer) < 8:
            raise ConnectionResetError("the process that starts workers is gone")
        self._is_in_step = True
        return int.from_bytes(answer, "little", signed=True)

    def _send(self, kind: bytes, packed: bytes, fds: Sequence[int] = ()) -> None:
        extra = [(SOL_SOCKET, SCM_RIGHTS, as_bytes(fds))] if fds else []
        self._line.sendmsg([kind + len(packed).to_bytes(8, "little")], extra)
        for start in range(0, len(packed), _PIECE):
            self._line.send(packed[start : start + _PIECE])


def as_bytes(fds: Sequence[int]) -> bytes:
    """Return descriptors as they go through a socket."""
    return b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
