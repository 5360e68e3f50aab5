"""Run other programs: passed through, or with their output as one live line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from house.place import ROOT

Words = Sequence[str | Path]

# What of pip's talk is worth a line in a log; a terminal shows all of it, one line at a time.
NEWS = ("Collecting", "Successfully installed")


def child_environment(**more: str) -> dict[str, str]:
    """Return the environment for what `./x` starts: nothing in it may download a toolchain."""
    inherited = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
    quiet = {"RUSTUP_AUTO_INSTALL": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    return inherited | quiet | more


def run(words: Words, env: Mapping[str, str] | None = None, to_stderr: bool = False, cwd: Path = ROOT) -> int:
    """Run a program that shares this terminal, and return its exit code.

    Ctrl-C reaches the program as well; it is given the time to end in its own way.
    """
    child = subprocess.Popen(
        [str(word) for word in words],
        cwd=cwd,
        env=env or child_environment(),
        stdout=sys.stderr if to_stderr else None,
    )
    while True:
        try:
            return _exit_code(child.wait())
        except KeyboardInterrupt:
            continue


def _exit_code(status: int) -> int:
    """Turn "ended by signal n" into what a shell would say: 128 + n."""
    return 128 - status if status < 0 else status


def run_live(title: str, words: Words, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a talkative program and show its newest line only; return its exit code and all it said.

    On a terminal one line is rewritten in place; elsewhere the lines that are news are printed as they come.
    """
    child = subprocess.Popen(
        [str(word) for word in words],
        cwd=ROOT,
        env=env or child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    said = []
    live = LiveLine(title)
    for line in child.stdout:
        said.append(line)
        live.show(line.strip())
    live.end()
    return child.wait(), "".join(said)


class LiveLine:
    """One line of progress that is rewritten in place on a terminal."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.is_terminal = sys.stderr.isatty()

    def show(self, line: str) -> None:
        """Show what happens now."""
        if self.is_terminal:
            seconds = time.monotonic() - self.started
            text = f"x: {self.title} ({seconds:.0f} s): {line}"
            sys.stderr.write(f"\r\x1b[2K{text[: _columns() - 1]}")
        elif line.startswith(NEWS):
            sys.stderr.write(f"   {line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave a clean line behind."""
        if self.is_terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
