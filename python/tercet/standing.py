"""What a process has from the one that started it: how the program stands, and what it hands on.

A root was started once, and what it inherited then its forks have for good. Some of that is handed on anew whenever a
pool begins: environment, working directory, descriptors. The rest is compared: where the program stands otherwise than
when its root began, it needs another root.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["handed_on", "interpreter_flags", "standing"]

_STATUS = (
    "Umask Uid Gid Groups SigBlk SigIgn CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters "
    "Cpus_allowed Mems_allowed"
)
_LINES = frozenset(f"{name}:".encode() for name in _STATUS.split())
"""What counts of the kernel's account of a thread."""

_ACCOUNTS = ("limits", "oom_score_adj", "cgroup")
_SPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")

_AT_THE_START = (b"PYTHON", b"LC_", b"LANG", b"LD_", b"MALLOC_", b"GLIBC_", b"TZ")
"""How variables begin that are read when a process starts, and never again."""

_MOST_FDS = 250
"""The kernel passes no more than 253 descriptors at a time."""


def standing() -> tuple[Any, ...] | None:
    """Return all that a process inherits for good, to be compared; ``None`` where it cannot be told now."""
    try:
        return (
            sys.executable,
            tuple(interpreter_flags()),
            tuple(sorted(entry for entry in _environ().items() if entry[0].startswith(_AT_THE_START))),
            tuple(line for line in _read("status").splitlines() if line.partition(b"\t")[0] in _LINES),
            tuple(map(_read, _ACCOUNTS)),
            tuple(map(_space, _SPACES)),
            (os.getpgrp(), os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0)),
            (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
            os.stat("/")[1:3],
        )
    except OSError:
        return None


def interpreter_flags() -> list[str]:
    """The options of this interpreter that its workers should have too."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    flags += ["-B"] if sys.dont_write_bytecode else []
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += [
        word for name, value in sys._xoptions.items() for word in ("-X", name if value is True else f"{name}={value}")
    ]
    flags += [word for option in sys.warnoptions for word in ("-W", option)]
    return flags


def handed_on() -> tuple[dict[str, Any], list[int]]:
    """Return what a nursery takes over when a pool begins, and the descriptors that go with it.

    The first of them is the working directory, and is to be closed when they have been sent.
    """
    numbers = _inheritable()
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return {"environ": _environ(), "numbers": numbers}, [folder, *numbers]


def _environ() -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}


def _inheritable() -> list[int]:
    """The descriptors that a program started by this one would have, but for its input."""
    found = []
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            if number != 0 and os.get_inheritable(number):
                found.append(number)
        except OSError:
            # It has been closed meanwhile, or is what the list was read from.
            continue
    return found[:_MOST_FDS]


def _read(name: str) -> bytes:
    # Of the thread: it is what starts a process.
    fd = os.open(f"/proc/thread-self/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _space(name: str) -> str | None:
    try:
        return os.readlink(f"/proc/thread-self/ns/{name}")
    except FileNotFoundError:
        return None
