"""The longest way down to one: bytecode from end to end."""

from __future__ import annotations

BEST = {"processes"}


def items() -> list[range]:
    return [range(n, n + 1500) for n in range(1, 45_000, 1500)]


def task(starts: range) -> int:
    longest = 0
    for start in starts:
        steps, n = 0, start
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            steps += 1
        longest = max(longest, steps)
    return longest


def check(results: list[int]) -> bool:
    return len(results) == 30 and max(results) == 323 and results[0] == 181
