"""A slice of `./x conformance threads` for every change: what takes no long sleep, on this interpreter."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import _results
import _rows
import _run
import _suite
import threads

HERE = Path(__file__).resolve().parent
VERSION = "{}.{}".format(*sys.version_info)

SLICE = (
    "FutureTests.test_[!re]*",
    "ThreadPoolExecutorTest.test_[!mh]*",
    "ThreadPoolExecutorTest.test_map_[!t]*",
    "ThreadPoolShutdownTest.test_[!h]*",
    "ThreadPoolWaitTests.test_[ap]*",
    "ThreadPoolAsCompletedTest*.test_[cfn]*",
    "ThreadPool*InitializerTest*",
)


@pytest.mark.skipif(
    _suite.is_missing(Path(sys.executable), _rows.SUITE) and not _suite.stored(VERSION),
    reason=f"this Python {VERSION} came without CPython's tests; `./x conformance threads` fetches them",
)
@pytest.mark.parametrize("name", threads.TABLE.rows)
def test_the_tests_of_the_standard_library_pass(name: str) -> None:
    words = [sys.executable, HERE / "threads.py", "--no-fetch", "--no-baseline", "--limit", "60", "--row", name]
    answer = subprocess.run([*words, *SLICE], capture_output=True, text=True, timeout=110, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    ran = int(answer.stdout.splitlines()[1].split()[-5])
    assert ran >= 30, answer.stdout


def test_every_exception_has_a_reason() -> None:
    table = tomllib.loads((HERE / "threads.toml").read_text())
    for entry in table.get("exception", ()):
        assert set(entry) <= {"test", "row", "on", "why"}
        assert entry["why"].endswith(".")


# --- the judge ------------------------------------------------------------------------------------------------


def results(exit_code: int = 0, **became: str) -> _results.Results:
    return _results.Results(exit_code, {test: Counter(["started", *words.split()]) for test, words in became.items()})


def test_all_is_well_when_all_pass_but_what_is_listed() -> None:
    run = results(one="passed", two="failed", three="skipped")
    listed = _results.Listed({"two": "It reaches into a lock."})
    assert list(run.faults(listed)) == []
    assert run.count(listed) == {"ran": 2, "passed": 1, "failed": 0, "skipped": 1, "listed": 1}


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (results(one="failed"), "one failed"),
        (results(one="started passed failed"), "one failed 1 times of 2"),
        (results(one="hung"), "one never ended"),
        (results(listed="passed"), "listed passes, but is listed as an exception"),
        (results(), "no test ran"),
        (results(3, one="passed"), "the run ended with exit code 3"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(run: _results.Results, fault: str) -> None:
    assert list(run.faults(_results.Listed({"listed": "It reaches into a lock."}))) == [fault]


def test_a_pattern_may_be_listed_and_a_test_that_fails_sometimes() -> None:
    run = results(of_fork="failed", of_spawn="passed", other="passed")
    listed = _results.Listed({"of_*": "It depends."})
    assert list(run.faults(listed)) == ["of_spawn passes, but is listed as an exception"]
    assert list(run.faults(_results.Listed({"of_*": "It depends."}, {"of_*"}))) == []
    assert run.count(listed) == {"ran": 3, "passed": 2, "failed": 0, "skipped": 0, "listed": 1}


def test_a_test_without_a_result_never_ended(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    lines = [("one", "started"), ("one", "passed"), ("two", "started")]
    file.write_text("".join(f'{{"test": "{test}", "became": "{became}"}}\n' for test, became in lines))
    assert _run.read(file) == {"one": Counter(["started", "passed"]), "two": Counter(["started", "hung"])}


def test_tests_hear_ctrl_c_where_a_shell_ignores_it(tmp_path: Path) -> None:
    known = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        words = [sys.executable, "-c", "import signal; signal.raise_signal(signal.SIGINT)"]
        code, said = _run.run_alone(words, {}, str(tmp_path))
    finally:
        signal.signal(signal.SIGINT, known)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in said
