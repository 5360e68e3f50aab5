"""A server and a hundred clients on tercet's event loop: `tercet.run` in the place of `asyncio.run`, and nothing else.

Each client sends ten lines and waits for each to come back.
"""

import asyncio
import time

import tercet

CLIENTS, LINES = 100, 10


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def talk(port, name):
    """Return how many lines came back as they were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    same = 0
    for number in range(LINES):
        line = f"{name} says {number}\n".encode()
        writer.write(line)
        same += await reader.readline() == line
    writer.close()
    await writer.wait_closed()
    return same


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    start = time.perf_counter()
    async with server:
        same = sum(await asyncio.gather(*(talk(port, name) for name in range(CLIENTS))))
    took = time.perf_counter() - start
    loop = type(asyncio.get_running_loop()).__name__
    print(f"{same} of {CLIENTS * LINES} lines came back on {loop}, in {took:.2f} s")


if __name__ == "__main__":
    tercet.run(main())
