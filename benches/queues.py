"""What a message costs between processes, beside the queues that people use today.

    ./x bench queues                       about four minutes
    ./x bench queues --only trip small
    ./x bench queues --write

How it is measured
------------------
1. Each case runs in a process of its own for each queue and each round; the queues take turns, in a new order each
   round.
2. Producers and consumers are processes that are there before the clock starts, and all of what comes is looked at.
   The figure of a queue is the median of the rounds; beside it stands its ratio to the standard library's, taken within
   each round.
3. `limit` is what two processes can do over a bare pipe of the kernel.

faster-fifo is a rival, not a dependency: `.venv/bin/pip install faster-fifo` brings it in.
"""

import multiprocessing
import os
import sys
import time

from _contest import Case, main

CLAIM = (
    "tercet.Queue takes a message to another process in a fraction of the time that multiprocessing.Queue takes, and "
    "at the speed of memory where it is large."
)

FORK = multiprocessing.get_context("fork")


# --- the queues, behind one face --------------------------------------------------------------------------------


class Stdlib:
    name = "stdlib"

    def __init__(self, _workers):
        self.queue, self.pipe = FORK.Queue, FORK.Pipe

    def close(self):
        pass


class Tercet:
    name = "tercet"

    def __init__(self, _workers):
        import tercet

        self.queue, self.pipe = tercet.Queue, tercet.Pipe

    def close(self):
        pass


class FasterFifo:
    name = "faster-fifo"

    def __init__(self, _workers):
        import faster_fifo

        self.queue = lambda: faster_fifo.Queue(max_size_bytes=32_000_000)

    def close(self):
        pass


QUEUES = {kind.name: kind for kind in (Tercet, Stdlib, FasterFifo)}


# --- the cases --------------------------------------------------------------------------------------------------


def _produce(queue, go, message, count):
    go.wait()
    for _ in range(count):
        queue.put(message)


def _consume(queue, told, size, count):
    for _ in range(count):
        assert len(queue.get(timeout=50)) == size
    told.put(count)


def _answer(there, back):
    while (message := there.get(timeout=50)) is not None:
        back.put(message)


def _echo(connection, count):
    for _ in range(count):
        connection.send(connection.recv())


def _echo_bytes(read, write, count, size):
    for _ in range(count):
        os.write(write, os.read(read, size))


def median_us(times):
    """Return the median of seconds, in microseconds."""
    return 1e6 * sorted(times)[len(times) // 2]


class Stream(Case):
    """Messages from so many processes to so many others."""

    sides, needs = 1, "queue"

    def run(self, face):
        message = os.urandom(self.size)
        queue, told, go = face.queue(), FORK.SimpleQueue(), FORK.Event()
        each = self.count // self.sides
        putting = [FORK.Process(target=_produce, args=(queue, go, message, each)) for _ in range(self.sides)]
        taking = [FORK.Process(target=_consume, args=(queue, told, self.size, each)) for _ in range(self.sides)]
        for process in putting + taking:
            process.start()
        started = time.perf_counter()
        go.set()
        assert sum(told.get() for _ in taking) == each * self.sides
        took = time.perf_counter() - started
        for process in putting + taking:
            process.join()
        return self.figure(each * self.sides / took)

    def figure(self, messages_s):
        return messages_s if self.unit == "messages/s" else messages_s * self.size / 1e6


class Small(Stream):
    """Messages of 100 bytes from one process to another."""

    name, unit, size, count = "small", "messages/s", 100, 100_000


class Medium(Stream):
    """Messages of 10 KB from one process to another."""

    name, unit, size, count = "medium", "MB/s", 10_000, 20_000


class Large(Stream):
    """Messages of 1 MB from one process to another."""

    name, unit, size, count = "large", "MB/s", 1_000_000, 500


class FourSmall(Stream):
    """Messages of 100 bytes from four processes to four others."""

    name, unit, size, count, sides = "four-small", "messages/s", 100, 40_000, 4


class FourMedium(Stream):
    """Messages of 10 KB from four processes to four others."""

    name, unit, size, count, sides = "four-medium", "MB/s", 10_000, 20_000, 4


class FourLarge(Stream):
    """Messages of 1 MB from four processes to four others."""

    name, unit, size, count, sides = "four-large", "MB/s", 1_000_000, 400, 4


class Trip(Case):
    """A message of 100 bytes to another process and back: the median."""

    name, unit, is_better_high, needs, count, size = "trip", "us p50", False, "queue", 3_000, 100

    def run(self, face):
        there, back = face.queue(), face.queue()
        process = FORK.Process(target=_answer, args=(there, back))
        process.start()
        message, times = os.urandom(self.size), []
        for _ in range(self.count):
            started = time.perf_counter()
            there.put(message)
            assert back.get(timeout=50) == message
            times.append(time.perf_counter() - started)
        there.put(None)
        process.join()
        return median_us(times)

    def limit(self):
        """The same over two bare pipes."""
        (one, two), (three, four) = os.pipe(), os.pipe()
        process = FORK.Process(target=_echo_bytes, args=(one, four, self.count, self.size))
        process.start()
        message, times = os.urandom(self.size), []
        for _ in range(self.count):
            started = time.perf_counter()
            os.write(two, message)
            assert os.read(three, self.size) == message
            times.append(time.perf_counter() - started)
        process.join()
        return median_us(times)


class PipeTrip(Trip):
    """An object to another process and back, over a pipe: the median."""

    name, needs = "pipe-trip", "pipe"

    def run(self, face):
        here, there = face.pipe()
        process = FORK.Process(target=_echo, args=(there, self.count))
        process.start()
        message, times = {"number": 1, "text": "x" * 50}, []
        for _ in range(self.count):
            started = time.perf_counter()
            here.send(message)
            assert here.recv() == message
            times.append(time.perf_counter() - started)
        process.join()
        return median_us(times)


CASES = {case.name: case for case in (Small, Trip, Medium, Large, FourSmall, FourMedium, FourLarge, PipeTrip)}

if __name__ == "__main__":
    sys.exit(main("queues", __doc__, CLAIM, CASES, QUEUES))
