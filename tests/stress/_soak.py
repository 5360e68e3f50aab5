"""Workers that are killed at random while they work, and pools that come and go: nothing is lost, nothing is kept."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _tasks import echo, kill_self, square

from holdings import Holdings, descendants, wait_for_ends

PATIENCE_S = 120
AHEAD = 200
# What the allocator keeps; a million leaks of 30 bytes are more.
GROWTH_MB = 24.0
WORKERS = 4


class Fault(Exception):
    """What must not happen has happened."""


def pool_of(start: str, workers: int = WORKERS) -> Any:
    import tercet

    return tercet.ProcessPoolExecutor(workers, None if start == "zygote" else multiprocessing.get_context(start))


class Soak:
    """Tasks in flight, a killer, and the books of both."""

    def __init__(self, pool: Any, chance: float, spares_starting: bool, seed: int) -> None:
        self.pool = pool
        self.chance = chance
        self.spares_starting = spares_starting
        self.dice = random.Random(seed)
        self.ahead: deque[tuple[int, Any, Any]] = deque()
        self.killed: Counter[int] = Counter()
        self.dying: set[int] = set()
        self.victims: Counter[int] = Counter()
        self.done = self.lost = self.owed = 0

    def run(self, tasks: int, until: float) -> None:
        """Run so many tasks, or until that time, and account for each."""
        for number in range(tasks):
            self._submit(number)
            if len(self.ahead) >= AHEAD:
                self._settle()
            if time.monotonic() >= until:
                break
        while self.ahead:
            self._settle()

    def _submit(self, number: int) -> None:
        kind = number % 100
        if kind == 50:
            # Longer than the ring: it goes in pieces, and a kill may fall between two of them.
            value = bytes([number % 251]) * 1_500_000
            self.ahead.append((number, self.pool.submit(echo, value), value))
        elif kind % 20 == 10:
            value = bytes([number % 251]) * 10_000
            self.ahead.append((number, self.pool.submit(echo, value), value))
        else:
            self.ahead.append((number, self.pool.submit(square, number), number * number))

    def _settle(self) -> None:
        """Account for the oldest task, and perhaps kill somebody."""
        from tercet.process_pool import WorkerCrashed

        number, future, expected = self.ahead.popleft()
        try:
            # Not `result`: each error would have a traceback that holds this frame, and what the frame holds.
            error = future.exception(PATIENCE_S)
        except TimeoutError:
            raise Fault(f"task {number} hangs after {sum(self.killed.values())} kills") from None
        if isinstance(error, WorkerCrashed):
            self._blame(number, error)
        elif error is not None:
            raise Fault(f"task {number} has an error that is not its own: {type(error).__name__}: {error}") from error
        elif future.result() != expected:
            raise Fault(f"task {number} has a wrong result")
        self.done += 1
        self.owed += self.dice.random() < self.chance
        if self.owed and self._kill():
            self.owed -= 1

    def _blame(self, number: int, death: BaseException) -> None:
        """See that the error names a death that we have caused, and that nobody else has named."""
        words = re.search(r": (\d+), killed by SIGKILL", str(death))
        if words is None:
            raise Fault(f"task {number} has an error that names no death: {death}")
        pid = int(words[1])
        self.victims[pid] += 1
        self.lost += 1
        if self.victims[pid] > self.killed[pid]:
            raise Fault(f"task {number} names process {pid}, which killed {self.victims[pid]} tasks, and died once")

    def _kill(self) -> bool:
        """Kill a worker, whatever it is doing; false if there is none."""
        # Numbers are used again, and a process can be killed twice before it is mourned.
        self.dying &= set(self.pool._processes)
        living = [(worker.pid, worker.tasks) for worker in self.pool.workers() if worker.pid not in self.dying]
        present = [pid for pid, done in living if done > 0 or not self.spares_starting]
        if not present:
            return False
        pid = self.dice.choice(present)
        try:
            life = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            # It is on the list until it has been reaped, so the number was still its own.
            if pid not in self.pool._processes:
                return False
            signal.pidfd_send_signal(life, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(life)
        self.killed[pid] += 1
        self.dying.add(pid)
        return True


def soak(start: str, tasks: int, kills: int, seconds: float, seed: int, spares_starting: bool = True) -> None:
    """Kill workers at random while many tasks run; a first tenth warms the allocator up."""
    chance = kills / tasks
    _soak(start, tasks // 10 + 1, chance, seconds / 10, seed, spares_starting)
    before, began = Holdings.now(), time.monotonic()
    books, during = _soak(start, tasks, chance, seconds, seed + 1, spares_starting)
    took, deaths, lost = time.monotonic() - began, sum(books.killed.values()), books.lost
    print(f"  {books.done} tasks in {took:.1f} s, {deaths} kills, {lost} tasks lost to them", flush=True)
    del books
    trim()
    after = Holdings.now()
    print(f"  before: {before}\n  at the end of the tasks: {during}\n  after: {after}", flush=True)
    faults = after.excess(before, GROWTH_MB)
    if faults:
        raise Fault(f"something is left: {', '.join(faults)}")
    if lost > deaths:
        raise Fault(f"{lost} tasks were lost to {deaths} deaths")


def _soak(
    start: str, tasks: int, chance: float, seconds: float, seed: int, spares_starting: bool
) -> tuple[Soak, Holdings]:
    pool = pool_of(start)
    books = Soak(pool, chance, spares_starting, seed)
    try:
        books.run(tasks, time.monotonic() + seconds)
        during = Holdings.now()
        # A hang here is one, too: the pool is to be usable.
        if list(pool.map(square, range(100), timeout=PATIENCE_S)) != [number * number for number in range(100)]:
            raise Fault("the pool gives wrong results afterwards")
    except BaseException:
        pool.kill_workers()
        raise
    pool.shutdown()
    return books, during


def trim() -> None:
    """Have the C library give back what it keeps for later, where it has a call for that."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


