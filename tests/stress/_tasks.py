"""What the pools of the fault table and of the soak run: functions that a worker finds by name.

Nothing here knows tercet: the same tasks run in every pool. Most of them are those of the tests of tercet's own pools.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from tasks_for_pools import (  # noqa: F401 - tasks like those below
    LOCK,
    crash,
    echo,
    interrupt,
    kill_self,
    leave,
    leave_at_once,
    make_hater,
    make_lock,
    raise_fussy,
    raise_with_lock,
    send_and_die,
    take_and_echo,
    with_lock,
)


def square(number: int) -> int:
    """Return what only this number gives."""
    return number * number


def who(_: object = None) -> int:
    """Return the number of the process."""
    time.sleep(0.02)
    return os.getpid()


def fail_first(number: int) -> int:
    """Raise at once for 0, and take a while for the others."""
    if number == 0:
        raise LookupError("the first")
    time.sleep(0.3)
    return -number


def touch_later(path: str) -> None:
    """Leave a mark, not at once."""
    time.sleep(0.05)
    Path(path).touch()


def begin_and_stay(path: str) -> None:
    """Leave a mark, and do not end."""
    Path(path, str(os.getpid())).touch()
    time.sleep(600)


# --- ends ---


def run_out_of_memory(counter: str) -> None:
    """End as the kernel ends a process when memory runs out: it counts the kill, and then it kills."""
    held = bytearray(100 << 20)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
    Path(counter).write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


# --- pools inside ---


def pool_inside(face: str, start: str, number: int) -> int:
    """Use a pool of the same kind."""
    from _pools import POOLS

    pool = POOLS[face](1, start)
    outcome = pool.run([(square, number)], 10)[0]
    if outcome.error is not None:
        # How such a pool ends is another line of the table.
        raise outcome.error
    pool.end()
    found: int = outcome.value
    return found
