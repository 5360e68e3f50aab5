"""Runs CPython's `test_asyncio` in this interpreter, and writes down what became of each test and which loops it made.

`loop.py` starts it, in an interpreter where `_site/placed_loop.py` has put a loop in place. A test that hangs or
crashes ends the run; `loop.py` then starts another one, which leaves out what has been begun.
"""

from __future__ import annotations

import argparse
import json
import sys
import unittest
from pathlib import Path
from typing import Any

import placed_loop
from _runner import Noted, is_chosen, keep_the_environment, tests_of

SUITE = "test.test_asyncio"


class Counting(Noted):
    """Results with the number of loops that were made since the test began."""

    before = 0

    def startTest(self, test: unittest.TestCase) -> None:
        self.before = placed_loop.made
        super().startTest(test)

    def more(self) -> dict[str, Any]:
        return {"loops": placed_loop.made - self.before}


def main() -> int:
    """Run the tests that match and have not been begun; what failed is in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--only", type=Path, help="a file with the names of the tests to run")
    parser.add_argument("--limit", type=float, required=True, help="seconds for one test")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    keep_the_environment()
    begun = {json.loads(line)["test"] for line in options.results.read_text().splitlines()}
    wanted = set(options.only.read_text().split()) if options.only else None
    chosen = []
    for test in tests_of(SUITE):
        name = test.id().removeprefix(f"{SUITE}.")
        if name not in begun and (wanted is None or name in wanted) and is_chosen(name, options.patterns):
            chosen.append(test)
    with options.results.open("a") as file:
        result = lambda *words: Counting(*words, file, options.limit, f"{SUITE}.")  # noqa: E731
        unittest.TextTestRunner(verbosity=2, resultclass=result).run(unittest.TestSuite(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