def churn(start: str, pools: int) -> None:
    """Make pools and shut them down, with and without a crash."""
    from tercet.process_pool import WorkerCrashed

    def use(count: int) -> None:
        for number in range(count):
            with pool_of(start, 2) as pool:
                if pool.submit(square, number).result(PATIENCE_S) != number * number:
                    raise Fault("a wrong result")
                if number % 10 == 0 and type(pool.submit(kill_self).exception(PATIENCE_S)) is not WorkerCrashed:
                    raise Fault("a crash without its error")

    use(max(3, pools // 10))
    trim()
    before, began = Holdings.now(), time.monotonic()
    use(pools)
    trim()
    after = Holdings.now()
    print(f"  {pools} pools in {time.monotonic() - began:.1f} s", flush=True)
    print(f"  before: {before}\n  after: {after}", flush=True)
    faults = after.excess(before, GROWTH_MB / 3)
    if faults:
        raise Fault(f"something is left: {', '.join(faults)}")


def orphans(start: str, rounds: int, seed: int) -> None:
    """Kill programs in the middle of their work, and see that their processes end within a second."""
    dice = random.Random(seed)
    here = Path(__file__).parent
    program = f"import sys; sys.path.insert(0, {str(here)!r}); from _soak import work; work({start!r})"
    slowest_s = 0.0
    for number in range(rounds):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(dice.randint(1, 30)):
            if not child.stdout.readline():
                raise Fault(f"program {number} ended by itself: {child.wait()}")
        family = descendants(child.pid)
        child.kill()
        child.wait()
        child.stdout.close()
        began = time.monotonic()
        left = wait_for_ends(family, 1.0)
        slowest_s = max(slowest_s, time.monotonic() - began)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if left or len(family) < 2:
            raise Fault(f"{len(left)} of {len(family)} processes were alive a second after their program was killed")
    print(f"  {rounds} programs killed, the last process ended after at most {slowest_s * 1000:.0f} ms", flush=True)


def work(start: str) -> None:
    """Be a program that works without end, and says so from time to time."""
    pool = pool_of(start)
    results = pool.map(square, iter(int, 1), buffersize=AHEAD)
    step: Callable[[], Any] = results.__next__
    while True:
        for _ in range(50):
            step()
        print(".", flush=True)
