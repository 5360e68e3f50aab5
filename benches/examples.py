"""How much faster two examples are in processes than in one: sums in plain Python, and a picture by numpy.

    ./x bench examples                       about three minutes
    ./x bench examples --rounds 3 --only sums
    ./x bench examples --write

The work is that of examples/cpu_pool.py and examples/julia_pool.py. It is done in a row, in the standard library's
pool and in tercet's, by turns, in a new order each round; a pool is made anew each time, as a program would that needs
it once. What comes of it is checked. The speed-up is taken within each round.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

from _result import Result, interval, median, say

import tercet

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

CLAIM = "In tercet's processes the examples are faster than in one by nearly as many times as there are cores."
CORES = len(os.sched_getaffinity(0))


class Sums:
    """examples/cpu_pool.py: sums of squares in plain Python."""

    name = "sums"

    def __init__(self):
        import cpu_pool

        self.task, self.items = cpu_pool.timed_sum, [cpu_pool.N // 2] * cpu_pool.TASKS

    def in_a_row(self):
        self._check(list(map(self.task, self.items)))

    def stdlib(self):
        self._pool(multiprocessing.Pool)

    def tercet(self):
        self._pool(tercet.Pool)

    def _pool(self, kind):
        with kind() as pool:
            self._check(pool.map(self.task, self.items, chunksize=1))

    def _check(self, times):
        assert len(times) == len(self.items)
        assert all(spent > 0 for spent in times)


class Picture:
    """examples/julia_pool.py: a Julia set by numpy, in place; in the standard library's pool, bands that come back."""

    name = "picture"

    def __init__(self):
        import julia_pool
        import numpy

        self.julia, self.numpy = julia_pool, numpy
        self.expected = self._blank()
        self._draw(self.expected)

    def in_a_row(self):
        picture = self._blank()
        self._draw(picture)
        self._check(picture)

    def stdlib(self):
        with concurrent.futures.ProcessPoolExecutor() as executor:
            self._check(self.numpy.concatenate(list(executor.map(band_of_picture, range(self.julia.BANDS)))))

    def tercet(self):
        picture = tercet.shared_array((self.julia.SIDE, self.julia.SIDE), "uint8")
        with tercet.ProcessPoolExecutor() as executor:
            self.julia.draw_all(picture, executor)
        self._check(picture)

    def _blank(self):
        return self.numpy.zeros((self.julia.SIDE, self.julia.SIDE), "uint8")

    def _draw(self, picture):
        for band in range(self.julia.BANDS):
            self.julia.draw(picture, band)

    def _check(self, picture):
        assert (picture == self.expected).all()


def band_of_picture(band):
    """Draw a band and return it."""
    import julia_pool
    import numpy

    picture = numpy.zeros((julia_pool.SIDE, julia_pool.SIDE), "uint8")
    julia_pool.draw(picture, band)
    height = julia_pool.SIDE // julia_pool.BANDS
    return picture[band * height : (band + 1) * height]


CASES = {case.name: case for case in (Sums, Picture)}
WAYS = ("in_a_row", "stdlib", "tercet")


def main():
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="the examples to run")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is run")
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    wishes = parser.parse_args()
    result = Result("examples", CLAIM)
    cases = [CASES[name]() for name in wishes.only]
    turns = random.Random(1)
    took = {(case.name, way): [] for case in cases for way in WAYS}
    for number in range(wishes.rounds):
        for case in cases:
            for way in turns.sample(WAYS, len(WAYS)):
                took[case.name, way].append(seconds(getattr(case, way)))
        say(f"round {number + 1} of {wishes.rounds}")
    heads = ["example", "in a row", "standard library", "tercet", "standard library's speed-up", "tercet's speed-up"]
    result.add_table(heads, [row(case.name, took) for case in cases], right=heads[1:])
    result.add(*(f"- {case.name}: {case.__doc__}" for case in cases))
    result.add(
        f"Medians of {wishes.rounds} rounds on {CORES} cores; in brackets the interval that has the true median."
    )
    result.publish(wishes.write)
    return 0


def seconds(work):
    """Run it and return how long that took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(name, took):
    """Return the line of the table for an example."""
    base = took[name, "in_a_row"]
    speedups = [[alone / spent for alone, spent in zip(base, took[name, way], strict=True)] for way in WAYS[1:]]
    times = [f"{median(took[name, way]):.2f} s" for way in WAYS]
    return [name, *times, *("{:.2f} ({:.2f} to {:.2f})".format(median(found), *interval(found)) for found in speedups)]


if __name__ == "__main__":
    sys.exit(main())
