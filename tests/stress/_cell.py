"""One cell of the fault table: a process of its own, with a limit, and nothing of it left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from _verdict import PATIENCE_S, Found, Verdict

from holdings import marked, wait_for_ends

MARK = "TERCET_STRESS_CELL"
"""The variable that every process of a cell inherits."""

FAULTS = str(Path(__file__).with_name("_faults.py"))


class Program:
    """A process with files for what it says: a pipe would stay open in whatever it leaves behind."""

    def __init__(self, command: list[str], **env: str) -> None:
        self.out, self.err = os.memfd_create("out"), os.memfd_create("err")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.err,
            start_new_session=True,
            env={**os.environ, **env},
        )

    def end(self, limit_s: float) -> tuple[int | None, str, str]:
        """Wait for its end: exit code, output, errors; no exit code if it had to be killed."""
        try:
            code: int | None = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            self.kill()
        return code, _said(self.out), _said(self.err)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _said(file: int) -> str:
    """Read what was written, and let go of it."""
    with open(file, errors="replace") as text:
        text.seek(0)
        return text.read()


def ask(name: str, face: str, start: str, python: str = sys.executable, limit_s: float = 60.0) -> Found:
    """Try one line on one pool, in a process of its own; whatever is left of it afterwards is ended."""
    mark = uuid.uuid4().hex
    command = [python, FAULTS, name, face, start]
    child = Program(command, **{MARK: mark})
    code, said, err = child.end(limit_s)
    _end_all(f"{MARK}={mark}")
    if said:
        verdict, detail = json.loads(said.splitlines()[-1])
        return Verdict(verdict), detail
    if code is None:
        return Verdict.HANG, f"no verdict in {limit_s:.0f} s"
    return Verdict.BROKEN, f"the program ended: {(err.strip().splitlines() or ['no word'])[-1]:.80}"


def _end_all(mark: str) -> None:
    """End what is left of a cell. All of it was started by the cell, and carries its mark."""
    left = marked(mark)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for_ends(left, PATIENCE_S)
