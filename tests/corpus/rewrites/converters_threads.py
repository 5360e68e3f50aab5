"""`converters.py` with two threads, so that two conversions run at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from converters import convert

if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        converted = list(pool.map(convert, range(6)))
    print(f"{len(converted)} conversions")
    print(f"work: {time.perf_counter() - start:.3f}")
