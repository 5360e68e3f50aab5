"""Coroutines that try again after a pause, and take the pause with `time.sleep`.
Answer: a blocked event loop; `await asyncio.sleep` instead."""

import asyncio
import time


async def flaky_call(attempt):
    await asyncio.sleep(0.01)
    if attempt < 3:
        raise ConnectionError("try again")
    return attempt


async def call_with_retries(pause):
    for attempt in range(1, 4):
        try:
            return await flaky_call(attempt)
        except ConnectionError:
            await pause(0.1 * attempt)
    return None


async def blocking_pause(seconds):
    time.sleep(seconds)


async def call_all(pause):
    return await asyncio.gather(*(call_with_retries(pause) for _ in range(8)))


def main(pause):
    start = time.perf_counter()
    attempts = asyncio.run(call_all(pause))
    print(f"{len(attempts)} calls, {sum(attempts)} attempts")
    print(f"work: {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main(blocking_pause)
