"""The manifest of `./x conformance ecosystem`, its judge and its servers; the suites themselves take too long."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import _servers
import ecosystem


@pytest.mark.parametrize("suite", ecosystem.suites().values(), ids=lambda suite: suite.name)
def test_a_suite_is_pinned_and_knows_its_servers(suite: ecosystem.Suite) -> None:
    assert re.fullmatch(r"\d+(\.\d+)+", suite.version)
    assert suite.tests
    assert re.fullmatch(r"([a-z]+/[a-z0-9.+-]+)?", suite.debian)
    assert set(suite.services) <= set(_servers.SERVICES)
    assert all(why.endswith(".") for why in suite.blockers.values())


class Played:
    """A trial whose tests have fixed results: those of each run on each loop, in order."""

    suite = ecosystem.Suite("played", "1.0", ["tests"])

    def __init__(self, **runs: list[dict[str, str]]) -> None:
        self.runs = runs

    def run(self, loop: str, only: set[str] | None = None) -> dict[str, str]:
        became = self.runs[loop].pop(0)
        return {test: word for test, word in became.items() if only is None or test in only}


def verdict(asyncio: list[dict[str, str]], tercet: list[dict[str, str]]) -> ecosystem.Verdict:
    return ecosystem.judge(Played(asyncio=asyncio, tercet=tercet), "tercet")


def test_what_fails_on_the_standard_loop_too_is_not_ours() -> None:
    found = verdict([{"one": "failed", "two": "passed"}], [{"one": "failed", "two": "passed"}])
    assert (found.failed, found.unsteady) == (set(), set())
    assert found.figures()[0] == {"passed": 1, "failed": 1, "unsteady": 0, "skipped": 0}
    assert found.figures()[1] == {"passed": 1, "failed": 0, "unsteady": 0, "skipped": 0}


@pytest.mark.parametrize("became", ["failed", "hung", "crashed"])
def test_what_fails_on_ours_twice_is_a_failure(became: str) -> None:
    found = verdict([{"one": "passed"}] * 2, [{"one": became}] * 2)
    assert found.failed == {"one"}


def test_a_test_that_was_not_run_is_a_failure() -> None:
    assert verdict([{"one": "passed"}] * 2, [{}, {}]).failed == {"one"}


def test_what_fails_once_is_unsteady() -> None:
    assert verdict([{"one": "passed"}] * 2, [{"one": "failed"}, {"one": "passed"}]).unsteady == {"one"}
    assert verdict([{"one": "passed"}, {"one": "failed"}], [{"one": "failed"}] * 2).unsteady == {"one"}


@pytest.mark.parametrize(("words", "is_through"), [([], False), (["started"], False), (["started", "finished"], True)])
def test_an_interpreter_that_does_not_end_after_its_tests_is_known(
    tmp_path: Path, words: list[str], is_through: bool
) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps({"test": "one", "became": word, "loops": 0}) + "\n" for word in words))
    assert ecosystem.is_through(results) is is_through


@pytest.mark.parametrize(("name", "program"), [("redis", "redis-server"), ("postgresql", "postgres")])
def test_a_server_runs_and_is_stopped(name: str, program: str) -> None:
    if not shutil.which(program) and not any(_servers.STORE.glob(f"**/bin/{program}")):
        pytest.skip(f"no `{program}` here; `./x conformance ecosystem` fetches it")
    with _servers.SERVICES[name]() as port:
        socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)
