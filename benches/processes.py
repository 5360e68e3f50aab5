"""What a task costs in a pool of processes, beside the pools that people use today.

    ./x bench processes --rounds 3            less than ten minutes
    ./x bench processes --only latency submit
    ./x bench processes --write

How it is measured
------------------
1. Each case runs in a process of its own for each pool and each round; the pools take turns, in a new order each round.
2. The cases check what comes back. The figure of a pool is the median of the rounds; beside it stands its ratio to the
   standard library's, taken within each round.
3. `limit` is what two processes can do at best over a bare pipe or alone, where that means something.
4. Where a pool would take more than a second for all tasks of a case, it is given as many as take that long.
5. Arrays are read by whoever gets them, a word of each page. Warm means that the first two of a size do not count;
   of a pool for which those take three seconds, all count. Memory is taken from the system more slowly than it is
   copied, so the first ones tell more about the system than about the pool.
6. Cases of large things leave out pools that send bytes the way others do that are in.

The pools, and which of them are rivals that have to be installed, are in `_pools.py`; how memory is weighed, in
`_tree.py`.
"""

import functools
import multiprocessing
import os
import pickle
import random
import sys
import time

from _contest import Case, main
from _pools import POOLS
from _tree import Tree

CLAIM = (
    "tercet.ProcessPoolExecutor takes a task to another process and its result back in a fraction of the time that "
    "today's pools take."
)


MB = 1 << 20
PAGE_WORDS = 512


def identity(value=None):
    """Return what is given."""
    return value


