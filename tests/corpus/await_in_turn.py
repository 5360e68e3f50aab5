"""Twenty coroutines, each awaited before the next one starts.
Answer: waiting for the network in turn; gather them, the event loop is idle."""

import asyncio
import time

from slow_server import SlowServer


async def ask(address, question):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{question}\n".encode())
    answer = await reader.readline()
    writer.close()
    return answer


async def ask_all(address):
    return [await ask(address, f"question {number}") for number in range(20)]


def main(ask_all):
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        answers = asyncio.run(ask_all(address))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main(ask_all)
