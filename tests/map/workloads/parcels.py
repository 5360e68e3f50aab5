"""Parcels of a megabyte whose first byte alone matters: dearer to send than to look at."""

from __future__ import annotations

BEST = {"plain"}


def items() -> list[bytes]:
    return [bytes([n]) * 1_000_000 for n in range(40)]


def task(parcel: bytes) -> int:
    return sum(parcel[:20_000])


def check(results: list[int]) -> bool:
    return results == [20_000 * n for n in range(40)]
