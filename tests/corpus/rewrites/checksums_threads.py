"""`checksums.py` in two threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from checksums import NAMES, checksum

if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        sums = dict(zip(NAMES, pool.map(checksum, NAMES), strict=True))
    print(f"{len(sums)} checksums")
    print(f"work: {time.perf_counter() - start:.3f}")
