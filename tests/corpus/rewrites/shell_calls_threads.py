"""`shell_calls.py` with a thread for each call."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from shell_calls import call

if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(call, range(10)))
    print(f"{len(done)} calls")
    print(f"work: {time.perf_counter() - start:.3f}")
