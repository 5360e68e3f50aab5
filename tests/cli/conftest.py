"""The command line as a person or a script meets it: run to its end, running, or in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TERCET = [sys.executable, "-m", "tercet"]
LIMIT_S = 60

# Becomes a command whose controlling terminal is its standard input.
IN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a file into a folder of its own and return its path."""

    def write(name: str, text: str = "") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.fixture
def tercet() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tercet why ...` to its end."""

    def run(*words: str | Path, **rest: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": LIMIT_S, "check": False, **rest}
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([*TERCET, "why", *words], **options)

    return run


# --- running --------------------------------------------------------------------------------------------------


class Running:
    """A command that runs, or a terminal with one in it."""

    def __init__(self, command: list[str | Path], *, terminal: bool = False, **rest: Any) -> None:
        self._terminal = None
        if terminal:
            self._terminal, inside = pty.openpty()
            command = [sys.executable, "-c", IN_TERMINAL, *command]
            rest |= {"stdin": inside, "stdout": inside, "stderr": inside}
        else:
            rest = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **rest}
        self.process = subprocess.Popen(command, **rest)
        self.pid = self.process.pid
        self._seen = {"stdout": "", "stderr": ""}
        self._read = dict.fromkeys(self._seen, 0)
        if terminal:
            os.close(inside)

    def write(self, text: str) -> None:
        """Type something."""
        os.write(self._terminal if self._terminal is not None else self.process.stdin.fileno(), text.encode())

    def close_input(self) -> None:
        """End what is typed."""
        self.process.stdin.close()

    def send(self, number: int) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def read_until(self, text: str, stream: str = "stdout") -> str:
        """Wait until `text` is printed; return what was printed since the last call, up to its end."""
        return self._wait(lambda new: new.index(text) + len(text) if text in new else None, stream, repr(text))

    def read_line(self, stream: str = "stdout") -> str:
        """Wait for one more line."""
        return self.read_until("\n", stream).rstrip("\r\n")

    def read_rest(self, stream: str = "stdout") -> str:
        """Wait for the end, and return what was printed since the last call."""
        return self._wait(lambda new: None, stream, "the end", until_end=True)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        """End it by force, and what it started when it stands in a session of its own."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(LIMIT_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if self._terminal is not None:
            os.close(self._terminal)

    def _wait(self, find: Callable[[str], int | None], stream: str, what: str, until_end: bool = False) -> str:
        source = self._terminal if self._terminal is not None else getattr(self.process, stream).fileno()
        deadline = time.monotonic() + LIMIT_S
        while True:
            new = self._seen[stream][self._read[stream] :]
            end = find(new)
            if end is not None:
                self._read[stream] += end
                return new[:end]
            if not select.select([source], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"waited for {what}, saw only {new!r}")
            try:
                piece = os.read(source, 1 << 16)
            except OSError:
                piece = b""  # A terminal whose last reader is gone.
            if not piece:
                self._read[stream] += len(new)
                if until_end:
                    return new
                raise EOFError(f"waited for {what}, saw only {new!r}")
            self._seen[stream] += piece.decode()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start `tercet why ...`, by default with pipes: `start("app.py", terminal=True)`."""
    with contextlib.ExitStack() as stack:

        def start(*words: str | Path, **rest: Any) -> Running:
            return stack.enter_context(contextlib.closing(Running([*TERCET, "why", *words], **rest)))

        yield start


@pytest.fixture
def run_python() -> Iterator[Callable[..., Running]]:
    """Start a Python program alone, to attach to."""
    with contextlib.ExitStack() as stack:

        def run_python(*words: str | Path, **rest: Any) -> Running:
            return stack.enter_context(contextlib.closing(Running([sys.executable, *words], **rest)))

        yield run_python


@pytest.fixture
def reap() -> Iterator[Callable[[int], int]]:
    """Have a process that outlives the command ended after the test."""
    pids: list[int] = []
    yield lambda pid: pids.append(pid) or pid
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# --- looking --------------------------------------------------------------------------------------------------


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Look again and again until it is true; only for what gives no event."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain until {what}")
        time.sleep(0.01)
    return result


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs."""
    return is_alive


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for what gives no event."""
    return wait_until


@pytest.fixture
def load() -> Callable[[Path], dict]:
    """Read a JSON report."""
    return lambda file: json.loads(file.read_text())
