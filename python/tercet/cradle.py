"""The far side of a nursery: the process that forks the workers of a pool, and what a worker does first.

Its life cycle is in `tercet.zygote`, which it is a fork of; this file is read there, and names nothing else of tercet.
"""

from __future__ import annotations

import _socket
import _thread
import os
import signal
import sys
import time
from _pickle import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from tercet.zygote import Line

__all__ = ["Nursery"]

_LONGEST_S = 30
"""After this time a nursery that imports at rest is ended."""


class Nursery:
    """Settles with the data of a pool, and forks its workers.

    Parameters
    ----------
    zygote, native
        The modules of these names, as they are known here.
    line
        The program is at its other end.
    """

    def __init__(self, zygote: ModuleType, native: ModuleType, line: Line) -> None:
        self._zygote = zygote
        self._line = line
        self._native = native
        self._children: set[int] = set()
        self._data: dict[str, Any] = {}
        inheritance = zygote.beside("inheritance")
        self._possessions = inheritance.Possessions([line.socket.fileno(), line.life])
        self._imports = inheritance.Imports()

    def serve(self) -> None:
        """Do what the program asks for, until it lets go or ends."""
        try:
            while (message := self._line.receive())[0]:
                kind, number = message[0][:1], int.from_bytes(message[0][1:], "little")
                if kind == b"L":
                    self._line.answer(self._settle(self._line.receive_long(number), message[1]))
                elif kind == b"F":
                    self._line.answer(self._fork(self._line.receive_long(number), message[1]))
                elif kind == b"W":
                    pid = int.from_bytes(self._line.receive()[0], "little")
                    self._line.answer(self._status(pid))
                else:
                    self._rest(self._line.receive_long(number))
        except (EOFError, ConnectionError):
            # In the middle of a message.
            pass
        self._kill_workers()
        # There is nothing to be finalized, and it would take longer than all the rest.
        os._exit(0)

    def _settle(self, data: dict[str, Any], fds: list[int]) -> int:
        """Take over what the program's functions rely on, once for all workers."""
        if not self._imports.hold(data):
            return int(self._zygote.STALE)
        self._possessions.take(data, fds)
        self._line.move(*self._possessions.own)
        self._data = data
        worker = self._zygote.beside("worker")
        worker.settle(data)
        self._imports.begin(data)
        self._import(worker.prepare, [(module, None) for module in data["preload"]], data["reads_main"])
        # What they print is printed once, and not by every fork.
        self._zygote.flush()
        return int(self._zygote.HAS_THREADS) if _thread._count() > 0 else 0

    def _rest(self, lesson: dict[str, Any] | None) -> None:
        """Be ready for another pool, or end."""
        self._kill_workers()
        self._data = {}
        self._possessions.let_go()
        if lesson is not None:
            signal.alarm(_LONGEST_S)
            self._import(self._zygote.beside("worker").prepare, lesson["sources"], lesson["reads_main"])
            signal.alarm(0)
        self._zygote.flush()
        if self._imports.are_harmless():
            self._line.answer(0)
        else:
            os._exit(0)

    def _import(self, prepare: Callable[..., None], *what: Any) -> None:
        # Nobody looks at the program meanwhile: the root does, and ends with it.
        self._native.end_with_parent()
        since_ns, is_complete = time.time_ns(), False
        try:
            prepare(*what)
            is_complete = True
        except BaseException:
            # Whoever needs it will try again, and say so.
            pass
        self._imports.end(since_ns, is_complete=is_complete)
        self._native.end_with_parent(False)

    def _fork(self, order: Any, fds: list[int]) -> int:
        """Fork a worker."""
        try:
            pid = os.fork()
        except OSError as error:
            # Were it to die of this, all workers would die with it. The program is told why.
            pid = -(error.errno or 1)
        if pid:
            for fd in fds:
                os.close(fd)
            if pid > 0:
                self._children.add(pid)
            return pid
        code = 1
        try:
            self._line.socket.close()
            os.close(self._line.life)
            nursery = os.getppid()
            self._native.end_with_parent()
            if os.getppid() != nursery:
                os._exit(1)
            code = self._work(fds, (self._data["initializer"], self._data["lesson"], *order))
            _finish()
        finally:
            self._zygote.flush()
            os._exit(code)

    def _work(self, fds: list[int], order: tuple[bytes, Any, str, int, list[str]]) -> int:
        """Be a worker until the pool lets go."""
        zygote, native = self._zygote, self._native
        initializer, lesson, name, parent, path = order
        sys.path[:] = path
        _name(name, parent)
        if lesson is not None:
            line = _socket.socket(fileno=fds.pop()) if lesson["seats"] > 1 else None
            zygote.beside("seat").Host(zygote, native, lesson).serve(fds, line)
            return 0
        parcel = zygote.beside("parcel")
        native.serve(fds, lambda: zygote.begin(*loads(initializer)), parcel.run, parcel)
        return 0

    def _status(self, pid: int) -> int:
        """Wait for the end of a worker: its exit code, negative for a signal."""
        if pid not in self._children:
            return int(self._zygote.UNKNOWN)
        self._children.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _kill_workers(self) -> None:
        for pid in self._children:
            os.kill(pid, 9)
        for pid in self._children:
            os.waitpid(pid, 0)
        self._children.clear()


def _name(name: str, parent: int) -> None:
    """Be, to `multiprocessing`, a child process like any other."""
    if "multiprocessing.process" in sys.modules:
        here = sys.modules["multiprocessing.process"].current_process()
        here._name, here._parent_pid = name, parent


def _finish() -> None:
    """Do what a process of `multiprocessing` does at its end: run finalizers, and wait for threads that tasks began."""
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"]._exit_function()
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    if "tercet.estate" in sys.modules:
        # Of pools that tasks have made.
        sys.modules["tercet.estate"].end()
