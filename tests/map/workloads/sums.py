"""Additions: too short to share."""

from __future__ import annotations

BEST = {"plain"}


def items() -> list[tuple[int, int]]:
    return [(n, 2 * n) for n in range(30_000)]


def task(pair: tuple[int, int]) -> int:
    return pair[0] + pair[1]


def check(results: list[int]) -> bool:
    return results == [3 * n for n in range(30_000)]
