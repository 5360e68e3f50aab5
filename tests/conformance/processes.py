"""CPython's own tests of process pools, with tercet's classes in place.

    ./x conformance processes                                     this interpreter, all start methods
    ./x conformance processes --python 3.12 --python 3.13         others, each in an environment of its own
    ./x conformance processes --method spawn --row Pool imap      the tests of one class whose name contains it

The tests are run where they are installed, as with `threads.py`. A row of `ROWS` is a class of tercet, what it stands
for in the standard library, and the tests that are about it. The same tests run first with nothing replaced: what
fails there and here is no fault of tercet. `cloudpickle` is hidden, so that what pickle refuses is refused.

A test that is expected to fail stands in `processes.toml`, with the reason in a sentence. Exit code 0 means that
everything else passed, and that nothing on the list did.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

from _results import COLUMNS, Listed, Results, exceptions
from _run import ask, find_tests, interpreters, print_table, read, run_alone

from house.message import Refusal, say
from house.process import child_environment

HERE = Path(__file__).resolve().parent

METHODS = ("fork", "forkserver", "spawn")
SUITE = "test_concurrent_futures"
"""Where this is missing, all tests are."""

LIMIT_S = 120.0
"""For one test; the slowest ones start hundreds of processes."""
MOST_HANGS = 10
"""After how many tests without an end a row is given up."""


@dataclass(frozen=True)
class Row:
    """A class of tercet, and the tests of it."""

    replaces: dict[str, str]
    """What stands in the place of what."""
    suite: str
    """The module of tests; ``{method}`` is the start method."""
    classes: tuple[str, ...] = ()
    """The classes of tests; none for those that name the start method themselves."""
    also: dict[str, str] = field(default_factory=dict)
    """More of the environment."""

    def __or__(self, other: dict[str, str]) -> Row:
        """Return the same tests with something else replaced."""
        return Row(other, self.suite, self.classes)


_EXECUTOR = Row(
    {"concurrent.futures.process.ProcessPoolExecutor": "tercet.ProcessPoolExecutor"}, "test_concurrent_futures"
)
_POOL = Row(
    {"multiprocessing.pool.Pool": "tercet.Pool"},
    "test_multiprocessing_{method}",
    (
        "WithProcessesTestPool",
        "WithProcessesTestPoolWorkerErrors",
        "WithProcessesTestPoolWorkerLifetime",
        "TestInitializers",
        "TestPoolNotLeakOnFailure",
    ),
)

ROWS = {
    "ProcessPoolExecutor": _EXECUTOR,
    # As above, but a crash breaks the pool, as it does there.
    "on_crash=break": _EXECUTOR | {"concurrent.futures.process.ProcessPoolExecutor": "standins.ProcessPoolExecutor"},
    "Pool": _POOL,
}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, print the table, and say what is not as it should be."""
    options = parse(arguments)
    try:
        return run(options)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./x conformance processes", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", metavar="VERSION", help="another interpreter; may be given again")
    parser.add_argument("--method", dest="methods", action="append", choices=METHODS, help="only this start method")
    parser.add_argument("--row", dest="rows", action="append", choices=ROWS, help="only this row")
    parser.add_argument("--no-baseline", action="store_true", help="leave out the run with nothing replaced")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each test so many times")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for one test")
    parser.add_argument("--no-fetch", action="store_true", help="leave out interpreters that came without the tests")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the words of the tests, whatever came of it")
    parser.add_argument("patterns", nargs="*", metavar="TEST", help="a part of the name of a test")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Run every row on every interpreter, by every start method."""
    faults: list[str] = []
    lines = [("Python", "method", "replaced", *COLUMNS)]
    for version, python in interpreters(options.python):
        tests = find_tests(SUITE, version, python, may_fetch=not options.no_fetch)
        full_version = ask(python, "import platform; print(platform.python_version())")
        for method in options.methods or METHODS:
            there: dict[tuple[str, ...], Results] = {}
            for name in options.rows or ROWS:
                row = ROWS[name]
                where = (full_version, method, name)
                key = (row.suite, *row.classes)
                if key not in there:
                    there[key] = Results()
                    if not options.no_baseline:
                        there[key] = run_row(python, row | {}, method, tests, options, (*where[:2], "nothing"))
                        lines.append(line_of((full_version, method, "nothing"), there[key], Listed({})))
                results = run_row(python, row, method, tests, options, where)
                listed = exceptions("processes", on=version, method=method, row=name)
                explained = Listed(listed | failed_by_both(there[key], results), listed.sometimes)
                lines.append(line_of(where, results, explained))
                faults += [f"Python {', '.join(where)}: {fault}" for fault in results.faults(explained)]
    print_table(lines, 3)
    for fault in faults:
        print(fault)
    return int(bool(faults))


def failed_by_both(there: Results, here: Results) -> dict[str, str]:
    """Return the tests that fail whatever class is in place."""
    both = [test for test in there.became if there.verdict(test) == "failed" and test in here.became]
    return {test: "It fails there as well." for test in both if here.verdict(test) == "failed"}


def line_of(where: tuple[str, str, str], results: Results, explained: Listed) -> tuple[str, ...]:
    """Return one line of the table."""
    counted = results.count(explained)
    return (*where, *(str(counted[column]) for column in COLUMNS))


def run_row(
    python: Path, row: Row, method: str, tests: Path | None, options: argparse.Namespace, where: tuple[str, ...]
) -> Results:
    """Run the tests of a row in a process of its own, and read what became of them."""
    say(f"Python {', '.join(where)} ...")
    suite = row.suite.format(method=method)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.jsonl")
        file.touch()
        words = [python, HERE / "_runner.py", "--results", file, "--limit", options.limit, "--repeat", options.repeat]
        words += ["--suite", f"test.{suite}", "--method", method, "--classes", ",".join(row.classes)]
        said, worst = "", 0
        for _ in range(MOST_HANGS):
            code, more = run_alone([str(word) for word in (*words, *options.patterns)], variables(row, tests), folder)
            said += more
            if code == 0:
                break
            # A test that does not end takes the interpreter with it; the next one goes on with those after it.
            with file.open("a") as lines:
                test = running(file)
                lines.write(json.dumps({"test": test, "became": "hung"}) + "\n" if test else "")
            worst = worst or (0 if test else code)
        results = Results(code or worst, read(file))
    if options.verbose or code or any(results.verdict(test) == "failed" for test in results.became):
        print(said, file=sys.stderr)
    return results


def running(file: Path) -> str | None:
    """Return the test that was running at the end."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return lines[-1]["test"] if lines and lines[-1]["became"] == "started" else None


def variables(row: Row, tests: Path | None) -> dict[str, str]:
    """Return the environment that has `_site/sitecustomize.py` do its work, in every interpreter below."""
    return child_environment(
        PYTHONPATH=str(HERE / "_site"),
        TERCET_CONFORMANCE_PAIRS=" ".join(f"{theirs}={ours}" for theirs, ours in row.replaces.items()),
        TERCET_CONFORMANCE_HIDDEN="cloudpickle",
        TERCET_CONFORMANCE_TESTS=str(tests or ""),
        **row.also,
    )


if __name__ == "__main__":
    sys.exit(main())
