"""How worker processes begin: forked from a zygote, or by a start method of `multiprocessing`.

A starter has two hands that the native pool calls, with no lock held: `hire` starts a process that serves the given
memory, and gives a descriptor that tells when it has ended; `mourn` tells how it ended, and forgets it.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tercet import _tercet, estate, zygote
from tercet.nursery import Nursery
from tercet.oom import KillCount
from tercet.parcel import PoolTask, pack_whole
from tercet.portable import main_source, surroundings

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

__all__ = [
    "ContextStarter",
    "Starter",
    "ZygoteStarter",
    "end_of",
    "starter",
    "was_killed",
]

Initializer = Callable[..., object] | None


class Starter(Protocol):
    """What a pool wants of whoever starts its processes."""

    processes: dict[int, Any]
    """What stands for each process that is alive, by its number."""

    def hire(self, fds: list[int]) -> tuple[int, int]:
        """Start a process that serves these descriptors; return its number, and a descriptor that tells its end."""

    def mourn(self, pid: int) -> tuple[str, bool]:
        """Return how a process ended, and whether somebody killed it."""

    def expect(self, fn: Callable[..., Any]) -> None:
        """Prepare for calls of a function, the first that the pool gets."""

    def close(self) -> None:
        """Let go of what is left when all processes are gone."""

    @property
    def starts_at_once(self) -> bool:
        """Whether all processes are to be started with the first task, before there is another thread."""


def starter(
    context: BaseContext | None, initializer: Initializer, initargs: tuple[Any, ...], preload: Sequence[str]
) -> Starter:
    """Return the starter for a pool.

    Without a context that is the zygote, unless the workers need what only a child of this process can have: a main
    module that stands in no file, or locks and queues of `multiprocessing` among the arguments of the initializer.
    """
    if context is not None:
        return ContextStarter(context, initializer, initargs)
    source, _ = main_source(threading.get_ident())
    if source is not None or not hasattr(sys.modules.get("__main__"), "__dict__"):
        try:
            return ZygoteStarter(_packed((initializer, initargs)), source, preload)
        except Exception:
            pass
    import multiprocessing

    is_alone = threading.active_count() == 1
    return ContextStarter(multiprocessing.get_context("fork" if is_alone else "spawn"), initializer, initargs)


def _packed(value: Any) -> bytes:
    """Pack for workers; queues and locks of tercet may be in it, and stay while the packed bytes do."""
    handle = sys.modules.get("tercet.handle")
    packed: bytes = pack_whole(value) if handle is None else handle.pack(pack_whole, value)
    return packed


class Process:
    """A worker, for programs that look into ``_processes``."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = self.ident = pid
        self.name = name
        self.exitcode: int | None = None

    def is_alive(self) -> bool:
        """Whether it has not been seen to end."""
        return self.exitcode is None


class ZygoteStarter:
    """Has the workers of one pool forked from a nursery of its own: see `tercet.estate`."""

    def __init__(self, initializer: bytes, source: tuple[str, str, bool] | None, preload: Sequence[str]) -> None:
        self.processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self._kills = KillCount()
        self._counter = itertools.count(1)
        # It may keep alive what it names.
        self._kept = initializer
        self._data: dict[str, Any] = {
            **surroundings(source),
            "initializer": bytes(initializer),
            "lesson": None,
            "preload": list(preload),
            "reads_main": False,
        }
        estate.begin()

    def expect(self, fn: Any) -> None:
        """Let the zygote import, once for all workers, what the function needs."""
        if isinstance(fn, PoolTask):
            fn = fn.fn
        while isinstance(fn, partial):
            fn = fn.args[0] if fn.args and fn.func.__module__.startswith("tercet.") else fn.func
        module = getattr(fn, "__module__", None)
        if module == "__main__":
            self._data["reads_main"] = True
        elif isinstance(module, str):
            self._data["preload"].append(module)

    def hire(self, fds: list[int]) -> tuple[int, int]:
        """Fork a worker."""
        name = f"TercetProcess-{next(self._counter)}"
        path = [str(entry) for entry in sys.path]
        with self._lock:
            order = (name, os.getpid(), path)
            try:
                if self._nursery is None:
                    self._nursery = self._begin()
                pid = self._nursery.fork(fds, order)
            except ConnectionError:
                # It was killed, and its workers with it.
                dead, self._nursery = self._nursery, None
                if dead is not None:
                    dead.close()
                self._nursery = self._begin()
                pid = self._nursery.fork(fds, order)
        self.processes[pid] = Process(pid, name)
        # The nursery reaps its children only when it is asked to: the number is still that of the worker.
        return pid, os.pidfd_open(pid)

    def _begin(self) -> Nursery:
        # The search path of now: the program may have changed it since it made the pool.
        self._data["path"] = [str(entry) for entry in sys.path]
        nursery = estate.nursery(self._data)
        if nursery.has_threads:
            # What it imported has started threads, and they would not be in its forks: each worker imports for itself.
            nursery.close()
            self._data.update(preload=[], reads_main=False)
            nursery = estate.nursery(self._data)
        return nursery

    def mourn(self, pid: int) -> tuple[str, bool]:
        """Return how a worker ended."""
        code = self._bury(pid)
        return _last_words(pid, code, self._kills), was_killed(code)

    def _bury(self, pid: int) -> int | None:
        process = self.processes.pop(pid, None)
        with self._lock:
            code = None if self._nursery is None else self._nursery.status(pid)
        if process is not None:
            process.exitcode = code
        return code

    def close(self) -> None:
        """End the nursery, or let it rest until the next pool."""
        with self._lock:
            nursery, self._nursery = self._nursery, None
        if nursery is not None:
            estate.keep(nursery, self._lesson())

    def _lesson(self) -> dict[str, Any] | None:
        """What workers have learnt by themselves, without harm."""
        return None

    starts_at_once = False


