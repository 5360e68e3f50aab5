"""Letters that take 20 ms to arrive."""

from __future__ import annotations

import time

BEST = {"threads"}


def items() -> range:
    return range(48)


def task(number: int) -> str:
    time.sleep(0.02)
    return f"letter {number}"


def check(results: list[str]) -> bool:
    return results == [f"letter {number}" for number in range(48)]
