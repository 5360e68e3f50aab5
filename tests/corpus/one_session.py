"""Eight threads share a session and hold its lock for as long as the server takes to answer.
Answer: the lock; release it before waiting, or give each thread a session."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from slow_server import SlowServer, ask


class Session:
    def __init__(self, address, lock):
        self.address = address
        self.lock = lock
        self.answers = 0

    def ask(self, number):
        with self.lock:
            answer = ask(self.address, f"question {number}")
            self.answers += 1
        return answer


def main(lock):
    with SlowServer(delay_s=0.05) as address:
        session = Session(address, lock)
        start = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(session.ask, range(40)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main(threading.Lock())
