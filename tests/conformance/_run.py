"""One run of a suite: which interpreter, where its tests are, a process of its own, and what became of each test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

import _suite

from house.environment import Environment
from house.message import Refusal

BAD_USAGE = 2


def interpreters(versions: list[str] | None) -> Iterator[tuple[str, Path]]:
    """Yield the interpreters to test with: those asked for, or the one that runs this."""
    if not versions:
        yield "{}.{}".format(*sys.version_info), Path(sys.executable)
    for version in versions or ():
        yield version, Environment.of(version).ready().python


def find_tests(name: str, version: str, python: Path, *, may_fetch: bool) -> Path | None:
    """Return the folder where the suite `name` is, or None where the interpreter has it itself."""
    if not _suite.is_missing(python, name):
        return None
    folder = _suite.stored(version)
    if folder is None and not may_fetch:
        raise Refusal(f"Python {version} came without `test.{name}`", "run it without `--no-fetch`")
    return folder or _suite.fetched(version, name)


def ask(python: Path, program: str) -> str:
    """Return what a small program prints."""
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def run_alone(words: list[str], env: dict[str, str], folder: str) -> tuple[int, str]:
    """Run a program in a session of its own, whose processes end with it; return its exit code and what it said."""
    said = Path(folder, "said.txt")
    # A shell lets its background jobs ignore Ctrl-C, which some tests send to themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("w") as output:
        child = subprocess.Popen(words, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True)
        try:
            code = child.wait()
        finally:
            # What a test has started may outlive a run that ended early.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return code, said.read_text(errors="replace")


def read(file: Path) -> dict[str, Counter[str]]:
    """Read what the runner wrote. A test that started last and has no result never ended."""
    became: dict[str, Counter[str]] = {}
    begun = None
    for line in map(json.loads, file.read_text().splitlines()):
        became.setdefault(line["test"], Counter())[line["became"]] += 1
        begun = line["test"] if line["became"] == "started" else None
    if begun:
        became[begun]["hung"] += 1
    return became


def print_table(lines: list[tuple[str, ...]], words: int = 2) -> None:
    """Print the figures, in columns; the first ones are words."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        print(
            "  ".join(cell.ljust(width) if at < words else cell.rjust(width) for at, (cell, width) in enumerate(cells))
        )
