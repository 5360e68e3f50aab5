"""What became of CPython's tests, and whether that is as it should be: what the suites of this folder share."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMNS = ("ran", "passed", "failed", "skipped", "listed")


class Listed(dict[str, str]):
    """The tests that are expected to fail, or patterns of their names, and why."""

    def __init__(self, reasons: dict[str, str], sometimes: set[str] | None = None) -> None:
        super().__init__(reasons)
        self.sometimes = sometimes or set()

    def entry(self, test: str) -> str | None:
        """Return what stands for a test."""
        if test in self:
            return test
        return next((pattern for pattern in self if "*" in pattern and fnmatchcase(test, pattern)), None)


@dataclass
class Results:
    """What became of the tests of one pass; a test that was run many times has failed if it ever did."""

    exit_code: int = 0
    became: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, listed: Listed) -> dict[str, int]:
        """Return the figures of one line of the table."""
        verdicts = Counter(self.verdict(test) for test in self.became)
        expected = [test for test in self.became if listed.entry(test) and self.verdict(test) == "failed"]
        counted = {name: verdicts[name] for name in ("passed", "failed", "skipped")}
        counted["failed"] -= len(expected)
        return {"ran": counted["passed"] + verdicts["failed"], **counted, "listed": len(expected)}

    def faults(self, listed: Listed) -> Iterator[str]:
        """Yield, as sentences, what is not as it should be."""
        for test, became in self.became.items():
            has_failed = self.verdict(test) == "failed"
            entry = listed.entry(test)
            if has_failed and entry is None:
                runs, times = became["started"], became["failed"]
                ended = "never ended" if became["hung"] else f"failed {times} times of {runs}" if runs > 1 else "failed"
                yield f"{test} {ended}"
            elif became["passed"] and entry is not None and entry not in listed.sometimes:
                yield f"{test} passes, but is listed as an exception"
        if not self.became:
            yield "no test ran"
        if self.exit_code:
            yield f"the run ended with exit code {self.exit_code}"

    def verdict(self, test: str) -> str:
        """Return "passed", "failed" or "skipped"."""
        became = self.became[test]
        if became["failed"] or became["hung"]:
            return "failed"
        return "passed" if became["passed"] else "skipped"


def exceptions(suite: str, **facts: str) -> Listed:
    """Return the tests of a suite that are expected to fail where these facts hold."""
    table = tomllib.loads((HERE / f"{suite}.toml").read_text())
    reasons: dict[str, str] = {}
    sometimes = set()
    for entry in table.get("exception", ()):
        if all(fact in entry.get(name, (fact,)) for name, fact in facts.items()):
            tests = [entry["test"]] if isinstance(entry["test"], str) else entry["test"]
            reasons |= dict.fromkeys(tests, entry["why"])
            sometimes |= set(tests if entry.get("sometimes") else ())
    return Listed(reasons, sometimes)
