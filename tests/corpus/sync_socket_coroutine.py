"""Coroutines that talk to a server through a blocking socket, gathered in vain.
Answer: a blocked event loop; open the connection with `asyncio.open_connection`."""

import asyncio
import time

from slow_server import SlowServer, ask


async def look_up(address, number):
    await asyncio.sleep(0)
    return ask(address, f"name {number}")


async def look_up_all(address):
    return await asyncio.gather(*(look_up(address, number) for number in range(20)))


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        names = asyncio.run(look_up_all(address))
        took = time.perf_counter() - start
    print(f"{len(names)} names")
    print(f"work: {took:.3f}")
