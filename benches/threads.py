"""What a task costs in a pool of threads, beside the pools that people use today.

    ./x bench threads                       about six minutes
    ./x bench threads --only submit map
    ./x bench threads --write

How it is measured
------------------
1. Each case runs in a process of its own for each pool and each round; the pools take turns, in a new order each round.
2. The cases check what comes back. The figure of a pool is the median of the rounds; beside it stands its ratio to the
   standard library's, taken within each round.
3. `limit` is what two threads can do at best with bare locks and no pool at all, where that means something.

pebble and joblib are rivals, not dependencies: `.venv/bin/pip install pebble joblib` brings them in.
"""

import concurrent.futures
import multiprocessing.pool
import os
import queue
import socket
import subprocess
import sys
import threading
import time

from _contest import Case, main

CLAIM = (
    "tercet.ThreadPoolExecutor takes a task, runs it and brings its result back in a fraction of the time that today's "
    "pools take, and lets more waits overlap."
)
WORKERS = 8
MANY_WAITERS = 50


def noop(*_):
    """Do nothing."""


def identity(value):
    """Return what is given."""
    return value


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
        super().__init__(concurrent.futures.ThreadPoolExecutor(workers))


class Tercet(Futures):
    name = "tercet"

    def __init__(self, workers):
        import tercet

        super().__init__(tercet.ThreadPoolExecutor(workers))


class Multiprocessing:
    """`multiprocessing.pool.ThreadPool`, whose `map` sends chunks of its own."""

    name = "ThreadPool"

    def __init__(self, workers):
        self.pool = multiprocessing.pool.ThreadPool(workers)

    def submit(self, fn, *args):
        answer = self.pool.apply_async(fn, args)
        answer.result = answer.get
        return answer

    def map(self, fn, items):
        return self.pool.map(fn, items)

    def close(self):
        self.pool.close()
        self.pool.join()


class Pebble:
    name = "pebble"

    def __init__(self, workers):
        from pebble import ThreadPool

        self.pool = ThreadPool(max_workers=workers)

    def submit(self, fn, *args):
        return self.pool.schedule(fn, args=args)

    def map(self, fn, items):
        return self.pool.map(fn, items).result()

    def close(self):
        self.pool.close()
        self.pool.join()


class Joblib:
    name = "joblib"

    def __init__(self, workers):
        import joblib

        self.joblib, self.pool = joblib, joblib.Parallel(n_jobs=workers, backend="threading").__enter__()

    def map(self, fn, items):
        return self.pool(self.joblib.delayed(fn)(item) for item in items)

    def close(self):
        self.pool.__exit__(None, None, None)


POOLS = {kind.name: kind for kind in (Tercet, Stdlib, Multiprocessing, Pebble, Joblib)}


# --- the cases --------------------------------------------------------------------------------------------------


class Submit(Case):
    """100 k no-ops submitted by one thread, then all results."""

    name, unit, count = "submit", "tasks/s", 100_000

    def run(self, pool):
        warm(pool)
        started = time.perf_counter()
        futures = [pool.submit(identity, number) for number in range(self.count)]
        total = sum(future.result() for future in futures)
        took = time.perf_counter() - started
        assert total == sum(range(self.count))
        return self.count / took


