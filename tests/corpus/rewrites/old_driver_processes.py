"""`old_driver.py` with a process for each instrument: each has a GIL of its own to hold."""

import time
from concurrent.futures import ProcessPoolExecutor

import originals  # noqa: F401
from old_driver import read_instrument

if __name__ == "__main__":
    start = time.perf_counter()
    with ProcessPoolExecutor(4) as pool:
        print(f"readings: {list(pool.map(read_instrument, range(4)))}")
    print(f"work: {time.perf_counter() - start:.3f}")
