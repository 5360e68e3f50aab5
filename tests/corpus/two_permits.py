"""Twenty threads ask a slow server, and a semaphore lets two of them through.
Answer: the semaphore; raise it, more threads would only queue before it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from slow_server import SlowServer, ask

permits = threading.BoundedSemaphore(2)


def ask_politely(address, number):
    with permits:
        return ask(address, f"question {number}")


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask_politely, [address] * 40, range(40)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
