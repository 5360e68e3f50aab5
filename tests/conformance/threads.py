"""CPython's own tests of `concurrent.futures`, with tercet's futures and thread pool in place.

    ./x conformance threads                                  this interpreter
    ./x conformance threads --python 3.12 --python 3.13      others, each in an environment of its own
    ./x conformance threads --repeat 200 cancel_futures      the tests whose name contains it, 200 times

The tests are run where they are installed; an interpreter that came without them gets them from its distribution
(`_suite.py`). There are two passes: one replaces the classes, `Future` and `ThreadPoolExecutor`, and leaves the
standard library's `wait` and `as_completed` to cope with them; the other replaces these two as well. What processes
and interpreters are tested with is left out.

A test that is expected to fail stands in `threads.toml`, with the reason in a sentence. Exit code 0 means that
everything else passed, and that nothing on the list did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

from _results import COLUMNS, Results, exceptions
from _run import ask, find_tests, interpreters, print_table, read, run_alone

from house.message import Refusal, say
from house.process import child_environment

HERE = Path(__file__).resolve().parent

SUITE = "test_concurrent_futures"

PASSES = {
    "classes": "Future ThreadPoolExecutor",
    "and waiting": "Future ThreadPoolExecutor wait as_completed",
}
LIMIT_S = 120.0
"""For one test; the slowest one starts fifty processes."""


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
    parser = argparse.ArgumentParser(prog="./x conformance threads", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", metavar="VERSION", help="another interpreter; may be given again")
    parser.add_argument("--pass", dest="passes", action="append", choices=PASSES, help="only this pass")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each test so many times")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for one test")
    parser.add_argument("--no-fetch", action="store_true", help="leave out interpreters that came without the tests")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the words of the tests, whatever came of it")
    parser.add_argument("patterns", nargs="*", metavar="TEST", help="a part of the name of a test")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Run every pass on every interpreter."""
    faults = []
    lines = [("Python", "replaced", *COLUMNS)]
    for version, python in interpreters(options.python):
        tests = find_tests(SUITE, version, python, may_fetch=not options.no_fetch)
        full_version = ask(python, "import platform; print(platform.python_version())")
        listed = exceptions("threads", on=version)
        for name in options.passes or PASSES:
            say(f"Python {full_version}: {name} ...")
            results = run_pass(python, name, tests, options)
            counted = results.count(listed)
            lines.append((full_version, name, *(str(counted[column]) for column in COLUMNS)))
            faults += [f"Python {full_version}, {name}: {fault}" for fault in results.faults(listed)]
    print_table(lines, 2)
    for fault in faults:
        print(fault)
    return int(bool(faults))


def run_pass(python: Path, name: str, tests: Path | None, options: argparse.Namespace) -> Results:
    """Run the tests in a process of its own, and read what became of them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.jsonl")
        file.touch()
        words = [python, HERE / "_runner.py", "--results", file, "--limit", options.limit, "--repeat", options.repeat]
        code, said = run_alone([str(word) for word in (*words, *options.patterns)], variables(name, tests), folder)
        results = Results(code, read(file))
    if options.verbose or code or any(results.verdict(test) == "failed" for test in results.became):
        print(said, file=sys.stderr)
    return results


def variables(name: str, tests: Path | None) -> dict[str, str]:
    """Return the environment that has `_site/sitecustomize.py` do its work, in every interpreter below."""
    return child_environment(
        PYTHONPATH=str(HERE / "_site"),
        TERCET_CONFORMANCE_NAMES=PASSES[name],
        TERCET_CONFORMANCE_TESTS=str(tests or ""),
    )


if __name__ == "__main__":
    sys.exit(main())
