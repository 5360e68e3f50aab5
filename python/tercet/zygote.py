"""The processes that fork others: the root of a program, and the nurseries that it forks.

Life cycle
----------
1. A program starts one *root*: an interpreter of its own that loads tercet's native half and a few files, and waits. It
   runs nothing of the program's, ever.
2. For each pool the root forks a *nursery*, with a socket of its own to the program. It takes over the search path, the
   main module, the environment and the descriptors of the program, imports what the first function needs, and stays
   single-threaded. A fork of it inherits no lock that some thread holds, whatever the program is doing.
3. On request it forks a worker, which gets three descriptors: its memory and the two bells.
4. When its pool has closed, a nursery rests until it is given another, if its imports were harmless. At rest it holds
   nothing of the program's.
5. When the program ends, in any way, root and nurseries see it on its pidfd, even if a fork of the program still has
   their sockets. A nursery kills its workers, the root what is left of its nurseries. A worker whose nursery is gone is
   ended by the kernel.

This file is the root, and what all of them need; `tercet.cradle` is a nursery and its workers. What the program says to
them is in `tercet.root` and `tercet.nursery`.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import sys
import time
from _pickle import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["HAS_THREADS", "STALE", "UNKNOWN", "begin", "beside", "flush", "ignore", "main", "receive", "reseed"]

HAS_THREADS, STALE = 1, 2
"""What a nursery says for 0, when it cannot serve a pool: threads were started, or its imports are no longer true."""

_FDS = 253
"""How many descriptors come at a time, at most."""

UNKNOWN = 1 << 16
"""In the place of an exit code: it was a child of another zygote."""

_GRACE_S, _SHORT_GRACE_S = 0.25, 0.02
"""How long the root waits for nurseries to end with the program, before it kills them; the program may be waiting."""

_NEEDED = ("cradle", "inheritance", "parcel", "seat", "worker")
"""What nurseries and workers need of this package."""


def main(control: int, life: int) -> None:
    """Be the root, with the program at the other end of this socket; the other descriptor tells when it has ended."""
    signal.signal(signal.SIGINT, ignore)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in (0, 1, 2, control, life):
            _close(fd)
    line = Line(control, life)
    file = os.fsdecode(line.receive()[0])
    if not file:
        os._exit(0)
    native = _native(file)
    for name in _NEEDED:
        beside(name)
    beside("inheritance").empty_streams()
    os.chdir("/")
    _Root(line, native).serve()


class Line:
    """The socket to the program, and the descriptor that tells of its end."""

    def __init__(self, control: int, life: int) -> None:
        self.socket = _socket.socket(fileno=control)
        self.life = life

    def receive(self) -> tuple[bytes, list[int]]:
        """Wait for a message and the descriptors that come with it; it is empty when the program lets go, or ends."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self.life, select.POLLIN)
        if self.life in dict(poll.poll()):
            return b"", []
        return receive(self.socket)

    def receive_long(self, length: int) -> Any:
        """Receive a value that comes in pieces."""
        parts = []
        while length > 0:
            parts.append(self.receive()[0])
            length -= len(parts[-1])
            if not parts[-1]:
                raise EOFError
        return loads(b"".join(parts))

    def answer(self, number: int) -> None:
        """Answer a request."""
        self.socket.send(number.to_bytes(8, "little", signed=True))

    def move(self, control: int, life: int) -> None:
        """Be at these descriptors from now on."""
        # The numbers where they were are others' now.
        self.socket.detach()
        self.socket = _socket.socket(fileno=control)
        self.life = life


