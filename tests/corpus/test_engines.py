"""The examples of the engines do what their docstrings say, and end by themselves without a word on stderr."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

MISHAP = [
    "square of 0: 0",
    "square of 1: 1",
    "square of 2: 4",
    "square of 3: WorkerCrashed",
    "square of 4: 16",
    "square of 5: TimeoutError",
    "square of 6: 36",
    "square of 7: 49",
    "and the pool goes on: 144",
]


SUMS = ["TIME s of computing in TIME s: CORES cores at work", "work: TIME"]
JULIA = ["the same picture as in one process: True", "409600 points in 16 bands, in TIME s"]


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        ("cpu_pool.py tercet", SUMS),
        ("julia_pool.py", JULIA),
        ("folder_threads.py", ["121 folders, 12100 bytes, in two threads"]),
        ("mishap_pool.py", MISHAP),
        ("echo_loop.py", ["1000 of 1000 lines came back on EventLoop, in TIME s"]),
    ],
)
def test_it_prints_what_it_claims(program, lines, tmp_path):
    if program == "julia_pool.py":
        pytest.importorskip("numpy")
    name, *arguments = program.split()
    words = [sys.executable, "-W", "error", EXAMPLES / name, *arguments]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    shown = re.sub(r"\d+\.\d+(?= s\b|$)", "TIME", done.stdout, flags=re.MULTILINE)
    shown = re.sub(r"\d+\.\d+(?= cores)", "CORES", shown)
    assert shown.splitlines() == lines
