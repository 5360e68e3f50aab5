"""What tests of process pools are set in: a gate where tasks wait, and programs of their own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60


class Gate:
    """Where tasks stop until the test lets them through."""

    def __init__(self, folder: Path) -> None:
        self.started, self.opened = str(folder / "started"), str(folder / "opened")
        os.mkfifo(self.started)
        os.mkfifo(self.opened)
        # For both directions, so that neither side waits for the other to open it.
        self._fds = [os.open(path, os.O_RDWR) for path in (self.started, self.opened)]

    @property
    def args(self) -> tuple[str, str]:
        return self.started, self.opened

    def wait(self) -> int:
        """Wait for a task to begin and return the number of its process."""
        return int.from_bytes(os.read(self._fds[0], 8), "little")

    def has_news(self) -> bool:
        """Whether a task has begun that was not waited for."""
        return bool(select.select([self._fds[0]], [], [], 0)[0])

    def open(self, tasks: int = 1) -> None:
        os.write(self._fds[1], b"." * tasks)

    def close(self) -> None:
        # Whoever comes late finds files that hold nobody up.
        for path in self.args:
            Path(path).unlink()
            Path(path).touch()
        self.open(100)
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate."""
    made = Gate(tmp_path)
    yield made
    made.close()


class Program:
    """A program of its own, and all processes that come of it."""

    def __init__(self, folder: Path, code: str, *args: str, **more: Any) -> None:
        file = folder / "program.py"
        file.write_text(textwrap.dedent(code))
        command = more.pop("command", None) or [sys.executable, str(file)]
        stdin = subprocess.PIPE if more.pop("stdin_is_open", False) else subprocess.DEVNULL
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [*command, *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths},
            **more,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, said: str | None = None) -> tuple[int, str, str]:
        """Say something to it, if its input is open, and wait for its end: exit code, output, errors."""
        try:
            out, err = self.process.communicate(said, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            pytest.fail(f"it does not end\n{out}\n{err}")
        return self.process.returncode, out, err


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs; whatever is left of them is ended."""
    made: list[Program] = []

    def start(code: str, *args: str, **more: Any) -> Program:
        made.append(Program(tmp_path, code, *args, **more))
        return made[-1]

    yield start
    for program in made:
        if program.process.poll() is None:
            os.killpg(program.process.pid, signal.SIGKILL)
            program.process.communicate()
