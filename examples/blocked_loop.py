"""Ten coroutines that download with urllib, and a heartbeat that should come every 20 ms.

`urlopen` is not awaited: while it waits, the event loop waits with it, and nothing overlaps.

Answer: a blocked event loop; await `asyncio.to_thread(download, url)` instead.
"""

import asyncio
import itertools
import time

from downloads import download
from latency_server import LatencyServer


async def fetch(url):
    return download(url)


async def heartbeat(beats):
    while True:
        beats.append(time.perf_counter())
        await asyncio.sleep(0.02)


async def fetch_all(urls):
    beats = []
    heart = asyncio.create_task(heartbeat(beats))
    pages = await asyncio.gather(*(fetch(url) for url in urls))
    beats.append(time.perf_counter())
    heart.cancel()
    return pages, max(later - earlier for earlier, later in itertools.pairwise(beats))


def main():
    with LatencyServer(delay_s=0.2) as server:
        start = time.perf_counter()
        pages, longest = asyncio.run(fetch_all([f"{server}/{i}" for i in range(10)]))
        took = time.perf_counter() - start
    print(f"{len(pages)} downloads, gathered: {took:.2f} s; the heart stopped for {longest:.2f} s")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main()
