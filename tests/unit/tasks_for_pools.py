"""Tasks for pools of processes: functions that a worker finds by name, and what goes wrong in them.

Nothing here imports tercet before it is called: `tests/stress` runs the same tasks in other pools.
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

HERE: dict[str, Any] = {}
LOCK = threading.Lock()


def echo(value: Any) -> Any:
    return value


def nothing(*_: object) -> None: ...


def both(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def who(*_: object) -> int:
    return os.getpid()


def parent_of(*_: object) -> int:
    return os.getppid()


def length(data: bytes) -> int:
    return len(data)


def make(length: int) -> bytes:
    return b"x" * length


def fail(text: str) -> None:
    raise LookupError(text)


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise LookupError(f"no {number}")
    return number


def fail_if_odd(number: int) -> int:
    if number % 2:
        raise LookupError(f"odd: {number}")
    return number


def fail_because(text: str) -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise LookupError(text) from error


# --- waiting for an event that a test makes ---


def hold(started: str, opened: str, value: Any = None) -> Any:
    """Say that it has begun, wait for leave to end, and return the value."""
    with open(started, "wb", buffering=0) as line:
        line.write(os.getpid().to_bytes(8, "little"))
    with open(opened, "rb", buffering=0) as line:
        line.read(1)
    return value


def hold_all(args: tuple[Any, ...]) -> Any:
    return hold(*args)


def hold_and_fail(started: str, opened: str, text: str) -> None:
    hold(started, opened)
    raise LookupError(text)


def say(started: str) -> None:
    """Say that it has begun."""
    with open(started, "wb", buffering=0) as line:
        line.write(os.getpid().to_bytes(8, "little"))


# --- before the first task ---


def remember(key: str, value: Any) -> None:
    HERE[key] = value


def recall(key: str) -> Any:
    return HERE.get(key)


def cannot_begin() -> None:
    raise LookupError("no ground to stand on")


def begin_dead() -> None:
    os._exit(3)


# --- ends ---


class Target:
    """An object with a method to be called elsewhere."""

    def method(self) -> int:
        """Return a number."""
        return 7


def take(seconds: float) -> None:
    """Take a time."""
    time.sleep(seconds)


def take_and_echo(seconds: float, value: Any) -> Any:
    """Take a time, and return the value."""
    time.sleep(seconds)
    return value


def stay(begun: str) -> None:
    """Say that this task has begun, and stay."""
    say(begun)
    while True:
        signal.pause()


def stay_stubbornly(begun: str) -> None:
    """Stay, whoever asks for the end."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    stay(begun)


def stay_and_tidy(begun: str, mark: str) -> None:
    """Stay, and leave a mark when asked for the end."""

    def tidy(*_: object) -> None:
        Path(mark).touch()
        os._exit(0)

    signal.signal(signal.SIGTERM, tidy)
    stay(begun)


def grow(size: int) -> None:
    """Take memory and keep it."""
    HERE["memory"] = b"x" * size


def note(file: str, line: str) -> None:
    """Leave a line in a file."""
    with open(file, "a", encoding="ascii") as log:
        log.write(f"{line}\n")


def kill_self(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def kill_self_at(args: tuple[int, int]) -> int:
    """Die if the first number is the second."""
    if args[0] == args[1]:
        kill_self()
    return args[0]


def ignore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def crash() -> None:
    ctypes.string_at(0)


def leave_at_once(code: int) -> None:
    os._exit(code)


def leave(code: int) -> None:
    sys.exit(code)


def interrupt() -> None:
    raise KeyboardInterrupt


def kill_self_once(mark: str, value: Any) -> Any:
    """Die the first time; the mark tells which time it is."""
    if not Path(mark).exists():
        Path(mark).touch()
        kill_self()
    return value


def send_and_die(length: int) -> bytes:
    """Return a large result, and be killed while it is being sent."""
    begun = threading.Event()

    def end() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    # From here on nobody else runs until the sender gives the interpreter up, which it does when its way out is full.
    sys.setswitchinterval(1000)
    begun.set()
    return b"x" * length


# --- what cannot travel ---


def make_lock(*_: object) -> Any:
    return threading.Lock()


class Fussy(Exception):
    """Does not survive pickling: its arguments are not those of `Exception`."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code


def raise_fussy() -> None:
    raise Fussy(7, "home")


def raise_with_lock() -> None:
    error = LookupError("with a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


class Tracked:
    """Something that can be watched being let go."""


class HomeHater:
    """Can be rebuilt anywhere but in the process that this number names."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> Any:
        return rebuild_hater, (self.home,)


def rebuild_hater(home: int) -> HomeHater:
    if os.getpid() == home:
        raise LookupError("not here")
    return HomeHater(home)


class HomeHatingError(Exception):
    def __init__(self, home: int) -> None:
        super().__init__("far away")
        self.home = home

    def __reduce__(self) -> Any:
        return rebuild_error, (self.home,)


def rebuild_error(home: int) -> HomeHatingError:
    if os.getpid() == home:
        raise LookupError("not here")
    return HomeHatingError(home)


def make_hater(home: int) -> HomeHater:
    return HomeHater(home)


def raise_hater(home: int) -> None:
    raise HomeHatingError(home)


class ExitsWhenRebuilt:
    """Ends the interpreter that rebuilds it, in words: `SystemExit` is no `Exception`."""

    def __reduce__(self) -> Any:
        return sys.exit, (9,)


def make_exit() -> ExitsWhenRebuilt:
    return ExitsWhenRebuilt()


class BadText(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")

    def __reduce__(self) -> Any:
        raise LookupError("no pickle")


def raise_bad_text() -> None:
    raise BadText


# --- pools inside ---


def pool_inside(number: int) -> int:
    from tercet.process_pool import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as executor:
        return sum(executor.map(abs, range(-number, 0)))


def pool_of_pools(number: int) -> int:
    from tercet import Pool

    with Pool(2) as pool:
        return sum(pool.map(abs, range(-number, 0)))


def process_inside(number: int) -> Any:
    import subprocess

    code = f"import signal; print({number}, signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def with_lock(value: Any) -> Any:
    with LOCK:
        return value


def hold_up(told: Any) -> None:
    """Take longer than those behind it are kept waiting, and say so."""
    time.sleep(0.01)
    told.put(None)
    time.sleep(600)