def burn(seconds):
    """Compute for so long by the processor's clock."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def fail(number):
    """Raise."""
    raise LookupError(number)


def read(array):
    """Return the sum of a word of each page."""
    return int(array[::PAGE_WORDS].sum())


MADE = {}
"""The array that a worker returns, by its length: made once."""


def make(words, number):
    """Return an array of so many words that begins and ends with the number."""
    import numpy

    if words not in MADE:
        MADE[words] = numpy.ones(words, "q")
    MADE[words][0] = MADE[words][-1] = number
    return MADE[words]


# --- the cases --------------------------------------------------------------------------------------------------


class Pair(Case):
    """Two workers."""

    workers = 2


class Cold(Pair):
    """From nothing to the first result of a pool of two."""

    name, unit, is_better_high = "cold", "ms", False

    def run(self, pool):
        # The pool was made just now; its processes start with the first task.
        started = time.perf_counter()
        assert pool.submit(identity, 1).result() == 1
        return 1000 * (time.perf_counter() - started)


class ColdAgain(Pair):
    """The same of a second pool in the program, made after the first has ended; to make it counts."""

    name, unit, is_better_high = "cold_again", "ms", False

    def run(self, pool):
        # A program that makes pools again and again gives them the same work.
        assert pool.submit(identity, 1).result() == 1
        pool.close()
        started = time.perf_counter()
        again = type(pool)(self.workers)
        assert again.submit(identity, 1).result() == 1
        took = time.perf_counter() - started
        again.close()
        return 1000 * took


class Latency(Pair):
    """`submit(...).result()`, one at a time: the median."""

    name, unit, is_better_high, count = "latency", "us p50", False, 3_000

    def run(self, pool):
        warm(pool)
        times = []
        for number in range(self.count):
            started = time.perf_counter()
            result = pool.submit(identity, number).result()
            times.append(time.perf_counter() - started)
            assert result == number
        return 1e6 * sorted(times)[len(times) // 2]

    def limit(self):
        """A byte there and back over a bare pipe of `multiprocessing`."""
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=_echo, args=(there,), daemon=True)
        process.start()
        times = []
        for _ in range(self.count):
            started = time.perf_counter()
            here.send_bytes(b"x")
            here.recv_bytes()
            times.append(time.perf_counter() - started)
        process.kill()
        process.join()
        return 1e6 * sorted(times)[len(times) // 2]


def _echo(connection):
    while True:
        connection.send_bytes(connection.recv_bytes())


class Many(Pair):
    """A number of tasks, all of them or as many as fit into a second."""

    unit, count, seconds_each = "tasks/s", 100_000, 1.0

    def run(self, pool):
        self.work(pool, 100)
        pilot = self.work(pool, 1000)
        count = int(min(self.count, max(1000, 1000 * self.seconds_each / pilot)))
        return count / self.work(pool, count)

    def work(self, pool, count):
        """Have so many tasks done; return how long it took."""
        raise NotImplementedError


class Submit(Many):
    """100 k tiny tasks submitted, then all results."""

    name = "submit"

    def work(self, pool, count):
        started = time.perf_counter()
        futures = [pool.submit(identity, number) for number in range(count)]
        total = sum(future.result() for future in futures)
        took = time.perf_counter() - started
        assert total == sum(range(count))
        return took


class Map(Many):
    """`map` over 100 k tiny tasks, chunks of one."""

    name, needs = "map", "map"

    def work(self, pool, count):
        started = time.perf_counter()
        results = list(pool.map(identity, range(count)))
        took = time.perf_counter() - started
        assert results == list(range(count))
        return took


class Spread(Pair):
    """`map` over 100 k tiny tasks, in the chunks that suit the pool."""

    name, unit, count, needs = "spread", "tasks/s", 100_000, "spread"

    def run(self, pool):
        list(pool.spread(identity, range(1000)))
        started = time.perf_counter()
        results = list(pool.spread(identity, range(self.count)))
        took = time.perf_counter() - started
        assert results == list(range(self.count))
        return self.count / took

    def limit(self):
        """The calls alone, on two processors, and nothing sent."""
        started = time.perf_counter()
        list(map(identity, range(self.count)))
        return self.workers * self.count / (time.perf_counter() - started)


class Uneven(Pair):
    """1000 tasks of very different length, chunks of one, as a share of the ideal time on two processors."""

    name, unit, needs = "uneven", "% of ideal", "map"

    def run(self, pool):
        list(pool.map(identity, range(100)))
        choose = random.Random(1)
        lengths = [choose.expovariate(1000) for _ in range(1000)]
        started = time.perf_counter()
        list(pool.map(burn, lengths))
        return 100 * sum(lengths) / self.workers / (time.perf_counter() - started)


class Echo(Pair):
    """1000 times 100 KB there and back."""

    name, unit, needs, size = "bytes", "MB/s", "map", 100_000

    def run(self, pool):
        list(pool.map(identity, range(100)))
        packet = os.urandom(self.size)
        started = time.perf_counter()
        results = list(pool.map(identity, [packet] * 1000))
        took = time.perf_counter() - started
        assert all(result == packet for result in results)
        return 2 * 1000 * self.size / took / 1e6


class Large(Pair):
    """64 MB there and back, once."""

    name, unit, size = "large", "MB/s", 64_000_000
    rivals = ("stdlib", "mp.Pool", "loky", "pebble", "mpire")

    def run(self, pool):
        warm(pool)
        packet = os.urandom(self.size)
        started = time.perf_counter()
        result = pool.submit(identity, packet).result()
        took = time.perf_counter() - started
        assert result == packet
        return 2 * self.size / took / 1e6


class Arrays(Pair):
    """Arrays of numpy, one at a time, one way: the size by the median of the times."""

    unit, needs, is_warm = "MB/s", "map", True
    megabytes, seconds_at_most = 1, 3
    rivals = ("stdlib", "mp.Pool", "loky", "pebble", "joblib")

    def run(self, pool):
        list(pool.map(identity, range(100)))
        times = []
        while len(times) < self.count() and sum(times) < self.seconds_at_most:
            times.append(self.send(pool, len(times)))
        counted = (times[2:] if self.is_warm else None) or times
        return self.megabytes * MB / sorted(counted)[len(counted) // 2] / 1e6

    def count(self):
        return {1: 100, 64: 6, 512: 4}[self.megabytes]

    def send(self, pool, number):
        """Have one array sent; return how long it took."""
        raise NotImplementedError

    @property
    def words(self):
        return self.megabytes * MB // 8

    def limit(self):
        """One copy of it, to where memory is warm."""
        import numpy

        source, target = numpy.ones(self.words, "q"), numpy.ones(self.words, "q")
        started = time.perf_counter()
        for _ in range(self.count()):
            numpy.copyto(target, source)
        return self.megabytes * MB * self.count() / (time.perf_counter() - started) / 1e6


class ArrayIn(Arrays):
    """An argument of 1 MB, each another array, warm."""

    name = "array_in"

    def send(self, pool, number):
        import numpy

        array = numpy.full(self.words, number, "q")
        started = time.perf_counter()
        (total,) = pool.map(read, [array])
        took = time.perf_counter() - started
        assert total == number * (self.words // PAGE_WORDS)
        return took


class ArrayIn64(ArrayIn):
    """The same of 64 MB."""

    name, megabytes = "array_in_64", 64
    rivals = ("stdlib", "loky", "joblib")


class ArrayIn512(ArrayIn):
    """The same of 512 MB."""

    name, megabytes = "array_in_512", 512
    rivals = ("stdlib", "loky", "joblib")

    def count(self):
        return 3


class ArrayOut(Arrays):
    """A result of 1 MB, with the next asked for when the last is gone, warm."""

    name = "array_out"

    def send(self, pool, number):
        started = time.perf_counter()
        (array,) = pool.map(functools.partial(make, self.words), [number])
        total = read(array)
        took = time.perf_counter() - started
        assert (array[0], array[-1]) == (number, number)
        assert total == self.words // PAGE_WORDS - 1 + number
        self.keep(array)
        return took

    def keep(self, array):
        """Do something with a result that was looked at."""


class ArrayOut64(ArrayOut):
    """The same of 64 MB."""

    name, megabytes = "array_out_64", 64
    rivals = ArrayIn64.rivals


class ArrayOut512(ArrayOut):
    """The same of 512 MB."""

    name, megabytes = "array_out_512", 512
    rivals = ArrayIn512.rivals
    count = ArrayIn512.count


class ArrayKept(ArrayOut64):
    """Results of 64 MB that are all kept, so that each needs fresh pages."""

    name, is_warm = "array_kept", False

    def __init__(self):
        self.kept = []

    def keep(self, array):
        self.kept.append(array)


class Objects(Pair):
    """A list of 10^6 pairs of a number and a text, there and back."""

    name, unit, is_better_high, needs = "objects", "ms", False, "map"
    rivals = ("stdlib", "loky", "joblib")

    def run(self, pool):
        list(pool.map(identity, range(100)))
        given = self.given()
        started = time.perf_counter()
        (back,) = pool.map(identity, [given])
        took = time.perf_counter() - started
        assert back == given
        return 1000 * took

    def given(self):
        return [(number, str(number)) for number in range(1_000_000)]

    def limit(self):
        """To pickle and unpickle it twice."""
        given = self.given()
        started = time.perf_counter()
        back = pickle.loads(pickle.dumps(given, 5))
        again = pickle.loads(pickle.dumps(back, 5))
        took = time.perf_counter() - started
        assert again == given
        return 1000 * took


class Records(Objects):
    """200 k records, each a dictionary with a list and a tuple in it, there and back."""

    name = "records"

    def given(self):
        return [{"id": number, "tags": ["a", "b"], "at": (number, number + 1)} for number in range(200_000)]


class Peak(Pair):
    """The most memory of all processes while one array of 512 MB is an argument, the array itself included."""

    name, unit, is_better_high, needs = "peak", "MB", False, "map"
    rivals = ("stdlib", "loky", "joblib")

    def run(self, pool):
        import numpy

        list(pool.map(identity, range(100)))
        words = 512 * MB // 8
        with Tree() as tree:
            array = numpy.ones(words, "q")
            (total,) = pool.map(read, [array])
        assert total == words // PAGE_WORDS
        return tree.peak_mb

    def limit(self):
        """The array, and one copy of it."""
        return 2 * 512 * MB / 1e6


class Failures(Many):
    """10 k tasks that raise."""

    name, count = "errors", 10_000

    def work(self, pool, count):
        started = time.perf_counter()
        futures = [pool.submit(fail, number) for number in range(count)]
        seen = 0
        for future in futures:
            try:
                future.result()
            except LookupError:
                seen += 1
        took = time.perf_counter() - started
        assert seen == count
        return took


class Scaling(Pair):
    """40 tasks of 50 ms of computing on two processors, as a share of the ideal time."""

    rivals = ("stdlib", "mp.Pool", "loky", "pebble", "joblib")
    name, unit, needs = "scaling", "% of ideal", "map"

    def run(self, pool):
        list(pool.map(identity, range(100)))
        started = time.perf_counter()
        list(pool.map(burn, [0.05] * 40))
        return 100 * 40 * 0.05 / self.workers / (time.perf_counter() - started)


class End(Pair):
    """Shutting a pool of two down."""

    rivals = ("stdlib", "mp.Pool", "loky", "pebble", "billiard")
    name, unit, is_better_high = "end", "ms", False

    def run(self, pool):
        warm(pool)
        started = time.perf_counter()
        pool.close()
        return 1000 * (time.perf_counter() - started)


CASES = {
    case.name: case
    for case in (
        *(Cold, ColdAgain, Latency, Submit, Map, Spread, Uneven, Echo, Large),
        *(ArrayIn, ArrayIn64, ArrayIn512, ArrayOut, ArrayOut64, ArrayOut512, ArrayKept),
        *(Objects, Records, Peak, Failures, Scaling, End),
    )
}


def warm(pool):
    """Have every process started."""
    for future in [pool.submit(time.sleep, 0.05) for _ in range(8)]:
        future.result()


if __name__ == "__main__":
    sys.exit(main("processes", __doc__, CLAIM, CASES, POOLS))
