"""The process that forks the workers, and what a worker does first.

Life cycle
----------
1. A pool starts one zygote: an interpreter of its own that imports tercet's native half, takes over
   the search path and the main module of the program, and stays single-threaded. A fork of it inherits no lock that
   some thread holds, whatever the program is doing.
2. On request it forks a worker, which gets three descriptors: its memory and the two bells.
3. When the socket to the program closes, because the program ended in any way, the zygote kills its workers and ends.
   A worker whose zygote is gone is ended by the kernel.
"""

from __future__ import annotations

import _socket
import _thread
import os
import sys
from _pickle import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["UNKNOWN", "begin", "beside", "flush", "ignore", "main", "receive", "reseed", "work"]

_FDS = 8
"""How many descriptors a worker is given, at most: those of ``serve``, and a line to hear of more seats."""

UNKNOWN = 1 << 16
"""In the place of an exit code: it was a child of another zygote."""


def main(control: int) -> None:
    """Be the zygote, with the program at the other end of this socket."""
    import signal

    signal.signal(signal.SIGINT, ignore)
    line = _socket.socket(fileno=control)
    native = _native(os.fsdecode(line.recv(1 << 16)))
    children: set[int] = set()
    data: dict[str, Any] = {}
    while True:
        request, fds = receive(line)
        kind, rest = request[:1], request[1:]
        if kind == b"L":
            data = loads(_large(line, int.from_bytes(rest, "little")))
            _answer(line, _settle(data))
        elif kind == b"F":
            order = loads(_large(line, int.from_bytes(rest, "little")))
            _answer(line, _fork(line, fds, children, native, (data["initializer"], data["lesson"], *order)))
        elif kind == b"W":
            _answer(line, _status(int.from_bytes(rest, "little"), children))
        else:
            break
    for pid in children:
        os.kill(pid, 9)
    for pid in children:
        os.waitpid(pid, 0)
    # There is nothing to be finalized, and it would take longer than all the rest.
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


def _large(line: _socket.socket, length: int) -> bytes:
    parts = []
    while length > 0:
        parts.append(line.recv(1 << 16))
        length -= len(parts[-1])
        if not parts[-1]:
            break
    return b"".join(parts)


def _answer(line: _socket.socket, number: int) -> None:
    line.send(number.to_bytes(8, "little", signed=True))


def _settle(data: dict[str, Any]) -> int:
    """Take over what the program's functions rely on, once for all workers; 1 if threads have come of it."""
    beside("worker").settle(data)
    main: Any = sys.modules["__main__"]
    try:
        for module in data["preload"]:
            __import__(module)
        if data["reads_main"]:
            main.read()
    except BaseException:
        # Whoever needs it will try again, and say so.
        pass
    return int(_thread._count() > 0)


def _fork(line: _socket.socket, fds: list[int], children: set[int], native: ModuleType, order: Any) -> int:
    try:
        pid = os.fork()
    except OSError as error:
        # Were it to die of this, all workers would die with it. The program is told why.
        pid = -(error.errno or 1)
    if pid:
        for fd in fds:
            os.close(fd)
        if pid > 0:
            children.add(pid)
        return pid
    code = 1
    try:
        line.close()
        zygote = os.getppid()
        native.end_with_parent()
        if os.getppid() != zygote:
            os._exit(1)
        code = work(native, fds, order)
        _finish()
    finally:
        flush()
        os._exit(code)


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