class Producers(Case):
    """The same from eight threads."""

    name, unit, count = "producers", "tasks/s", 100_000

    def run(self, pool):
        warm(pool)
        totals = []

        def produce():
            futures = [pool.submit(identity, number) for number in range(self.count // 8)]
            totals.append(sum(future.result() for future in futures))

        threads = [threading.Thread(target=produce) for _ in range(8)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - started
        assert totals == [sum(range(self.count // 8))] * 8
        return self.count / took


class Map(Case):
    """`map` over 100 k no-ops; ThreadPool and joblib send chunks of their own."""

    name, unit, count, needs = "map", "tasks/s", 100_000, "map"

    def run(self, pool):
        started = time.perf_counter()
        results = list(pool.map(identity, range(self.count)))
        took = time.perf_counter() - started
        assert results == list(range(self.count))
        return self.count / took


class Latency(Case):
    """`submit(...).result()`, one at a time: the median."""

    name, unit, is_better_high, count, share = "latency", "us p50", False, 10_000, 0.5

    def run(self, pool):
        warm(pool)
        times = []
        for number in range(self.count):
            started = time.perf_counter()
            result = pool.submit(identity, number).result()
            times.append(time.perf_counter() - started)
            assert result == number
        times.sort()
        return 1e6 * times[int(len(times) * self.share)]

    def limit(self):
        """Two hand-overs between threads by bare locks."""
        here, there = threading.Lock(), threading.Lock()
        here.acquire()
        there.acquire()

        def answer():
            for _ in range(self.count):
                there.acquire()
                here.release()

        thread = threading.Thread(target=answer)
        thread.start()
        times = []
        for _ in range(self.count):
            started = time.perf_counter()
            there.release()
            here.acquire()
            times.append(time.perf_counter() - started)
        thread.join()
        return 1e6 * sorted(times)[int(len(times) * self.share)]


class Tail(Latency):
    """The same: the slowest in a hundred."""

    name, unit, share = "latency99", "us p99", 0.99

    def limit(self):
        """Nothing to compare with."""


class Sleep(Case):
    """1000 tasks that sleep for 1 ms on 50 threads, as a share of the ideal 20 ms."""

    name, unit, workers, count = "sleep", "% of ideal", MANY_WAITERS, 1000

    def run(self, pool):
        warm(pool, self.workers)
        return self.share(lambda: self.work(pool))

    def work(self, pool):
        for future in [pool.submit(time.sleep, 0.001) for _ in range(self.count)]:
            future.result()

    def share(self, work):
        started = time.perf_counter()
        work()
        return 100 * self.count * 0.001 / self.workers / (time.perf_counter() - started)

    def limit(self):
        """The same threads without any pool, each with its part of the work known beforehand."""
        return self.share_of_bare_threads(lambda _: time.sleep(0.001))

    def share_of_bare_threads(self, task):
        gate = threading.Barrier(self.workers + 1)

        def run(number):
            gate.wait()
            for turn in range(self.count // self.workers):
                task(number + turn)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(self.workers)]
        for thread in threads:
            thread.start()
        gate.wait()
        return self.share(lambda: [thread.join() for thread in threads])


class Receive(Sleep):
    """1000 tasks that wait 1 ms for a byte from loopback, on 50 threads."""

    name = "recv"

    def run(self, pool):
        with Echo(self.workers) as echo:
            warm(pool, self.workers)
            return self.share(lambda: self.work(pool, echo))

    def work(self, pool, echo):
        futures = [pool.submit(echo.ask, number) for number in range(self.count)]
        assert [future.result() for future in futures] == [number % 256 for number in range(self.count)]

    def limit(self):
        with Echo(self.workers) as echo:
            return self.share_of_bare_threads(echo.ask)


class Echo:
    """A server that sends each byte back after a millisecond, and connections to it."""

    def __init__(self, connections):
        self._server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        port = int(self._server.stdout.readline())
        self._free = queue.SimpleQueue()
        for _ in range(connections):
            self._free.put(socket.create_connection(("127.0.0.1", port)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.kill()
        self._server.wait()

    def ask(self, number):
        connection = self._free.get()
        connection.send(bytes([number % 256]))
        answer = connection.recv(1)
        self._free.put(connection)
        return answer[0]


SERVER = """
import collections, os, select, socket, time
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
ready, due, open_ = select.epoll(), collections.deque(), {}
ready.register(listener.fileno(), select.EPOLLIN)
while True:
    left = max(due[0][0] - time.perf_counter(), 0) if due else -1
    for fd, _ in ready.poll(left):
        if fd == listener.fileno():
            connection = listener.accept()[0]
            open_[connection.fileno()] = connection
            ready.register(connection.fileno(), select.EPOLLIN)
        elif said := os.read(fd, 1):
            due.append((time.perf_counter() + 0.001, fd, said))
        else:
            ready.unregister(fd)
    while due and due[0][0] <= time.perf_counter():
        _, fd, said = due.popleft()
        os.write(fd, said)
"""


class Nested(Case):
    """A task that submits a task and waits for it: the time of a pair, one after another."""

    name, unit, is_better_high, count = "nested", "us a pair", False, 5_000

    def run(self, pool):
        def outer(number):
            return pool.submit(identity, number).result()

        warm(pool)
        started = time.perf_counter()
        total = sum(pool.submit(outer, number).result() for number in range(self.count))
        took = time.perf_counter() - started
        assert total == sum(range(self.count))
        return 1e6 * took / self.count


class Memory(Case):
    """Memory of a task that waits in the queue, with its future."""

    name, unit, is_better_high, count, workers = "memory", "bytes", False, 50_000, 1

    def run(self, pool):
        gate = threading.Event()
        first = pool.submit(gate.wait)
        before = resident()
        futures = [pool.submit(noop) for _ in range(self.count)]
        after = resident()
        gate.set()
        first.result()
        futures[-1].result()
        return (after - before) / self.count


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


CASES = {case.name: case for case in (Submit, Producers, Map, Latency, Tail, Sleep, Receive, Nested, Memory)}


def warm(pool, workers=WORKERS):
    """Have every thread of a pool started."""
    gate = threading.Barrier(workers, timeout=30)
    if hasattr(pool, "submit"):
        for future in [pool.submit(gate.wait) for _ in range(workers)]:
            future.result()


if __name__ == "__main__":
    sys.exit(main("threads", __doc__, CLAIM, CASES, POOLS))
