"""`./x stress threads` and `loop`: a slice of each, so that they work on the day they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).parents[1] / "stress"
SCRIPT = STRESS / "threads.py"


@pytest.mark.parametrize("part", ["tasks", "pools", "forks", "ends"])
def test_a_slice_of_the_stress(part: str) -> None:
    command = [sys.executable, str(SCRIPT), part, "--scale", "0.005"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.endswith("nothing was lost, and nothing was kept\n")


LOOPS = ["tercet", "asyncio"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "part", ["slow_readers", "halves", "resets", "errors", "cancels", "exhaustion", "forks", "ends"]
)
def test_a_slice_of_the_soak(part: str, loop: str) -> None:
    command = [sys.executable, str(STRESS / "loop.py"), part, "--seconds", "0", "--loop", loop]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.endswith("nothing was lost, and nothing was kept\n")
