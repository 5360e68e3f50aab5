"""Votes are counted in a shared box that the caller opens afterwards: they must be counted in this process."""

from __future__ import annotations

import threading

BEST = {"plain", "threads"}
SHARES_MEMORY = True
BOX: dict[str, int] = {}
KEY = threading.Lock()


def items() -> list[str]:
    BOX.clear()
    return ["yes", "no", "yes"] * 20


def task(vote: str) -> str:
    weight = 0
    for n in range(60_000):
        weight ^= n
    with KEY:
        BOX[vote] = BOX.get(vote, 0) + 1
    return vote


def check(results: list[str]) -> bool:
    return len(results) == 60 and BOX == {"yes": 40, "no": 20}
