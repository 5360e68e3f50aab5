"""`ask_in_turn.py` with ten threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from slow_server import SlowServer, ask

if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda i: ask(address, f"question {i}"), range(20)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
