"""`examples/blocked_loop.py` with the blocking calls in ten threads: the heart beats on."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401

# isort: split
import blocked_loop
from downloads import download

pool = ThreadPoolExecutor(10)  # `asyncio.to_thread` has cores + 4


async def fetch(url):
    return await asyncio.get_running_loop().run_in_executor(pool, download, url)


if __name__ == "__main__":
    blocked_loop.fetch = fetch
    blocked_loop.main()
