"""What tercet.map loses to the best engine, written by hand, for each kind of work.

    ./x bench map_auto                       about three minutes
    ./x bench map_auto --rounds 3 --only sums --only letters
    ./x bench map_auto --write

The workloads are those of tests/map/workloads. Each is run by the plain loop, by the standard library's pools in
several sizes, and by tercet.map with nothing but the function and the items; coroutines by asyncio.gather. They take
turns, in a new order each round, and each makes its pool anew, as a program would that needs it once. The medians are
compared. The last column is tercet.map as the first thing that a new interpreter does.
"""

import argparse
import asyncio
import importlib.util
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from _result import Result, interval, median, say

import tercet

CLAIM = "Without being told anything, `tercet.map` takes at most 1.5 times as long as the best engine written by hand."
WORKLOADS = Path(__file__).resolve().parents[1] / "tests" / "map" / "workloads"
FIRST_RUNS = 5
CORES = len(os.sched_getaffinity(0))


def load(name):
    """Import a workload from its file."""
    spec = importlib.util.spec_from_file_location(name, WORKLOADS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Stage:
    """A workload, with its server where it has one."""

    def __init__(self, name):
        self.name = name
        self.module = load(name)
        self.task = self.module.task
        self._place, self._end = self.module.setup() if hasattr(self.module, "setup") else (None, None)
        self.advice = None

    def items(self):
        """Fresh items."""
        return self.module.items(self._place) if self._end else self.module.items()

    def close(self):
        """End the server."""
        if self._end:
            self._end()

    def time(self, way):
        """Run all of it one way and return the seconds, once its results have been checked."""
        items = self.items()
        started = time.perf_counter()
        results = way(self, items)
        seconds = time.perf_counter() - started
        if not self.module.check(results):
            raise SystemExit(f"wrong results of `{self.name}`")
        return seconds


def plain(stage, items):
    """The loop that everybody writes first."""
    return [stage.task(item) for item in items]


def threads(count):
    """A pool of so many threads; 0 stands for as many as items, up to 256."""

    def way(stage, items):
        with ThreadPoolExecutor(count or min(len(items), 256)) as pool:
            return list(pool.map(stage.task, items))

    return way


def processes(chunks):
    """A pool of as many processes as processors; so many chunks for each, or one item at a time."""

    def way(stage, items):
        size = max(1, len(items) // (CORES * chunks)) if chunks else 1
        with ProcessPoolExecutor(CORES) as pool:
            return list(pool.map(stage.task, items, chunksize=size))

    return way


def gather(stage, items):
    """All coroutines at once."""

    async def main():
        return await asyncio.gather(*(stage.task(item) for item in items))

    return asyncio.run(main())


def by_map(stage, items):
    """The one that is measured."""
    results = tercet.map(stage.task, items)
    found = list(results)
    stage.advice = results.advice
    return found


POOLS = {
    "plain loop": plain,
    "8 threads": threads(8),
    "32 threads": threads(32),
    "a thread per item": threads(0),
    f"{CORES} threads": threads(CORES),
    f"{CORES} processes": processes(0),
    f"{CORES} processes, in chunks": processes(4),
}


def rivals(stage):
    """The ways that can run a workload and give the right results."""
    if asyncio.iscoroutinefunction(stage.task):
        return {"asyncio.gather": gather}
    shares = getattr(stage.module, "SHARES_MEMORY", False)
    known = {name: way for name, way in POOLS.items() if not (shares and "processes" in name)}
    if len(stage.items()) > 5000:
        # A pool that takes them one by one is no rival there, and slow.
        known = {name: way for name, way in known.items() if name in ("plain loop", f"{CORES} processes, in chunks")}
    return known


def measure(name, rounds):
    """Let all ways take turns; return their times, the advice, and the times of a first use."""
    stage = Stage(name)
    ways = {**rivals(stage), "tercet.map": by_map}
    times = {way: [] for way in ways}
    try:
        for number in range(rounds + 1):
            order = list(ways)
            random.shuffle(order)
            for way in order:
                seconds = stage.time(ways[way])
                if number:
                    times[way].append(seconds)
    finally:
        stage.close()
    return times, stage.advice, [first_use(name) for _ in range(FIRST_RUNS)]


def first_use(name):
    """The time of a map in an interpreter of its own that has imported tercet and nothing else of it."""
    words = [sys.executable, __file__, "--first", name]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def row_of(name, times, advice, first):
    """One line of the table."""
    medians = {way: median(seconds) for way, seconds in times.items()}
    ours = medians.pop("tercet.map")
    best = min(medians, key=medians.get)
    low, high = interval(times["tercet.map"])
    alone = medians.get("plain loop")
    return [
        name,
        milliseconds(alone) if alone else "",
        best,
        milliseconds(medians[best]),
        advice.model if advice.model == "plain" else f"{advice.model} {advice.workers}",
        milliseconds(ours),
        f"{milliseconds(low)}-{milliseconds(high)}",
        f"{ours / medians[best]:.2f}",
        milliseconds(median(first)),
    ]


def milliseconds(seconds):
    """Three digits at most."""
    value = 1000 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


HEADS = ["workload", "plain", "best by hand", "ms", "tercet.map chose", "ms ", "95 %", "ratio", "first use"]


def main():
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", action="append", choices=sorted(path.stem for path in WORKLOADS.glob("*.py")))
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    parser.add_argument("--first", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first:
        stage = Stage(options.first)
        print(stage.time(by_map))
        stage.close()
        return
    result = Result("map_auto", CLAIM)
    rows = []
    for name in options.only or sorted(path.stem for path in WORKLOADS.glob("*.py")):
        say(f"{name} ...")
        rows.append(row_of(name, *measure(name, options.rounds)))
        say("  " + " | ".join(rows[-1]))
    result.add(
        f"Medians of {options.rounds} rounds, in milliseconds; a first use is the median of {FIRST_RUNS} interpreters."
    )
    result.add_table(HEADS, rows, right=("plain", "ms", "ms ", "ratio", "first use"))
    ratios = [float(row[HEADS.index("ratio")]) for row in rows]
    result.add(f"Median ratio {median(ratios):.2f}, worst {max(ratios):.2f}.")
    result.publish(options.write)


if __name__ == "__main__":
    main()
