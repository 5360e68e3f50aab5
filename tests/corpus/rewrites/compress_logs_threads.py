"""`compress_logs.py` in two threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from compress_logs import logs, squeeze

if __name__ == "__main__":
    texts = logs()
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        sizes = list(pool.map(squeeze, texts))
    print(f"{sum(map(len, texts)) >> 20} MiB became {sum(sizes) >> 20} MiB")
    print(f"work: {time.perf_counter() - start:.3f}")
