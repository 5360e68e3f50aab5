"""Four writers idle at an empty queue; the one reader asks a slow server, line by line.
Answer: waiting for the network in the reader; more readers (threads), not more writers."""

import queue
import threading
import time

from slow_server import SlowServer, ask

COUNT, WRITERS = 20, 4
lines = queue.Queue()


def read(address):
    for number in range(COUNT):
        lines.put(ask(address, f"line {number}"))
    for _ in range(WRITERS):
        lines.put(None)


def write(written):
    while (line := lines.get()) is not None:
        written.append(line.upper())


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        written = []
        threads = [threading.Thread(target=write, args=(written,)) for _ in range(WRITERS)]
        threads.append(threading.Thread(target=read, args=(address,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - start
    print(f"{len(written)} lines written")
    print(f"work: {took:.3f}")
