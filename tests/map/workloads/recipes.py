"""Waits 8 ms for a recipe, then cooks for about as long in bytecode."""

from __future__ import annotations

import time

BEST = {"processes", "threads"}


def items() -> range:
    return range(40)


def task(number: int) -> int:
    time.sleep(0.008)
    taste = 0
    for minute in range(70_000):
        taste += minute ^ number
    return taste


def check(results: list[int]) -> bool:
    return len(results) == 40 and results[0] == sum(range(70_000))
