"""Two thousand trivial items, then thirty that wait: what held for the first does not hold for the last."""

from __future__ import annotations

import time

BEST = {"threads"}


def items() -> list[int]:
    return [*range(2000), *[-1] * 60]


def task(number: int) -> int:
    if number < 0:
        time.sleep(0.02)
    return number + 1


def check(results: list[int]) -> bool:
    return results == [*range(1, 2001), *[0] * 60]
