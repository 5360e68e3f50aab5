"""The processes that fork others, and what a worker does first.

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

What the program says to either is in `tercet.root` and `tercet.nursery`.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import signal
import sys
import time
from _pickle import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["HAS_THREADS", "STALE", "UNKNOWN", "begin", "beside", "flush", "ignore", "main", "receive", "reseed", "work"]

HAS_THREADS, STALE = 1, 2
"""What a nursery says for 0, when it cannot serve a pool: threads were started, or its imports are no longer true."""

_FDS = 253
"""How many descriptors come at a time, at most."""

UNKNOWN = 1 << 16
"""In the place of an exit code: it was a child of another zygote."""

_GRACE_S, _SHORT_GRACE_S = 0.25, 0.02
"""How long the root waits for nurseries to end with the program, before it kills them; the program may be waiting."""

_LONGEST_S = 30
"""After this time a nursery that imports at rest is ended."""

_NEEDED = ("inheritance", "parcel", "seat", "worker")
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
                _Nursery(Line(control, self._line.life), self._native).serve()
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


class _Nursery:
    """Settles with the data of a pool, and forks its workers."""

    def __init__(self, line: Line, native: ModuleType) -> None:
        self._line = line
        self._native = native
        self._children: set[int] = set()
        self._data: dict[str, Any] = {}
        inheritance = beside("inheritance")
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
                    self._line.answer(_status(pid, self._children))
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
            return STALE
        self._possessions.take(data, fds)
        self._line.move(*self._possessions.own)
        self._data = data
        worker = beside("worker")
        worker.settle(data)
        self._imports.begin(data)
        self._import(worker.prepare, [(module, None) for module in data["preload"]], data["reads_main"])
        # What they print is printed once, and not by every fork.
        flush()
        return HAS_THREADS if _thread._count() > 0 else 0

    def _rest(self, lesson: dict[str, Any] | None) -> None:
        """Be ready for another pool, or end."""
        self._kill_workers()
        self._data = {}
        self._possessions.let_go()
        if lesson is not None:
            signal.alarm(_LONGEST_S)
            self._import(beside("worker").prepare, lesson["sources"], lesson["reads_main"])
            signal.alarm(0)
        flush()
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
            code = work(self._native, fds, (self._data["initializer"], self._data["lesson"], *order))
            _finish()
        finally:
            flush()
            os._exit(code)

    def _kill_workers(self) -> None:
        for pid in self._children:
            os.kill(pid, 9)
        for pid in self._children:
            os.waitpid(pid, 0)
        self._children.clear()


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


def work(native: ModuleType, fds: list[int], order: tuple[bytes, Any, str, int, list[str]]) -> int:
    """Be a worker until the pool lets go."""
    initializer, lesson, name, parent, path = order
    sys.path[:] = path
    _name(name, parent)
    if lesson is not None:
        line = _socket.socket(fileno=fds.pop()) if lesson["seats"] > 1 else None
        beside("seat").Host(sys.modules[__name__], native, lesson).serve(fds, line)
        return 0
    parcel = beside("parcel")
    native.serve(fds, lambda: begin(*loads(initializer)), parcel.run, parcel)
    return 0


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


def _name(name: str, parent: int) -> None:
    """Be, to `multiprocessing`, a child process like any other."""
    if "multiprocessing.process" in sys.modules:
        here = sys.modules["multiprocessing.process"].current_process()
        here._name, here._parent_pid = name, parent


def reseed() -> None:
    """Give this worker random numbers of its own: copies of one process would draw the same."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _finish() -> None:
    """Do what a process of `multiprocessing` does at its end: run finalizers, and wait for threads that tasks began."""
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"]._exit_function()
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    if "tercet.root" in sys.modules:
        # Of pools that tasks have made.
        sys.modules["tercet.root"].end()


def flush() -> None:
    """Let what was printed be seen."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _status(pid: int, children: set[int]) -> int:
    """Wait for the end of a worker: its exit code, negative for a signal."""
    if pid not in children:
        return UNKNOWN
    children.discard(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ignore(*_: object) -> None:
    """Stand for Ctrl-C, which the program decides about. Not SIG_IGN: a program started by a task would inherit it."""
