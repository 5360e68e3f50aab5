"""`small_digests.py` with two processes instead of four threads."""

import time
from concurrent.futures import ProcessPoolExecutor

import originals  # noqa: F401
from small_digests import stretch

if __name__ == "__main__":
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        keys = list(pool.map(stretch, [f"password{i}" for i in range(12)]))
    print(f"{len(keys)} keys")
    print(f"work: {time.perf_counter() - start:.3f}")
