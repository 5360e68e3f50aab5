"""Forty questions to a slow server from a pool of two threads.
Answer: waiting for the network; more threads, the queue is never empty."""

import time
from concurrent.futures import ThreadPoolExecutor

from slow_server import SlowServer, ask


def main(workers):
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            answers = list(pool.map(lambda i: ask(address, f"question {i}"), range(40)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers through {workers} threads")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main(workers=2)
