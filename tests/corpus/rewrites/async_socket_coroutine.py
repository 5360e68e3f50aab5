"""`sync_socket_coroutine.py` with connections that are awaited."""

import asyncio
import time

import originals  # noqa: F401
from await_in_turn import ask
from slow_server import SlowServer


async def look_up_all(address):
    return await asyncio.gather(*(ask(address, f"name {number}") for number in range(20)))


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        names = asyncio.run(look_up_all(address))
        took = time.perf_counter() - start
    print(f"{len(names)} names")
    print(f"work: {took:.3f}")
