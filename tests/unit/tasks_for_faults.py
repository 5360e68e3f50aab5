"""What workers leave behind when their task is done, for `test_starter` and `test_process_faults`."""

from __future__ import annotations

import multiprocessing.util
import os
import sys
import threading
from pathlib import Path

KEPT: list[int] = []


def outlast(mark: str) -> None:
    """Start a thread that leaves a mark when this process is about to end."""

    def stay() -> None:
        threading.main_thread().join()
        Path(mark).touch()

    threading.Thread(target=stay).start()


def mark_at_end(mark: str) -> None:
    """Have `multiprocessing` leave a mark at the end of this process."""
    multiprocessing.util.Finalize(None, Path(mark).touch, exitpriority=1)


def keep_length(data: bytes) -> None:
    """An initializer with an argument that may be long."""
    KEPT.append(len(data))


def kept() -> list[int]:
    return KEPT


def search_path() -> list[str]:
    return sys.path


def crowded(count_file: str, number: int) -> None:
    """End as if the kernel had killed it for want of memory: the count rises, and then the signal comes."""
    Path(count_file).write_text(f"oom {number}\noom_kill {number}\n")
    os.kill(os.getpid(), 9)
