"""Coroutines that save documents safely, with `fsync`, inside the event loop, for two seconds.
Answer: a blocked event loop; save in a thread with `asyncio.to_thread`."""

import asyncio
import os
import tempfile
import time

DOCUMENT = b"a line of the document\n" * 4_000


def save(path):
    with open(path, "wb") as file:
        file.write(DOCUMENT)
        file.flush()
        os.fsync(file.fileno())


async def author(number, folder, end):
    saved = 0
    while time.perf_counter() < end:
        save(os.path.join(folder, f"document-{number}"))
        saved += 1
        await asyncio.sleep(0.001)
    return saved


async def write_all(folder):
    end = time.perf_counter() + 2
    return await asyncio.gather(*(author(number, folder, end) for number in range(20)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        saved = asyncio.run(write_all(folder))
        took = time.perf_counter() - start
    print(f"{sum(saved)} documents saved")
    print(f"work: {took:.3f}")
