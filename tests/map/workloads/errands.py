"""Small programs started one by one."""

from __future__ import annotations

import subprocess

BEST = {"threads"}


def items() -> range:
    return range(24)


def task(number: int) -> str:
    return subprocess.run(["sh", "-c", f"sleep 0.02; echo {number}"], capture_output=True, text=True, check=True).stdout


def check(results: list[str]) -> bool:
    return results == [f"{n}\n" for n in range(24)]
