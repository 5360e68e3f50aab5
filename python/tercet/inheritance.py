"""What a nursery has from the program, and whether what it has imported still is what the program would import.

This file is read in zygotes, which know nothing else of tercet.
"""

from __future__ import annotations

import os
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Imports", "Possessions", "empty_streams"]

_TICK_NS = 50_000_000
"""The clock that files are stamped with moves in steps, which are no longer than this."""


class Possessions:
    """The environment, the working directory and the descriptors that are the program's.

    Parameters
    ----------
    own
        The descriptors that are not, and stay: where another has to have one of these numbers, it gets a new one.
    """

    def __init__(self, own: list[int]) -> None:
        self.own = own
        self._numbers: list[int] = []
        empty_streams()

    def take(self, handed: dict[str, Any], fds: list[int]) -> None:
        """Take over what the program hands on: see ``handed_on`` in `tercet.standing`."""
        _take_environ(handed["environ"])
        folder, *fds = fds
        os.fchdir(folder)
        os.close(folder)
        numbers = handed["numbers"]
        highest = max([*numbers, *fds, *self.own])
        self.own = [fcntl(fd, F_DUPFD_CLOEXEC, highest + 1) if fd in numbers else fd for fd in self.own]
        # Away from where they go, so that none is written over.
        copies = [fcntl(fd, F_DUPFD_CLOEXEC, highest + 1) for fd in fds]
        for fd in fds:
            os.close(fd)
        for number, copy in zip(numbers, copies, strict=True):
            os.dup2(copy, number, inheritable=True)
            os.close(copy)
        self._numbers = numbers
        if sys.__stdout__ is not None:
            sys.__stdout__.reconfigure(line_buffering=os.isatty(1))

    def let_go(self) -> None:
        """Hold nothing of the program's: its end of a pipe, or its folder, is to be gone when the program lets go."""
        os.chdir("/")
        empty_streams()
        for number in self._numbers:
            if number > 2:
                os.close(number)
        self._numbers = []


def empty_streams() -> None:
    """Have output go nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _take_environ(environ: dict[bytes, bytes]) -> None:
    for name in [name for name in os.environb if name not in environ]:
        del os.environb[name]
    for name, value in environ.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


class Imports:
    """What has been imported for the program, from which files, and under which circumstances."""

    def __init__(self) -> None:
        self._before = set(sys.modules)
        self._files = _open_files()
        self._stamps: dict[str, tuple[int, ...] | None] = {}
        self._around: dict[str, Any] = {}
        self._is_complete = True

    def begin(self, around: dict[str, Any]) -> None:
        """Note what imports may depend on."""
        self._around = {name: around[name] for name in ("argv", "environ", "main", "prefix")}

    def end(self, since_ns: int, *, is_complete: bool) -> None:
        """Note what has been imported since then; not all that was asked for, if one import has failed."""
        self._is_complete = self._is_complete and is_complete
        for file in self._read():
            if file not in self._stamps:
                stamp = _stamp(file)
                # One that has just been written may have been read before, at the same tick.
                is_sure = stamp is not None and max(stamp[:2]) < since_ns - _TICK_NS
                self._stamps[file] = stamp if is_sure else None

    def hold(self, around: dict[str, Any]) -> bool:
        """Whether a process that imports now would come to the same."""
        if not self._stamps:
            return True
        is_read = _names_of(sys.modules["__main__"]).get("__file__") is not None
        return (
            all(around[name] == value for name, value in self._around.items() if name != "main" or is_read)
            and all(self._is_from(name, file) for name, file in around["files"].items())
            and all(stamp is not None and stamp == _stamp(file) for file, stamp in self._stamps.items())
        )

    def are_harmless(self) -> bool:
        """Whether they have left nothing but definitions: no failure, open file, child or thread."""
        import _thread

        if not self._is_complete or _thread._count() > 0 or _open_files() > self._files:
            return False
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        return False

    def _is_from(self, name: str, file: str) -> bool:
        known = _names_of(sys.modules.get(name)).get("__file__", file)
        return known == file or (isinstance(known, str) and os.path.realpath(known) == os.path.realpath(file))

    def _read(self) -> list[str]:
        modules = [module for name, module in list(sys.modules.items()) if name not in self._before]
        found = [_names_of(module).get("__file__") for module in [*modules, sys.modules["__main__"]]]
        return [file for file in found if isinstance(file, str)]


def _names_of(module: Any) -> dict[str, Any]:
    """What a module holds, also one that is not to be loaded before somebody asks it for something."""
    try:
        names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return names


def _stamp(file: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
