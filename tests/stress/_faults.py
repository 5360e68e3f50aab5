"""The lines of the fault table: one fault each, what it does to a pool, and a word for it.

Run as a program it is one cell of the table: it makes one pool, does one thing to it, and prints the verdict as JSON.
The verdicts are in `_verdict.py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _tasks as T
from _cell import FAULTS, MARK, Program
from _pools import POOLS, Call, Face
from _verdict import PATIENCE_S, Found, Verdict, amid_others, name_of, usable

from holdings import marked, wait_for_ends

LOOK_AHEAD = 20_000


class Trial:
    """One pool, and where things happen to it."""

    def __init__(self, face: str, start: str, folder: Path) -> None:
        self.face, self.start, self.folder = face, start, folder

    def open(self, workers: int = 2) -> Face:
        return POOLS[self.face](workers, self.start)

    def program(self, name: str) -> Program:
        """Start a program of its own that uses a pool."""
        command = [sys.executable, FAULTS, "--program", name, self.face, self.start, str(self.folder)]
        return Program(command)


# --- the lines ---------------------------------------------------------------------------------------------------

LINES: dict[str, Callable[[Trial], Found]] = {}


def line(fn: Callable[[Trial], Found]) -> Callable[[Trial], Found]:
    LINES[fn.__name__] = fn
    return fn


@line
def sigkill(trial: Trial) -> Found:
    """SIGKILL in a task"""
    return amid_others(trial.open(), T.kill_self)


@line
def sigsegv(trial: Trial) -> Found:
    """SIGSEGV in a task"""
    return amid_others(trial.open(), T.crash)


@line
def os_exit(trial: Trial) -> Found:
    """`os._exit` in a task"""
    return amid_others(trial.open(), T.leave_at_once, 7)


@line
def sys_exit(trial: Trial) -> Found:
    """`sys.exit` in a task"""
    return amid_others(trial.open(), T.leave, 7, wants=(SystemExit,))


@line
def keyboard_interrupt(trial: Trial) -> Found:
    """`KeyboardInterrupt` in a task"""
    return amid_others(trial.open(), T.interrupt, wants=(KeyboardInterrupt,))


@line
def large_result(trial: Trial) -> Found:
    """SIGKILL while 256 MB are sent"""
    return amid_others(trial.open(), T.send_and_die, 256 << 20)


@line
def out_of_memory(trial: Trial) -> Found:
    """killed as memory runs out, simulated"""
    counter = trial.folder / "memory.events"
    counter.write_text("low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\n")
    if trial.face == "tercet":
        from tercet import oom

        oom.COUNTERS = (str(counter),)
    return amid_others(trial.open(), T.run_out_of_memory, str(counter), says="memory")


@line
def idle_worker(trial: Trial) -> Found:
    """an idle worker is killed"""
    pool = trial.open()
    first = pool.run([(T.who,) for _ in range(10)], PATIENCE_S)
    pids = sorted({outcome.value for outcome in first})
    os.kill(pids[0], signal.SIGKILL)
    # One that is not reaped yet counts as ended: a descriptor of its life can be read.
    wait_for_ends(pids[:1], PATIENCE_S)
    return usable(pool)


@line
def argument(trial: Trial) -> Found:
    """an argument that cannot be pickled"""
    return amid_others(trial.open(), T.echo, threading.Lock())


@line
def result(trial: Trial) -> Found:
    """a result that cannot be pickled"""
    return amid_others(trial.open(), T.make_lock)


@line
def exception(trial: Trial) -> Found:
    """an exception that cannot be pickled"""
    return amid_others(trial.open(), T.raise_with_lock)


@line
def exception_rebuilt(trial: Trial) -> Found:
    """an exception that cannot be rebuilt here"""
    return amid_others(trial.open(), T.raise_fussy)


@line
def result_rebuilt(trial: Trial) -> Found:
    """a result that cannot be rebuilt here"""
    return amid_others(trial.open(), T.make_hater, os.getpid())


class Endless(Exception):
    """More was drawn than anybody can use."""


@line
def endless(trial: Trial) -> Found:
    """an endless generator into `map`"""
    drawn = 0

    def numbers() -> Iterator[int]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            if drawn > LOOK_AHEAD:
                raise Endless
            yield number

    pool = trial.open()
    try:
        found = list(itertools.islice(pool.map(T.square, numbers()), 100))
    except Endless:
        return Verdict.UNBOUNDED, f"{drawn:,} drawn before the first result"
    if found != [number * number for number in range(100)]:
        return Verdict.STALE, ""
    until = time.monotonic() + 1
    while drawn < LOOK_AHEAD and time.monotonic() < until:
        # There is no event for what must not happen: whoever reads on does so now.
        time.sleep(0.01)
    return (Verdict.UNBOUNDED if drawn > 5_000 else Verdict.RIGHT), f"{drawn:,} drawn for 100 results"


@line
def too_late(trial: Trial) -> Found:
    """a task that must time out"""
    pool = trial.open(1)
    pool.run([(T.square, 1)], PATIENCE_S)
    outcome = pool.limited((T.take_and_echo, 60, 1), 0.5)
    if outcome.error is None:
        return Verdict.STALE, "a value"
    again = pool.run([(T.square, 3)], PATIENCE_S / 2)[0]
    detail = name_of(outcome.error)
    if again.hangs:
        return Verdict.BUSY, f"{detail}, its worker stays busy"
    return (Verdict.ERROR, detail) if again.value == 9 else (Verdict.BROKEN, f"{detail}, then {name_of(again.error)}")


@line
def pool_inside(trial: Trial) -> Found:
    """a pool inside a worker"""
    outcome = trial.open().run([(T.pool_inside, trial.face, trial.start, 7)], 2 * PATIENCE_S)[0]
    if outcome.hangs:
        return Verdict.HANG, ""
    if outcome.error is not None:
        return Verdict.REFUSED, f"{name_of(outcome.error)}: {outcome.error!s:.60}"
    return (Verdict.RIGHT, "") if outcome.value == 49 else (Verdict.STALE, "")


@line
def held_lock(trial: Trial) -> Found:
    """made while a thread holds a lock"""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with T.LOCK:
            held.set()
            free.wait()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    outcomes = trial.open().run([(T.with_lock, number) for number in range(4)], PATIENCE_S)
    free.set()
    if any(outcome.hangs for outcome in outcomes):
        return Verdict.HANG, "the lock was copied locked"
    return (Verdict.RIGHT, "") if [outcome.value for outcome in outcomes] == [0, 1, 2, 3] else (Verdict.LOST, "")


@line
def late_result(trial: Trial) -> Found:
    """a late result of an aborted call"""
    pool = trial.open()
    outcomes = pool.run([(T.fail_first, number) for number in range(4)], PATIENCE_S) if hasattr(pool, "joblib") else []
    if not outcomes:
        results = pool.map(T.fail_first, range(4))
        try:
            next(iter(results))
        except LookupError:
            pass
    return usable(pool)


@line
def exit_with_work(trial: Trial) -> Found:
    """the program ends with work pending"""
    program = trial.program("exit")
    code, _, err = program.end(2 * PATIENCE_S)
    if code is None:
        return Verdict.HANG, "at the end of the program"
    done = sum((trial.folder / str(number)).exists() for number in range(20))
    if code or "Traceback" in err:
        return Verdict.BROKEN, f"exit code {code}, {(err.strip().splitlines() or [''])[-1]:.60}"
    return (Verdict.RIGHT if done == 20 else Verdict.LOST), f"{done}/20 tasks done"


@line
def ctrl_c(trial: Trial) -> Found:
    """Ctrl-C during `map`"""
    program = trial.program("stay")
    wait_for_files(trial.folder, 2)
    os.killpg(program.process.pid, signal.SIGINT)
    code, out, err = program.end(2 * PATIENCE_S)
    if code is None:
        return Verdict.HANG, "after Ctrl-C"
    tracebacks = err.count("Traceback")
    if code or out != "interrupted\n" or tracebacks:
        return Verdict.BROKEN, f"exit code {code}, {tracebacks} tracebacks"
    return Verdict.RIGHT, ""


@line
def parent_killed(trial: Trial) -> Found:
    """the program is killed"""
    program = trial.program("stay")
    wait_for_files(trial.folder, 2)
    family = [pid for pid in marked(os.environ[MARK]) if pid != program.process.pid]
    program.kill()
    left = wait_for_ends(family, 1.0)
    if left:
        return Verdict.ORPHAN, f"{len(left)} of {len(family)} after a second"
    return Verdict.RIGHT, f"{len(family)} ended"


def wait_for_files(folder: Path, count: int) -> None:
    """Wait until so many tasks have left their mark."""
    until = time.monotonic() + 4 * PATIENCE_S
    while len(list(folder.iterdir())) < count:
        if time.monotonic() > until:
            raise TimeoutError("the tasks do not begin")
        time.sleep(0.01)


# --- programs of their own ---------------------------------------------------------------------------------------


def end_with_work(trial: Trial) -> None:
    """Submit, and fall off the end."""
    pool = trial.open()
    calls: list[Call] = [(T.touch_later, str(trial.folder / str(number))) for number in range(20)]
    if hasattr(pool, "joblib"):
        pool.run(calls, PATIENCE_S)
        return
    KEPT.append([pool, *(pool._begin(call) for call in calls)])


KEPT: list[Any] = []


def stay(trial: Trial) -> None:
    """Run tasks that do not end, until Ctrl-C."""
    pool = trial.open()
    try:
        for _ in pool.map(T.begin_and_stay, [str(trial.folder)] * 2):
            pass
    except KeyboardInterrupt:
        abandon(pool)
        print("interrupted")


def abandon(pool: Face) -> None:
    """Let go of a pool after Ctrl-C as its users do: by leaving its `with` block."""
    inner: Any = getattr(pool, "pool", None)
    try:
        inner.__exit__(*sys.exc_info())
    except KeyboardInterrupt:
        pass


PROGRAMS = {"exit": end_with_work, "stay": stay}


# --- one cell ----------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", choices=list(PROGRAMS))
    parser.add_argument("words", nargs="+")
    request = parser.parse_args(arguments)
    # A shell that runs the table in the background has its programs ignore Ctrl-C, and they hand that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.program:
        face, start, folder = request.words
        PROGRAMS[request.program](Trial(face, start, Path(folder)))
        return 0
    name, face, start = request.words
    with tempfile.TemporaryDirectory() as folder:
        try:
            verdict, detail = LINES[name](Trial(face, start, Path(folder)))
        except ModuleNotFoundError as missing:
            verdict, detail = Verdict.ABSENT, f"`{missing.name}` is not installed"
        print(json.dumps([verdict, detail]), flush=True)
    # A pool that hangs would hold up the end, and that is no part of the line.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
