"""A slice of `./x conformance processes` for every change: a fork of this interpreter, and what takes no long sleep."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import _results
import _rows
import _suite
import processes

HERE = Path(__file__).resolve().parent
VERSION = "{}.{}".format(*sys.version_info)

SLICES = {
    "ProcessPoolExecutor": (
        "ForkWait*.test_[af]*",
        "ForkProcessPoolExecutorTest.test_[!ifm]*",
        "ForkExecutorDead*.test_cr*",
    ),
    "Pool": ("Pool.test_[!art]*", "PoolWorkerErrors*", "TestInitializers*"),
    "queues": ("Queue.test_[!t]*",),
    "connections": (
        "Connection.test_*",
        "Poll.test_[des]*",
        "PicklingConnections*",
        "TestInvalidHandle*",
        "TestIgnore*",
    ),
    "locks": ("Lock.test_*", "Semaphore.test_*", "Event.test_*", "Condition.test_[!w]*", "Barrier.test_[!dt]*"),
    "values": ("Value.test_*", "Array.test_*", "SharedCTypes.test_*"),
}
FEWEST = 9
"""The tests in the shortest slice."""


@pytest.mark.skipif(
    _suite.is_missing(Path(sys.executable), _rows.SUITE) and not _suite.stored(VERSION),
    reason=f"this Python {VERSION} came without CPython's tests; `./x conformance processes` fetches them",
)
@pytest.mark.parametrize("row", SLICES)
def test_the_tests_of_the_standard_library_pass(row: str) -> None:
    words = [sys.executable, HERE / "processes.py", "--no-fetch", "--no-baseline", "--method", "fork", "--limit", "60"]
    answer = subprocess.run(
        [*words, "--row", row, *SLICES[row]], capture_output=True, text=True, timeout=110, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    ran = int(answer.stdout.splitlines()[1].split()[-5])
    assert ran >= FEWEST, answer.stdout


MADE = {
    "Pool": "type(multiprocessing.Pool(1)) is tercet.Pool",
    "queues": "type(multiprocessing.JoinableQueue()) is type(context.JoinableQueue()) is tercet.JoinableQueue",
    "connections": "type(multiprocessing.Pipe()[0]) is type(context.Pipe()[0]) is tercet.connection.Connection",
    "locks": "type(multiprocessing.Condition()) is type(context.Condition()) is tercet.Condition",
    "values": "isinstance(context.Value('i')._obj._wrapper, tercet.sharedctypes.Block)",
}


@pytest.mark.parametrize("row", MADE)
def test_what_makes_objects_elsewhere_makes_ours(row: str) -> None:
    start = _rows.Start(processes.TABLE, argparse.Namespace(), VERSION, Path(sys.executable), None, "fork")
    setting = "import multiprocessing, tercet; context = multiprocessing.get_context('spawn')"
    words = [sys.executable, "-c", f"{setting}; assert {MADE[row]}"]
    subprocess.run(words, env=start.variables(processes.TABLE.rows[row]), timeout=60, check=True)
    bare = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "Error" in bare.stderr


def test_every_exception_has_a_reason() -> None:
    table = tomllib.loads((HERE / "processes.toml").read_text())
    for entry in table.get("exception", ()):
        assert set(entry) <= {"test", "row", "method", "on", "sometimes", "why"}
        assert entry["why"].endswith(".")
        assert set(entry.get("row", ())) <= set(processes.TABLE.rows)
        assert set(entry.get("method", ())) <= set(processes.TABLE.methods)


def test_the_test_that_ran_last_is_known(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.touch()
    assert _rows.running(file) is None
    lines = ['{"test": "one", "became": "started"}', '{"test": "one", "became": "passed"}']
    file.write_text("\n".join(lines))
    assert _rows.running(file) is None
    file.write_text("\n".join([*lines, '{"test": "two", "became": "started"}']))
    assert _rows.running(file) == "two"


def test_what_fails_in_both_is_no_fault() -> None:
    def of(**became: str) -> _results.Results:
        return _results.Results(0, {test: Counter([word]) for test, word in became.items()})

    there, here = of(one="failed", two="failed", three="passed"), of(one="failed", two="passed", three="failed")
    assert list(_rows.failed_by_both(there, here)) == ["one"]
