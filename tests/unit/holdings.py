"""What a program holds, by the accounts of the kernel: descriptors, shared memory, threads, processes, RAM.

For the tests of the pools and for `tests/stress`, whose rivals have interpreters of their own: nothing here takes more
than the standard library.
"""

from __future__ import annotations

import gc
import os
import select
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Holdings:
    """What this process holds, and how much RAM it and its descendants take."""

    files: int
    memfds: int
    threads: int
    processes: int
    own_mb: float
    tree_mb: float

    @classmethod
    def now(cls) -> Holdings:
        gc.collect()
        family = descendants(os.getpid())
        mapped = sum("memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())
        own_mb = resident_mb(os.getpid())
        return cls(
            files=len(os.listdir("/proc/self/fd")),
            memfds=mapped,
            threads=threading.active_count(),
            processes=len(family),
            own_mb=own_mb,
            tree_mb=own_mb + sum(map(resident_mb, family)),
        )

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """What can be counted: descriptors, mappings of shared memory, threads and processes."""
        return self.files, self.memfds, self.threads, self.processes

    def excess(self, before: Holdings, growth_mb: float) -> list[str]:
        """Say what there is more of than before."""
        counts = ("files", "memfds", "threads", "processes")
        more = [(name, getattr(self, name) - getattr(before, name)) for name in counts]
        faults = [f"{count} more {name}" for name, count in more if count > 0]
        if self.own_mb - before.own_mb > growth_mb:
            faults.append(f"{self.own_mb - before.own_mb:.1f} MB more memory")
        return faults

    def __str__(self) -> str:
        counts = f"{self.files} descriptors, {self.memfds} memfds, {self.threads} threads, {self.processes} processes"
        return f"{counts}, {self.own_mb:.1f} MB, {self.tree_mb:.1f} MB with its processes"


def resident_mb(pid: int) -> float:
    """Return the memory of a process that is in RAM; none if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return 0.0


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    children = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        # The process has ended meanwhile.
        return []
    for thread in threads:
        try:
            listed = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        except OSError:
            # The thread has ended meanwhile.
            continue
        children += [int(number) for number in listed.split()]
    return children + [far for child in children for far in descendants(child)]


def marked(mark: str) -> list[int]:
    """Return the processes that have inherited a mark in their environment, whoever their parent is now."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for_ends(pids: Iterable[int], patience_s: float = 60) -> list[int]:
    """Wait until these processes have ended, and return those that have not in that time."""
    until = time.monotonic() + patience_s
    left = []
    for pid in pids:
        try:
            life = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([life], [], [], max(0.0, until - time.monotonic()))[0]:
                left.append(pid)
        finally:
            os.close(life)
    return left
