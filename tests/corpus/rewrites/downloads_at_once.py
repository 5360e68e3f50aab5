"""`examples/downloads.py` with a thread for each of the ten downloads."""

import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from downloads import download
from latency_server import LatencyServer

if __name__ == "__main__":
    with LatencyServer(delay_s=0.2) as server:
        start = time.perf_counter()
        with ThreadPoolExecutor(10) as pool:
            pages = list(pool.map(download, [f"{server}/{i}" for i in range(10)]))
        took = time.perf_counter() - start
    print(f"{len(pages)} downloads")
    print(f"work: {took:.3f}")
