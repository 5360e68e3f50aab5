"""Ten million tasks, churn, cancel storms, forks and ends with work pending, and the racy tests a thousand times.

Each part has a bound of its own and ends by itself; the first that fails ends the run with exit code 1.

    ./x stress threads                 everything: about half an hour
    ./x stress threads --scale 0.01    a hundredth of it
    ./x stress threads forks ends      these parts alone
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path

import tercet

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120
# What the allocator keeps and threads leave behind; ten million leaks of one byte are more.
GROWTH_MB = 8.0
RACY = "race or meet or told or waits or fork or idle or first or shutdown or recursion or chain or circle or delivered"
ROUNDS = 20
"""How many rounds of the racy tests one interpreter runs."""
ENDS = (
    "[executor.submit(time.sleep, 0.0001) for _ in range(200)]",
    "found = executor.map(lambda _: time.sleep(0.0001), range(200))",
    "[executor.submit(lambda: executor.submit(int).result()) for _ in range(200)]",
)


def resident_mb() -> float:
    """Return the memory of this process that is in RAM."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def stay_flat(name: str, act: Callable[[int], None], count: int) -> None:
    """Do something often, and fail if memory has grown; the first tenth is to warm up."""
    act(count // 10)
    before, began = resident_mb(), time.monotonic()
    act(count)
    grown, took = resident_mb() - before, time.monotonic() - began
    print(f"  {name}: {count} in {took:.1f} s, {before:.1f} MB and {grown:+.1f} MB", flush=True)
    if grown > GROWTH_MB:
        raise SystemExit(f"error: memory has grown by {grown:.1f} MB in `{name}`")


def submit_many(count: int) -> None:
    with tercet.ThreadPoolExecutor(4) as pool:
        ahead: deque[tercet.Future[int]] = deque()
        for number in range(count):
            ahead.append(pool.submit(abs, -number))
            if len(ahead) == 1000:
                expected = number - 999
                if ahead.popleft().result(PATIENCE_S) != expected:
                    raise SystemExit(f"error: a wrong result at {expected}")
        tercet.wait(ahead, PATIENCE_S)


def map_many(count: int) -> None:
    with tercet.ThreadPoolExecutor(4) as pool:
        for expected, found in enumerate(pool.map(abs, iter(range(count)), buffersize=1000)):
            if found != expected:
                raise SystemExit(f"error: `{found}` in the place of `{expected}`")


def churn(count: int) -> None:
    for number in range(count):
        pool = tercet.ThreadPoolExecutor(3, idle_timeout=(None, 0.0001)[number % 2])
        futures = [pool.submit(abs, -1) for _ in range(3)]
        if number % 3:
            pool.shutdown(wait=number % 3 == 1, cancel_futures=number % 2 == 1)
        del pool
        tercet.wait(futures, PATIENCE_S)


def cancel_storms(count: int) -> None:
    with tercet.ThreadPoolExecutor(4) as pool:
        for _ in range(count):
            futures = [pool.submit(abs, -1) for _ in range(100)]
            random.shuffle(futures)
            cancelled = sum(future.cancel() for future in futures)
            results = sum(future.result(PATIENCE_S) for future in futures if not future.cancelled())
            if cancelled + results != 100:
                raise SystemExit(f"error: {cancelled} cancelled and {results} done of 100")


def tasks(scale: float) -> None:
    """Ten million tasks, by `submit` and by `map`, in flat memory."""
    stay_flat("submit", submit_many, int(5_000_000 * scale))
    stay_flat("map", map_many, int(5_000_000 * scale))


def pools(scale: float) -> None:
    """Pools that come and go, and cancelling against workers."""
    stay_flat("churn of pools", churn, int(20_000 * scale))
    stay_flat("cancel storms", cancel_storms, int(20_000 * scale))


def forks(scale: float) -> None:
    """Forks in the middle of everything, with threads that rest, leave, work and wait."""
    # Python 3.12 and later warn of exactly what is tried here.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    count, stop = int(2_000 * scale), threading.Event()
    pool = tercet.ThreadPoolExecutor(4, idle_timeout=0.0005)

    def keep_busy() -> None:
        while not stop.is_set():
            list(pool.map(abs, range(10)))
            pool.submit(lambda: pool.submit(abs, -1).result()).result()

    busy = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in busy:
        thread.start()
    try:
        for number in range(count):
            check_child(pool, number)
    finally:
        stop.set()
        for thread in busy:
            thread.join()
        pool.shutdown()
    print(f"  {count} forks", flush=True)


def check_child(pool: tercet.ThreadPoolExecutor, number: int) -> None:
    """Fork; the child uses the pool and another one, and ends in time."""
    left = pool.submit(abs, -7)
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        code = 1
        try:
            try:
                left.result()
            except concurrent.futures.BrokenExecutor:
                pass
            is_well = pool.submit(abs, -1).result() == 1 and list(pool.map(abs, [-1, 2])) == [1, 2]
            pool.shutdown()
            code = 0 if is_well else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code or left.result(PATIENCE_S) != 7:
        raise SystemExit(f"error: child {number} ended with exit code {code}")


def ends(scale: float) -> None:
    """Interpreters that end with work pending: all of it is done, or none of it is waited for."""
    count = int(1_000 * scale)
    for number in range(count):
        is_daemon = number % 2 == 0
        head = f"import sys, time, tercet; executor = tercet.ThreadPoolExecutor(8, daemon={is_daemon})"
        program = f"{head}\n{ENDS[number // 2 % len(ENDS)]}\nsys.exit(7)"
        command = [sys.executable, "-c", program]
        found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if (found.returncode, found.stderr) != (7, ""):
            raise SystemExit(f"error: exit code {found.returncode} at the end of\n{program}\n{found.stderr}")
    print(f"  {count} ends", flush=True)


def races(scale: float) -> None:
    """The racy unit tests, again and again."""
    files = [str(ROOT / "tests" / "unit" / f"test_{name}.py") for name in ("futures", "thread_pool")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "-k", RACY]
    count = max(1, int(1_000 * scale))
    # A shell lets its background jobs ignore Ctrl-C, which some of the tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for done in range(0, count, ROUNDS):
        rounds = min(ROUNDS, count - done)
        words = [*command, "--keep-duplicates", *files * rounds]
        found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        if found.returncode:
            raise SystemExit(f"error: a racy test failed in the rounds from {done}\n{found.stdout[-4000:]}")
        print(f"  {done + rounds} rounds", flush=True)
    print(f"  {count} rounds of the racy tests", flush=True)


PARTS = {"tasks": tasks, "pools": pools, "forks": forks, "ends": ends, "races": races}


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return the exit code."""
    parser = argparse.ArgumentParser(prog="./x stress threads", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of everything")
    request = parser.parse_args(arguments)
    unknown = [name for name in request.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part named `{unknown[0]}`")
    for name in request.parts or PARTS:
        print(f"{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}", flush=True)
        PARTS[name](request.scale)
    print("nothing was lost, and nothing was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
