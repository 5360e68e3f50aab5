"""How often the kernel has killed a process for want of memory.

A process that the kernel kills when memory runs out ends by SIGKILL, like one that anybody else kills. What tells them
apart is the count that the kernel keeps for each control group, and raises before it sends the signal.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["KillCount", "counters"]

COUNTERS: Sequence[str] = ()
"""Files to look into before those of the kernel."""

_ROOT = "/sys/fs/cgroup"


class KillCount:
    """The kills that are not accounted for yet, of the control group that this process and its workers are in."""

    def __init__(self) -> None:
        self._files = counters()
        self._seen = self._read()

    def take(self) -> bool | None:
        """Say whether there was such a kill since the last time, and account for one; ``None`` if nobody counts."""
        count = self._read()
        if count is None or self._seen is None:
            return None
        has_risen = count > self._seen
        self._seen += has_risen
        return has_risen

    def _read(self) -> int | None:
        for file in self._files:
            count = _kills(file)
            if count is not None:
                return count
        return None


def counters(groups: str = "/proc/self/cgroup") -> list[str]:
    """Return the files that may tell, the most particular one first.

    Parameters
    ----------
    groups
        The file that names the control groups of this process.
    """
    files = list(COUNTERS)
    try:
        with open(groups) as lines:
            for line in lines:
                _, kinds, path = line.rstrip("\n").split(":", 2)
                if not kinds:
                    files += [f"{_ROOT}{path.rstrip('/')}/memory.events", f"{_ROOT}/memory.events"]
                elif "memory" in kinds.split(","):
                    place = f"{_ROOT}/memory"
                    # Inside a container the path may be that of the outside, and its root is the group itself.
                    files += [f"{place}{path.rstrip('/')}/memory.oom_control", f"{place}/memory.oom_control"]
    except (OSError, ValueError):
        pass
    # Of the whole machine: where there are no groups, nothing else tells.
    return [*files, "/proc/vmstat"]


def _kills(file: str) -> int | None:
    try:
        with open(file) as lines:
            for line in lines:
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    except (OSError, ValueError):
        pass
    return None
