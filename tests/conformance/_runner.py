"""Runs a suite of CPython's in this interpreter, and writes down what became of each test.

`_rows.py` starts it, in an interpreter that `_site/sitecustomize.py` has prepared. Every test that
starts and every result is a line of JSON, written at once: a test that never ends is known by having no result.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import inspect
import json
import os
import pkgutil
import sys
import unittest
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# Tests of processes and of interpreters that do not say by an `executor_type` what they are about.
OTHER_ENGINES = ("ProcessPool", "InterpreterPool", "FailingInitializerResources", "AsyncioLoop")


def main() -> int:
    """Run the tests that match, and return 0 even when some fail: what failed is in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds for one test")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--method", default="", help="a start method, for tests of processes")
    parser.add_argument("--classes", default="", help="classes of tests, divided by commas")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    keep_the_environment()
    fit_the_support()
    confirm()
    known = {json.loads(line)["test"] for line in options.results.read_text().splitlines()}
    chosen = [
        test
        for test in tests_of(options.suite)
        if is_of(test, options.method, options.classes)
        and is_chosen(test.id(), options.patterns)
        and name_of(test) not in known
    ]
    with options.results.open("a") as file:

        def result(*words: Any) -> unittest.TextTestResult:
            return Noted(*words, file, options.limit)

        runner = unittest.TextTestRunner(verbosity=2, resultclass=result)
        for _ in range(options.repeat):
            runner.run(unittest.TestSuite(chosen))
            faulthandler.cancel_dump_traceback_later()
    return 0


def keep_the_environment() -> None:
    """Have the interpreters that tests start read `PYTHONPATH`, where our `sitecustomize` is."""
    script_helper = importlib.import_module("test.support.script_helper")
    script_helper.interpreter_requires_environment = lambda: True


def fit_the_support() -> None:
    """Let tests that were fetched use an older `test.support`, that of the interpreter: it does not know `thread=`."""
    support = importlib.import_module("test.support")
    known = support.check_sanitizer
    if "thread" not in inspect.signature(known).parameters:
        support.check_sanitizer = lambda *, thread=False, **kinds: bool(kinds) and known(**kinds)


def confirm() -> None:
    """Make sure that the tests meet tercet's classes, here and in the interpreters that they start."""
    pairs = [pair.split("=") for pair in os.environ.get("TERCET_CONFORMANCE_PAIRS", "").split()]
    modules = sorted({name.rpartition(".")[0] for pair in pairs for name in pair})
    check = "\n".join([*(f"import {name}" for name in modules), *(f"assert {a} is {b}" for a, b in pairs)])
    exec(check)
    importlib.import_module("test.support.script_helper").assert_python_ok("-c", check)


def tests_of(name: str) -> Iterator[unittest.TestCase]:
    """Load the suite: one module, or since 3.12 a package of modules."""
    suite = importlib.import_module(name)
    parts = sorted(found.name for found in pkgutil.iter_modules(getattr(suite, "__path__", [])))
    for part in [f"{name}.{part}" for part in parts if part.startswith("test_")] or [name]:
        try:
            module = importlib.import_module(part)
        except unittest.SkipTest:
            continue  # It is about another operating system.
        yield from flattened(unittest.defaultTestLoader.loadTestsFromModule(module))


def flattened(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite one by one."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flattened(test)
        else:
            yield test


def is_of(test: unittest.TestCase, method: str, classes: str) -> bool:
    """Say whether a test is one of those that are asked for."""
    kind = type(test)
    if classes:
        return kind.__name__ in classes.split(",")
    if not method:
        return is_of_threads(test)
    if kind.__name__ == "FailingInitializerResourcesTest":
        return test.id().endswith(f"_{method}")
    return getattr(kind, "executor_type", None) is ProcessPoolExecutor and getattr(kind, "ctx", None) == method


def name_of(test: unittest.TestCase, prefix: str = "") -> str:
    """Return what the lists call a test: with no prefix to be cut, its class and its own name."""
    return test.id().removeprefix(prefix) if prefix else ".".join(test.id().rsplit(".", 2)[1:])


def is_of_threads(test: unittest.TestCase) -> bool:
    """Say whether a test is about threads or futures, and not about processes."""
    kind = type(test)
    engine = getattr(kind, "executor_type", None)
    if engine is None:
        return not kind.__name__.startswith(OTHER_ENGINES) and "deadlock" not in kind.__module__
    return engine is not ProcessPoolExecutor and "Interpreter" not in engine.__name__


def is_chosen(name: str, patterns: list[str]) -> bool:
    """Say whether the name of a test matches; without patterns every test does."""
    return not patterns or any(fnmatch(name, f"*{pattern}*") for pattern in patterns)


def end_executors() -> None:
    """End what a test that failed has left: its processes would keep the fork server from ending."""
    for left in [each for each in gc.get_objects() if isinstance(each, ProcessPoolExecutor)]:
        processes = list((left._processes or {}).values())
        left.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


class Noted(unittest.TextTestResult):
    """Results, each written down as it comes. A test that takes too long shows its stacks and ends the run."""

    def __init__(
        self, stream: Any, descriptions: bool, verbosity: int, file: Any, limit: float, prefix: str = ""
    ) -> None:
        super().__init__(stream, descriptions, verbosity)
        self.file = file
        self.limit = limit
        self.prefix = prefix
        self.has_failed = False

    def more(self) -> dict[str, Any]:
        """Return what else is worth a note."""
        return {}

    def note(self, test: unittest.TestCase, became: str) -> None:
        self.has_failed |= became == "failed"
        self.file.write(json.dumps({"test": name_of(test, self.prefix), "became": became, **self.more()}) + "\n")
        self.file.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.note(test, "started")
        faulthandler.dump_traceback_later(self.limit, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        if self.has_failed:
            self.has_failed = False
            end_executors()
        super().stopTest(test)
        # For what is cleaned up between the tests.
        faulthandler.dump_traceback_later(self.limit, exit=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.note(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.note(test, "failed")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.note(test, "failed")

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.note(test, "passed")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "failed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.note(test, "skipped")


if __name__ == "__main__":
    sys.exit(main())
