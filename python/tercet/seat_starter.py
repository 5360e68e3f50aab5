"""How workers with several seats begin: one process for as many of the pool's workers as have a seat in it.

The first seat comes with the process, the others through a line of its own, one descriptor list a message. When the
process ends, all its seats do: the pool is told once for each.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from typing import Any

from tercet.nursery import as_bytes
from tercet.parcel import pack_whole
from tercet.starter import ZygoteStarter, end_of, was_killed

__all__ = ["SeatStarter"]


class SeatStarter(ZygoteStarter):
    """Starts workers with several seats: to the pool each seat is a worker.

    Parameters
    ----------
    lesson
        What a worker has to learn before its first batch: see `tercet.portable.Baggage`.
    seats
        How many seats a process has.
    """

    def __init__(self, lesson: dict[str, Any], seats: int) -> None:
        super().__init__(pack_whole((None, ())), lesson["main"], ())
        self._data["lesson"] = {**lesson, "seats": seats}
        self._seats = seats
        self._latest: _Seated | None = None
        self._ends: dict[int, tuple[str, bool]] = {}
        self._are_well = True
        self.started = 0
        self.refusal: str | None = None
        """Why the latest that was wanted could not be started."""

    def expect(self, fn: Any) -> None:
        """Do nothing: a worker learns by itself what it needs, and may be killed while it does.

        What it needs is imported in the nursery when the map is over, for the next.
        """

    def hire(self, fds: list[int]) -> tuple[int, int]:
        """Open a seat: in the latest process if there is room, otherwise in a new one."""
        try:
            hired = self._open_another(fds) or self._open_first(fds)
        except OSError as error:
            self.refusal = str(error)
            raise
        self.started += 1
        return hired

    def _open_another(self, fds: list[int]) -> tuple[int, int] | None:
        latest = self._latest
        if latest is None:
            return None
        life = os.dup(latest.life)
        try:
            latest.line.sendmsg([b"S"], [(SOL_SOCKET, SCM_RIGHTS, as_bytes(fds))])
        except OSError:
            # It has ended meanwhile.
            os.close(life)
            self._forget_latest()
            return None
        latest.room -= 1
        if latest.room == 0:
            self._forget_latest()
        return latest.pid, life

    def _open_first(self, fds: list[int]) -> tuple[int, int]:
        self._forget_latest()
        if self._seats == 1:
            pid, life = super().hire(fds)
        else:
            near, far = socketpair(AF_UNIX, SOCK_SEQPACKET)
            try:
                pid, life = super().hire([*fds, far.fileno()])
                self._latest = _Seated(pid, os.dup(life), near, self._seats - 1)
            except OSError:
                near.close()
                raise
            finally:
                far.close()
        self._ends.pop(pid, None)
        return pid, life

    def _forget_latest(self) -> None:
        latest, self._latest = self._latest, None
        if latest is not None:
            latest.line.close()
            os.close(latest.life)

    def mourn(self, pid: int) -> tuple[str, bool]:
        """Return how a worker ended, once for each of its seats."""
        if self._latest is not None and self._latest.pid == pid:
            self._forget_latest()
        if pid not in self._ends:
            code = self._bury(pid)
            how, hint = end_of(code, self._kills)
            self._ends[pid] = how + hint, was_killed(code)
            self._are_well = self._are_well and code == 0
        return self._ends[pid]

    def close(self) -> None:
        """End the nursery, or let it rest until the next pool."""
        self._forget_latest()
        super().close()

    def _lesson(self) -> dict[str, Any] | None:
        lesson = self._data["lesson"]
        if not self._ends or not self._are_well:
            return None
        return {"sources": lesson["sources"], "reads_main": _reads_main(lesson)}


def _reads_main(lesson: dict[str, Any]) -> bool:
    """Whether a worker has run the main module for it."""
    modules = {module for module, _, _ in lesson["carried"]}
    packed = lesson["packed"] or b""
    return "__main__" in modules or b"__main__" in packed or (lesson["named"] or ("",))[0] == "__main__"


class _Seated:
    """The latest process of a `SeatStarter`."""

    def __init__(self, pid: int, life: int, line: socket, room: int) -> None:
        self.pid = pid
        self.life = life
        self.line = line
        self.room = room
