"""What `./x` says to people: progress and errors, all of it on stderr."""

from __future__ import annotations

import sys

BAD_USAGE = 2


class Refusal(Exception):
    """A failure that is nobody's bug: what happened, what to do next, and the exit code."""

    def __init__(self, what: str, hint: str, exit_code: int = 1) -> None:
        super().__init__(what)
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"error: {self.args[0]}\nhint: {self.hint}"


def say(line: str) -> None:
    """Print one line of progress."""
    print(f"x: {line}", file=sys.stderr, flush=True)
