"""What a worker can tell of where it comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def family(*_: object) -> tuple[int, int]:
    """The numbers of the nursery and of the root that a worker comes from."""
    nursery = os.getppid()
    return nursery, parent(nursery)


def parent(pid: int) -> int:
    """The number of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def circumstances(name: str) -> dict[str, Any]:
    """What a worker has inherited."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "variable": os.environ.get(name),
        "of_programs": _of_programs(name),
        "folder": os.getcwd(),
        "mask": mask,
        "processors": os.sched_getaffinity(0),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "group": os.getpgrp(),
    }


def _of_programs(name: str) -> str:
    """The variable as a program sees it that a worker starts."""
    import subprocess

    return subprocess.run(["printenv", name], capture_output=True, text=True, check=False).stdout.strip()


def write(descriptor: int, text: str) -> None:
    """Write to a descriptor that is there by its number."""
    os.write(descriptor, text.encode())
