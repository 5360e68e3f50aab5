"""`regex_threads.py` with two processes instead of eight threads."""

import time
from concurrent.futures import ProcessPoolExecutor

import originals  # noqa: F401
from regex_threads import addresses

if __name__ == "__main__":
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        found = sum(pool.map(addresses, range(500), chunksize=10))
    print(f"{found} addresses")
    print(f"work: {time.perf_counter() - start:.3f}")
