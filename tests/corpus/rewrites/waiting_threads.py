"""`waiting_pool.py` with twenty threads instead of two processes."""

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from slow_server import SlowServer, ask

if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(functools.partial(ask, address), range(40)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
