"""How memory that processes share gets from one process to another.

Shared things are files without a name, so what travels is a descriptor, and there are three ways:

- A *fork* inherits everything, and nothing is pickled.
- *spawn* and *forkserver* pickle the arguments of a process while it is being started, and pass descriptors along
  (`multiprocessing.reduction.DupFd`).
- *Our own pools* have workers that are there already. A task names the process and the descriptor, and the worker opens
  the file through ``/proc``; the number of the file proves that it is the right one. The packed task keeps what it
  names until its result is there.

Everywhere else pickling is refused, in the words of the standard library: who would keep the file?
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from multiprocessing import context
from typing import Any

from tercet import _tercet

__all__ = ["Packed", "pack", "to_descriptor", "to_socket"]

_packing = threading.local()


class Packed(bytes):
    """A packed task, and what it names: that must stay while the task may still be unpacked."""

    keeps: list[Any]


def pack(into_bytes: Callable[[Any], Any], value: Any) -> Any:
    """Pack a task for one of our pools, by a function of `tercet.parcel`: bytes, or bytes and buffers beside them."""
    outer = getattr(_packing, "keeps", None)
    keeps: list[Any] = []
    _packing.keeps = keeps
    try:
        packed = into_bytes(value)
    finally:
        _packing.keeps = outer
    if not keeps:
        return packed
    whole, *beside = packed if isinstance(packed, tuple) else (packed,)
    kept = Packed(whole)
    kept.keeps = keeps
    return (kept, *beside) if beside else kept


def to_descriptor(owner: Any, fd: int) -> Any:
    """Return what stands for a memory file in a pickle; its `detach()` gives a descriptor on the other side."""
    popen: Any = context.get_spawning_popen()
    if popen is not None:
        # Things that lie in one file share the descriptor that goes along: a process is started with each but once.
        known: dict[int, _Along] = popen.__dict__.setdefault("_tercet_files", {})
        return known.get(fd) or known.setdefault(fd, _Along(fd))
    keeps: list[Any] | None = getattr(_packing, "keeps", None)
    if keeps is None:
        context.assert_spawning(owner)
        raise AssertionError("a process is being started after all")
    keeps.append(owner)
    return _Far(os.getpid(), fd, _tercet.memory_number(fd))


def to_socket(owner: Any, fd: int) -> Any:
    """Return the same for a pipe or a socket, which `multiprocessing` also lets travel through queues."""
    from multiprocessing.reduction import DupFd

    keeps = getattr(_packing, "keeps", None)
    if context.get_spawning_popen() is None and keeps is not None:
        from multiprocessing import process

        # The worker is no child of this process to `multiprocessing`, so the key goes along.
        keeps.append(owner)
        return _FarSocket(DupFd(fd), bytes(process.current_process().authkey))
    return DupFd(fd)


class _Along:
    """A memory file that goes along while a process is started."""

    _fd: int | None = None

    def __init__(self, fd: int) -> None:
        from multiprocessing.reduction import DupFd

        self._duplicate = DupFd(fd)

    def __getstate__(self) -> Any:
        return self._duplicate

    def __setstate__(self, state: Any) -> None:
        self._duplicate = state

    def detach(self) -> int:
        """Return a descriptor of it in this process, another one each time."""
        if self._fd is None:
            self._fd = self._duplicate.detach()
        return os.dup(self._fd)

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


class _Far:
    """A memory file of another process."""

    def __init__(self, pid: int, fd: int, number: int) -> None:
        self.pid, self.fd, self.number = pid, fd, number

    def detach(self) -> int:
        """Return a descriptor of it in this process."""
        path = f"/proc/{self.pid}/fd/{self.fd}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._gone() from None
        if _tercet.memory_number(fd) == self.number:
            return fd
        os.close(fd)
        raise self._gone()

    def _gone(self) -> FileNotFoundError:
        return FileNotFoundError(f"process {self.pid}, which owned this shared memory, has closed it or has ended")


class _FarSocket:
    """A pipe or socket of another process that hands out duplicates, to those who know its key."""

    def __init__(self, duplicate: Any, key: bytes) -> None:
        self.duplicate, self.key = duplicate, key

    def detach(self) -> int:
        """Return a descriptor of it in this process."""
        from multiprocessing import process

        here = process.current_process()
        mine, here.authkey = here.authkey, self.key
        try:
            fd: int = self.duplicate.detach()
        finally:
            here.authkey = mine
        return fd
