"""An asyncio service that computes its reports inside a coroutine; every other client waits.
Answer: a blocked event loop; compute in a process pool through `run_in_executor`."""

import asyncio
import time


def report(number):
    total = 0
    for line in range(1_500_000):
        total += (line ^ number) & 15
    return total


async def serve_report(number):
    await asyncio.sleep(0.01)
    return report(number)


async def ping(delays):
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        delays.append(time.perf_counter() - start)


async def serve_all():
    delays = []
    pinger = asyncio.create_task(ping(delays))
    reports = []
    for number in range(10):
        reports.append(await serve_report(number))
    pinger.cancel()
    return reports, max(delays)


if __name__ == "__main__":
    start = time.perf_counter()
    reports, slowest = asyncio.run(serve_all())
    print(f"{len(reports)} reports; a ping took {slowest:.2f} s")
    print(f"work: {time.perf_counter() - start:.3f}")
