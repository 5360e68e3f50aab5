"""Fifty talks with a slow server at once; within a talk each question needs the answer before it.
Answer: nothing to do; the talks overlap already."""

import asyncio
import time

from slow_server import SlowServer


async def talk(address, number):
    reader, writer = await asyncio.open_connection(*address)
    answer = b"%d\n" % number
    for _ in range(8):
        writer.write(answer[-20:])
        answer = await reader.readline()
    writer.close()
    return answer


async def talk_to_all(address):
    return await asyncio.gather(*(talk(address, number) for number in range(50)))


if __name__ == "__main__":
    with SlowServer(delay_s=0.25) as address:
        start = time.perf_counter()
        last_words = asyncio.run(talk_to_all(address))
        took = time.perf_counter() - start
    print(f"{len(last_words)} talks")
    print(f"work: {took:.3f}")
