"""Rows of a table: classes of tercet put in the place of the standard library's, and CPython's tests of those.

`threads.py` and `processes.py` name their rows; everything else about them is here. A row runs on every interpreter and
by every start method that is asked for. The same tests run first with nothing replaced: what fails there and here is
no fault of tercet.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

from _results import COLUMNS, Listed, Results, exceptions
from _run import ask, find_tests, interpreters, print_table, read, run_alone

from house.message import Refusal, say
from house.process import child_environment

HERE = Path(__file__).resolve().parent

SUITE = "test_concurrent_futures"
"""Where this is missing, all tests are."""

LIMIT_S = 120.0
"""For one test; the slowest ones start hundreds of processes."""
MOST_HANGS = 10
"""After how many tests without an end a row is given up."""


@dataclass(frozen=True)
class Row:
    """Some names of tercet, and the tests of them."""

    replaces: dict[str, str]
    """What stands in the place of what."""
    suite: str = SUITE
    """The module of tests; ``{method}`` is the start method."""
    classes: tuple[str, ...] = ()
    """The classes of tests; none for those that say themselves what they are about."""

    def __or__(self, other: dict[str, str]) -> Row:
        """Return the same tests with something else replaced."""
        return replace(self, replaces=other)


@dataclass(frozen=True)
class Table:
    """The rows of one command."""

    name: str
    """What `./x conformance` calls it; the tests that are expected to fail stand in the file of that name."""
    rows: dict[str, Row]
    methods: tuple[str, ...] = ()
    """The start methods, where processes are what is tested."""
    hidden: str = ""
    """Modules that cannot be imported."""

    def main(self, arguments: list[str] | None = None) -> int:
        """Run what was asked for, print the table, and say what is not as it should be."""
        options = self.parse(arguments)
        try:
            return self.run(options)
        except Refusal as refusal:
            print(refusal, file=sys.stderr)
            return refusal.exit_code

    def parse(self, arguments: list[str] | None) -> argparse.Namespace:
        """Read the command line."""
        parser = argparse.ArgumentParser(prog=f"./x conformance {self.name}")
        parser.add_argument(
            "--python", action="append", metavar="VERSION", help="another interpreter; may be given again"
        )
        parser.add_argument("--row", dest="rows", action="append", choices=self.rows, help="only this row")
        if self.methods:
            parser.add_argument("--method", dest="methods", action="append", choices=self.methods, help="only this one")
        parser.add_argument("--no-baseline", action="store_true", help="leave out the run with nothing replaced")
        parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each test so many times")
        parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for one test")
        parser.add_argument(
            "--no-fetch", action="store_true", help="leave out interpreters that came without the tests"
        )
        parser.add_argument("-v", "--verbose", action="store_true", help="show the words of the tests in any case")
        parser.add_argument("patterns", nargs="*", metavar="TEST", help="a part of the name of a test")
        parser.set_defaults(methods=None)
        return parser.parse_args(arguments)

    def run(self, options: argparse.Namespace) -> int:
        """Run every row on every interpreter, by every start method."""
        faults: list[str] = []
        words = ("Python", "method", "replaced") if self.methods else ("Python", "replaced")
        lines = [(*words, *COLUMNS)]
        for version, python in interpreters(options.python):
            tests = find_tests(SUITE, version, python, may_fetch=not options.no_fetch)
            full_version = ask(python, "import platform; print(platform.python_version())")
            for method in options.methods or self.methods or ("",):
                start = Start(self, options, version, python, tests, method)
                where = (full_version, method) if method else (full_version,)
                for name in options.rows or self.rows:
                    found = start.judge(name)
                    lines += [(*where, replaced, *figures) for replaced, figures in found.figures]
                    faults += [f"Python {', '.join((*where, name))}: {fault}" for fault in found.faults]
        print_table(lines, len(words))
        for fault in faults:
            print(fault)
        return int(bool(faults))


@dataclass(frozen=True)
class Found:
    """What is to be said of a row: lines of the table, and what is not as it should be."""

    figures: list[tuple[str, tuple[str, ...]]]
    faults: list[str]


@dataclass
class Start:
    """One interpreter and one start method."""

    table: Table
    options: argparse.Namespace
    version: str
    python: Path
    tests: Path | None
    method: str
    bare: dict[tuple[str, ...], Results] = field(default_factory=dict)
    """What became of tests with nothing replaced."""

    def judge(self, name: str) -> Found:
        """Run a row, and its tests with nothing replaced if that has not been done."""
        row, figures = self.table.rows[name], []
        key = (row.suite, *row.classes)
        if key not in self.bare:
            self.bare[key] = Results()
            if not self.options.no_baseline:
                self.bare[key] = self.results_of(row | {}, "nothing")
                figures.append(("nothing", cells(self.bare[key], Listed({}))))
        results = self.results_of(row, name)
        facts = {"on": self.version, "row": name} | ({"method": self.method} if self.method else {})
        listed = exceptions(self.table.name, **facts)
        explained = Listed(listed | failed_by_both(self.bare[key], results), listed.sometimes)
        return Found([*figures, (name, cells(results, explained))], list(results.faults(explained)))

    def results_of(self, row: Row, name: str) -> Results:
        """Run the tests of a row in a process of its own, and read what became of them."""
        say(f"Python {', '.join(filter(None, (self.version, self.method, name)))} ...")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "results.jsonl")
            file.touch()
            words, env = self.words(row, file), self.variables(row)
            said, worst = "", 0
            for _ in range(MOST_HANGS):
                code, more = run_alone(words, env, folder)
                said += more
                if code == 0:
                    break
                # A test that does not end takes the interpreter with it; the next one goes on with those after it.
                test = running(file)
                with file.open("a") as lines:
                    lines.write(json.dumps({"test": test, "became": "hung"}) + "\n" if test else "")
                worst = worst or (0 if test else code)
            results = Results(code or worst, read(file))
        if self.options.verbose or code or any(results.verdict(test) == "failed" for test in results.became):
            print(said, file=sys.stderr)
        return results

    def words(self, row: Row, file: Path) -> list[str]:
        """Return the command that runs the tests of a row."""
        options = self.options
        words = [self.python, HERE / "_runner.py", "--results", file, "--limit", options.limit]
        words += ["--repeat", options.repeat, "--suite", f"test.{row.suite.format(method=self.method)}"]
        words += ["--method", self.method, "--classes", ",".join(row.classes), *options.patterns]
        return [str(word) for word in words]

    def variables(self, row: Row) -> dict[str, str]:
        """Return the environment that has `_site/sitecustomize.py` do its work, in every interpreter below."""
        return child_environment(
            PYTHONPATH=str(HERE / "_site"),
            TERCET_CONFORMANCE_PAIRS=" ".join(f"{theirs}={ours}" for theirs, ours in row.replaces.items()),
            TERCET_CONFORMANCE_HIDDEN=self.table.hidden,
            TERCET_CONFORMANCE_TESTS=str(self.tests or ""),
        )


def cells(results: Results, explained: Listed) -> tuple[str, ...]:
    """Return the figures of one line of the table."""
    counted = results.count(explained)
    return tuple(str(counted[column]) for column in COLUMNS)


def failed_by_both(there: Results, here: Results) -> dict[str, str]:
    """Return the tests that fail whatever class is in place."""
    both = [test for test in there.became if there.verdict(test) == "failed" and test in here.became]
    return {test: "It fails there as well." for test in both if here.verdict(test) == "failed"}


def running(file: Path) -> str | None:
    """Return the test that was running at the end."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return lines[-1]["test"] if lines and lines[-1]["became"] == "started" else None
