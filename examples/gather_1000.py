"""A thousand downloads at once with asyncio and aiohttp; the server answers each after 1.5 s.

One thread looks after all of them: in turn they would take 25 minutes.

Answer: nothing to do; the waits overlap already.
"""

import asyncio
import sys
import time

from latency_server import LatencyServer, allow_many_sockets

try:
    import aiohttp
except ImportError:
    sys.exit("error: `gather_1000.py` needs aiohttp\nhint: run `python -m pip install aiohttp`")

COUNT = 1000


async def download(session, url):
    async with session.get(url) as answer:
        return await answer.read()


async def download_all(urls):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(download(session, url) for url in urls))


def main():
    allow_many_sockets()
    with LatencyServer(delay_s=1.5) as server:
        start = time.perf_counter()
        pages = asyncio.run(download_all([f"{server}/{i}" for i in range(COUNT)]))
        took = time.perf_counter() - start
    print(f"{len(pages)} downloads of 1.5 s each in {took:.2f} s")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main()
