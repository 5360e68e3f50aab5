"""What the pools of the fault table and of the soak run: functions that a worker finds by name.

Nothing here knows tercet: the same tasks run in every pool.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOCK = threading.Lock()


def echo(value: Any) -> Any:
    """Return what is given."""
    return value


def square(number: int) -> int:
    """Return what only this number gives."""
    return number * number


def who(_: object = None) -> int:
    """Return the number of the process."""
    time.sleep(0.02)
    return os.getpid()


def linger(seconds: float, value: Any) -> Any:
    """Return the value later."""
    time.sleep(seconds)
    return value


def fail(text: str) -> None:
    """Raise."""
    raise LookupError(text)


def fail_first(number: int) -> int:
    """Raise at once for 0, and take a while for the others."""
    if number == 0:
        raise LookupError("the first")
    time.sleep(0.3)
    return -number


def touch(path: str) -> None:
    """Leave a mark."""
    Path(path).touch()


def touch_later(path: str) -> None:
    """Leave a mark, not at once."""
    time.sleep(0.05)
    Path(path).touch()


def begin_and_stay(path: str) -> None:
    """Leave a mark, and do not end."""
    Path(path, str(os.getpid())).touch()
    time.sleep(600)


# --- ends ---


def kill_self() -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def crash() -> None:
    """Read memory that is not there."""
    ctypes.string_at(0)


def leave_at_once(code: int) -> None:
    """End the process past everything."""
    os._exit(code)


def leave(code: int) -> None:
    """End the process in the polite way."""
    sys.exit(code)


def interrupt() -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def send_and_die(length: int) -> bytes:
    """Return a large result, and be killed while it is being sent."""
    begun = threading.Event()

    def end() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    # From here on nobody else runs until the sender gives the interpreter up, which it does when the pipe is full.
    sys.setswitchinterval(1000)
    begun.set()
    return b"x" * length


def run_out_of_memory(counter: str) -> None:
    """End as the kernel ends a process when memory runs out: it counts the kill, and then it kills."""
    held = bytearray(100 << 20)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
    Path(counter).write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


# --- what cannot travel ---


def make_lock() -> Any:
    """Return what pickle refuses."""
    return threading.Lock()


def raise_with_lock() -> None:
    """Raise what pickle refuses."""
    error = LookupError("with a lock")
    error.lock = threading.Lock()
    raise error


class FussyError(Exception):
    """Pickles, and cannot be rebuilt: its arguments are not those of `Exception`."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{code} at {where}")


def raise_fussy() -> None:
    """Raise what cannot be rebuilt."""
    raise FussyError(7, "home")


class HomeHater:
    """Can be rebuilt anywhere but in the process that this number names."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> Any:
        return rebuild_hater, (self.home,)


def rebuild_hater(home: int) -> HomeHater:
    """Rebuild one, but not at home."""
    if os.getpid() == home:
        raise LookupError("not here")
    return HomeHater(home)


def make_hater(home: int) -> HomeHater:
    """Return what cannot be rebuilt at home."""
    return HomeHater(home)


# --- pools and locks ---


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


def with_lock(value: Any) -> Any:
    """Return the value when the lock can be had."""
    with LOCK:
        return value
