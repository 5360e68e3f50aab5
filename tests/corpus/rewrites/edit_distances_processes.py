"""`edit_distances.py` in two processes."""

import time
from concurrent.futures import ProcessPoolExecutor

import originals  # noqa: F401
from edit_distances import distance, pairs

if __name__ == "__main__":
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        nearest = min(pool.map(distance, pairs(), chunksize=2_000))
    print(f"nearest pair: {nearest} edits apart")
    print(f"work: {time.perf_counter() - start:.3f}")
