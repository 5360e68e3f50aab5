"""The ten downloads of `downloads.py` in ten threads; eight rounds, to have something to watch.

A round takes as long as its slowest download, not as long as all of them.

Answer: nothing to do; each round waits for the server once, which is the least it can wait.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from downloads import download
from latency_server import LatencyServer

ROUNDS = 8


def main():
    with LatencyServer(delay_s=0.2) as server, ThreadPoolExecutor(10) as pool:
        urls = [f"{server}/{i}" for i in range(10)]
        start = time.perf_counter()
        for _ in range(ROUNDS):
            pages = list(pool.map(download, urls))
        took = time.perf_counter() - start
    one_round = took / ROUNDS
    print(f"{len(pages)} downloads in {one_round:.2f} s: {len(pages) * 0.2 / one_round:.1f} times faster than in turn")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main()