class _Root:
    """Forks nurseries, and reaps them."""

    def __init__(self, line: Line, native: ModuleType) -> None:
        self._line = line
        self._native = native
        self._children: dict[int, int] = {}
        """The descriptor that tells of its end, for each nursery."""

    def serve(self) -> None:
        """Do what the program asks for; when it has let go, wait for the last nursery."""
        line, is_asked, grace_s = self._line, True, _GRACE_S
        while is_asked or self._children:
            poll = select.poll()
            poll.register(line.life, select.POLLIN)
            if is_asked:
                poll.register(line.socket, select.POLLIN)
            for life in self._children.values():
                poll.register(life, select.POLLIN)
            ready = dict(poll.poll())
            if line.life in ready:
                break
            for pid in [pid for pid, life in self._children.items() if life in ready]:
                self._reap(pid)
            if line.socket.fileno() in ready:
                request, fds = receive(line.socket)
                if request[:1] == b"E":
                    grace_s = _SHORT_GRACE_S
                    break
                is_asked = bool(request) and self._obey(request[:1], int.from_bytes(request[1:], "little"), fds)
        self._end(grace_s)

    def _obey(self, kind: bytes, number: int, fds: list[int]) -> bool:
        """Do what is asked for. False if nobody hears the answer."""
        answer = 0
        if kind == b"N":
            answer = self._fork(fds[0])
        elif number in self._children:
            os.kill(number, 9)
            self._reap(number)
        try:
            self._line.answer(answer)
        except OSError:
            return False
        return True

    def _fork(self, control: int) -> int:
        try:
            pid = os.fork()
        except OSError as error:
            # The program is told why.
            pid = -(error.errno or 1)
        if pid == 0:
            try:
                self._line.socket.close()
                for fd in self._children.values():
                    os.close(fd)
                beside("cradle").Nursery(sys.modules[__name__], self._native, Line(control, self._line.life)).serve()
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                flush()
                os._exit(1)
        os.close(control)
        if pid > 0:
            self._children[pid] = os.pidfd_open(pid)
        return pid

    def _reap(self, pid: int) -> None:
        os.close(self._children.pop(pid))
        os.waitpid(pid, 0)

    def _end(self, grace_s: float) -> None:
        until = time.monotonic() + grace_s
        while self._children and (left_s := until - time.monotonic()) > 0:
            poll = select.poll()
            for life in self._children.values():
                poll.register(life, select.POLLIN)
            ready = dict(poll.poll(1000 * left_s))
            for pid in [pid for pid, life in self._children.items() if life in ready]:
                self._reap(pid)
        for pid in list(self._children):
            os.kill(pid, 9)
            self._reap(pid)
        os._exit(0)


def _native(file: str) -> ModuleType:
    """Load the extension alone: the package around it would take longer than the start of the interpreter."""
    import importlib.machinery
    import importlib.util

    loader = importlib.machinery.ExtensionFileLoader("tercet._tercet", file)
    spec = importlib.util.spec_from_loader("tercet._tercet", loader)
    assert spec is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def receive(line: _socket.socket) -> tuple[bytes, list[int]]:
    """Wait for a message and the descriptors that come with it; it is empty when the other end is gone."""
    request, extra, _, _ = line.recvmsg(1 << 16, _socket.CMSG_SPACE(4 * _FDS))
    fds = [
        int.from_bytes(data[start : start + 4], sys.byteorder)
        for _, _, data in extra
        for start in range(0, len(data) - len(data) % 4, 4)
    ]
    return request, fds


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def beside(name: str) -> ModuleType:
    """Load a file of this package without the package, which would take longer than the start of an interpreter."""
    import importlib.util

    known = sys.modules.get(f"tercet_{name}")
    if known is not None:
        return known
    file = f"{__file__.rpartition(os.sep)[0]}{os.sep}{name}.py"
    spec = importlib.util.spec_from_file_location(f"tercet_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def begin(initializer: Any, initargs: tuple[Any, ...]) -> None:
    """Do what comes before the first task."""
    reseed()
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException:
            import logging

            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            raise


def reseed() -> None:
    """Give this worker random numbers of its own: copies of one process would draw the same."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def flush() -> None:
    """Let what was printed be seen."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def ignore(*_: object) -> None:
    """Stand for Ctrl-C, which the program decides about. Not SIG_IGN: a program started by a task would inherit it."""
