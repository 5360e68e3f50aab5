"""What a task costs in a pool of processes, beside the pools that people use today.

    ./x bench processes                       about six minutes
    ./x bench processes --only latency submit
    ./x bench processes --write

How it is measured
------------------
1. Each case runs in a process of its own for each pool and each round; the pools take turns, in a new order each round.
2. The cases check what comes back. The figure of a pool is the median of the rounds; beside it stands its ratio to the
   standard library's, taken within each round.
3. `limit` is what two processes can do at best over a bare pipe or alone, where that means something.

loky, pebble and joblib are rivals, not dependencies: `.venv/bin/pip install loky pebble joblib` brings them in.
"""

import concurrent.futures
import multiprocessing
import os
import random
import sys
import time

from _contest import Case, main

CLAIM = (
    "tercet.ProcessPoolExecutor takes a task to another process and its result back in a fraction of the time that "
    "today's pools take."
)


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


# --- the pools, behind one face ---------------------------------------------------------------------------------


class Futures:
    """Any pool with `submit` and `map` of `concurrent.futures`."""

    def __init__(self, pool):
        self.pool = pool
        self.submit, self.map = pool.submit, pool.map

    def close(self):
        self.pool.shutdown()


class Stdlib(Futures):
    name = "stdlib"

    def __init__(self, workers):
        super().__init__(concurrent.futures.ProcessPoolExecutor(workers))


class Tercet(Futures):
    name = "tercet"

    def __init__(self, workers):
        import tercet

        super().__init__(tercet.ProcessPoolExecutor(workers))


class Multiprocessing:
    """`multiprocessing.Pool`; its `map` gets chunks of one, as the others do."""

    name = "mp.Pool"

    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def submit(self, fn, *args):
        answer = self.pool.apply_async(fn, args)
        answer.result = answer.get
        return answer

    def map(self, fn, items):
        return self.pool.map(fn, items, chunksize=1)

    def close(self):
        self.pool.close()
        self.pool.join()


class Loky(Futures):
    name = "loky"

    def __init__(self, workers):
        import loky

        super().__init__(loky.ProcessPoolExecutor(workers))


class Pebble:
    name = "pebble"

    def __init__(self, workers):
        from pebble import ProcessPool

        self.pool = ProcessPool(max_workers=workers)

    def submit(self, fn, *args):
        return self.pool.schedule(fn, args=args)

    def map(self, fn, items):
        return self.pool.map(fn, items, chunksize=1).result()

    def close(self):
        self.pool.close()
        self.pool.join()


class Joblib:
    name = "joblib"

    def __init__(self, workers):
        import joblib

        self.joblib, self.pool = joblib, joblib.Parallel(n_jobs=workers, batch_size=1).__enter__()

    def map(self, fn, items):
        return self.pool(self.joblib.delayed(fn)(item) for item in items)

    def close(self):
        self.pool.__exit__(None, None, None)


POOLS = {kind.name: kind for kind in (Tercet, Stdlib, Multiprocessing, Loky, Pebble, Joblib)}


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


class Submit(Pair):
    """20 k tiny tasks submitted, then all results."""

    name, unit, count = "submit", "tasks/s", 20_000

    def run(self, pool):
        warm(pool)
        started = time.perf_counter()
        futures = [pool.submit(identity, number) for number in range(self.count)]
        total = sum(future.result() for future in futures)
        took = time.perf_counter() - started
        assert total == sum(range(self.count))
        return self.count / took


class Map(Pair):
    """`map` over 20 k tiny tasks, chunks of one."""

    name, unit, count, needs = "map", "tasks/s", 20_000, "map"

    def run(self, pool):
        list(pool.map(identity, range(100)))
        started = time.perf_counter()
        results = list(pool.map(identity, range(self.count)))
        took = time.perf_counter() - started
        assert results == list(range(self.count))
        return self.count / took


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

    def run(self, pool):
        warm(pool)
        packet = os.urandom(self.size)
        started = time.perf_counter()
        result = pool.submit(identity, packet).result()
        took = time.perf_counter() - started
        assert result == packet
        return 2 * self.size / took / 1e6


class Failures(Pair):
    """2000 tasks that raise."""

    name, unit, count = "errors", "tasks/s", 2_000

    def run(self, pool):
        warm(pool)
        started = time.perf_counter()
        futures = [pool.submit(fail, number) for number in range(self.count)]
        seen = 0
        for future in futures:
            try:
                future.result()
            except LookupError:
                seen += 1
        took = time.perf_counter() - started
        assert seen == self.count
        return self.count / took


class Scaling(Pair):
    """40 tasks of 50 ms of computing on two processors, as a share of the ideal time."""

    name, unit, needs = "scaling", "% of ideal", "map"

    def run(self, pool):
        list(pool.map(identity, range(100)))
        started = time.perf_counter()
        list(pool.map(burn, [0.05] * 40))
        return 100 * 40 * 0.05 / self.workers / (time.perf_counter() - started)


class End(Pair):
    """Shutting a pool of two down."""

    name, unit, is_better_high = "end", "ms", False

    def run(self, pool):
        warm(pool)
        started = time.perf_counter()
        pool.close()
        return 1000 * (time.perf_counter() - started)


CASES = {case.name: case for case in (Cold, Latency, Submit, Map, Uneven, Echo, Large, Failures, Scaling, End)}


def warm(pool):
    """Have every process started."""
    for future in [pool.submit(time.sleep, 0.05) for _ in range(8)]:
        future.result()


if __name__ == "__main__":
    sys.exit(main("processes", __doc__, CLAIM, CASES, POOLS))
