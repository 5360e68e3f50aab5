"""Tasks for worker processes: a module that takes nothing to import, so that a worker has it at once."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from typing import Any

FACTOR = 3
LOCK = threading.Lock()


def stop_at_five(x: int, _: int = 0) -> int:
    if x == 5:
        raise StopIteration
    return x


def triple(x: int) -> int:
    return x * FACTOR


def who(_: object) -> int:
    return os.getpid()


def fail_at(x: int) -> int:
    if x % 10 == 7:
        raise LookupError(f"no {x}")
    return x


class Fussy(Exception):
    """Does not survive pickling: its arguments are not those of `Exception`."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code


def raise_fussy(x: int) -> int:
    raise Fussy(x, "home")


def give_lock(x: int) -> Any:
    return LOCK


class ReadsBackBadly:
    def __reduce__(self) -> Any:
        return (fail_at, (7,))


def give_what_reads_back_badly(x: int) -> Any:
    return ReadsBackBadly()


def die(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_together(names: tuple[str, str]) -> str:
    """Wait until another task has come as well; then one of them takes the process with it."""
    meet(names)
    if names[0] < names[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
    return names[0]


def leave(x: int) -> int:
    os._exit(9)


def sleep_long(x: int) -> int:
    time.sleep(600)
    return x


def is_locked(lock: Any) -> bool:
    return bool(lock.locked())


def is_nested(_: int) -> tuple[str, list[int]]:
    import tercet

    inner = tercet.map(triple, [1, 2, 3])
    results = list(inner)
    return inner.advice.model, results


def prints(x: int) -> int:
    print("task", x)
    return x


def interrupts(x: int) -> int:
    raise KeyboardInterrupt


def exits(x: int) -> int:
    raise SystemExit(x)


def draw(_: int) -> float:
    import random

    return random.random()


def size(data: bytes) -> int:
    return len(data)


def large(count: int) -> bytes:
    return b"x" * count


class Block:
    """Holds memory that travels beside what is pickled, as an array of numpy does."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.memory),)


def invert(block: Block) -> tuple[Block, str]:
    """Change a block in place, and say what its memory is."""
    view = memoryview(block.memory)
    view[:] = bytes(255 - byte for byte in view)
    return block, type(block.memory).__name__


def add(x: int, y: int = 0, *, z: int = 0) -> int:
    return x + y + z


def meet(names: tuple[str, str]) -> str:
    """Return only once another task has come as well: both must run at the same time."""
    mine, other = names
    with open(mine, "w"):
        pass
    until = time.monotonic() + 60
    while not os.path.exists(other):
        if time.monotonic() > until:
            raise TimeoutError(other)
        os.sched_yield()
    return mine


class Settings:
    """What a main program sets before the work begins."""

    depth = 1


SETTINGS = Settings()
MISSING = object()
ALSO_MISSING = MISSING


def settings_seen(_: int) -> tuple[int, bool]:
    return SETTINGS.depth, MISSING is ALSO_MISSING


def third(_: int) -> str:
    import decimal

    return str(decimal.Decimal(1) / 3)


def follow(gate: str) -> str:
    """Return once a file is there; at once where none is named."""
    until = time.monotonic() + 60
    while gate and not os.path.exists(gate):
        if time.monotonic() > until:
            raise TimeoutError(gate)
        time.sleep(0.001)
    return gate


def same(value: Any) -> Any:
    return value
