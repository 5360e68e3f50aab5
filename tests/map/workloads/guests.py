"""Coroutines: guests that come, wait twice, and leave."""

from __future__ import annotations

import asyncio

BEST = {"event-loop"}


def items() -> list[str]:
    return [f"guest {n}" for n in range(250)]


async def task(name: str) -> str:
    await asyncio.sleep(0.005)
    greeting = "hello, " + name
    await asyncio.sleep(0.005)
    return greeting


def check(results: list[str]) -> bool:
    return results == [f"hello, guest {n}" for n in range(250)]