class ContextStarter:
    """Starts workers as processes of `multiprocessing`, by the start method of a context."""

    def __init__(self, context: BaseContext, initializer: Initializer, initargs: tuple[Any, ...]) -> None:
        self.processes: dict[int, Any] = {}
        self._context = context
        self._order = (initializer, initargs)
        self._kills = KillCount()

    def hire(self, fds: list[int]) -> tuple[int, int]:
        """Start a process."""
        method = self._context.get_start_method()
        # The kernel watches the thread that forks, not its process; and a fork server lives as long as its workers.
        lasts = method == "spawn" or (method == "fork" and threading.current_thread() is threading.main_thread())
        order = (os.getpid(), lasts, *self._order)
        if method == "fork":
            process = self._context.Process(target=_serve_forked, args=(fds, *order))  # type: ignore[attr-defined]
        else:
            process = self._context.Process(target=_serve_spawned, args=(_Fds(fds), *order))  # type: ignore[attr-defined]
        process.start()
        self.processes[process.pid] = process
        return process.pid, os.pidfd_open(process.pid)

    def mourn(self, pid: int) -> tuple[str, bool]:
        """Return how a process ended."""
        process = self.processes.pop(pid, None)
        if process is not None:
            process.join()
        code = None if process is None else process.exitcode
        return _last_words(pid, code, self._kills), was_killed(code)

    def expect(self, fn: Callable[..., Any]) -> None:
        """A start method of `multiprocessing` has ways of its own."""

    def close(self) -> None:
        """Nothing is left."""

    @property
    def starts_at_once(self) -> bool:
        """Whether they are forks of this process."""
        return self._context.get_start_method() == "fork"


class _Fds:
    """Descriptors on their way to a process that is being started."""

    def __init__(self, fds: list[int]) -> None:
        self.fds = fds

    def __reduce__(self) -> Any:
        from multiprocessing.reduction import DupFd

        return _detached, tuple(DupFd(fd) for fd in self.fds)


def _detached(*fds: Any) -> list[int]:
    return [fd.detach() for fd in fds]


def _serve_forked(fds: list[int], *order: Any) -> None:
    _serve_spawned([os.dup(fd) for fd in fds], *order)


def _serve_spawned(
    fds: list[int], program: int, lasts: bool, initializer: Initializer, initargs: tuple[Any, ...]
) -> None:
    import signal

    from tercet import parcel

    signal.signal(signal.SIGINT, zygote.ignore)
    if lasts:
        _tercet.end_with_parent()
        if os.getppid() != program:
            os._exit(1)
    else:
        try:
            life = os.pidfd_open(program)
        except ProcessLookupError:
            os._exit(1)
        threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    try:
        _tercet.serve(fds, lambda: _begin(initializer, initargs), parcel.run, parcel)
    finally:
        estate.end()


def _begin(initializer: Initializer, initargs: tuple[Any, ...]) -> None:
    from multiprocessing.util import _exit_function  # type: ignore[attr-defined]

    try:
        zygote.begin(initializer, initargs)
    except BaseException:
        # What it has said to a queue of the program is there before the pool breaks.
        _exit_function()
        raise


def _end_with(life: int) -> None:
    """End this process when another ends, whoever has started this one."""
    import select
    import signal

    select.select([life], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def was_killed(code: int | None) -> bool:
    """Whether it was ended from outside, or nobody knows."""
    return code in (None, -9, -15)


def _last_words(pid: int, code: int | None, kills: KillCount) -> str:
    how, hint = end_of(code, kills)
    return (
        "A process in the process pool was terminated abruptly while the future was running or pending: "
        f"{pid}, {how}.{hint}"
    )


def end_of(code: int | None, kills: KillCount) -> tuple[str, str]:
    """Say how a process ended, and what is to be done about it: a line of its own, or nothing."""
    if code is None:
        return "nobody knows how", ""
    if code >= 0:
        return f"exit code {code}", ""
    how, hint = f"killed by {_signal_name(-code)}", ""
    if code == -9:
        was_out_of_memory = kills.take()
        if was_out_of_memory:
            how += " as memory ran out"
            hint = "\nhint: have fewer workers, or let each task hold less at a time"
        elif was_out_of_memory is None:
            hint = "\nhint: the kernel kills the largest process when memory runs out"
    return how, hint


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
