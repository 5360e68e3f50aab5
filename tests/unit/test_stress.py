"""`./x stress threads`: a slice of it, so that it works on the day it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "stress" / "threads.py"


@pytest.mark.parametrize("part", ["tasks", "pools", "forks", "ends"])
def test_a_slice_of_the_stress(part: str) -> None:
    command = [sys.executable, str(SCRIPT), part, "--scale", "0.005"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.endswith("nothing was lost, and nothing was kept\n")
