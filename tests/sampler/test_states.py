"""Each state, produced alone, is recognised on every interpreter: the kind, the line, the thread."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

STATES = Path(__file__).resolve().with_name("states.py")

# state: the kinds that may dominate, and the function whose line leads.
ALONE = {
    "python_code": ({"cpu-gil"}, "count_up"),
    "native_code": ({"cpu-nogil"}, "hash_blocks"),
    "garbage": ({"gc"}, "garbage"),
    "sleeping": ({"sleep"}, "nap"),
    "tcp": ({"network"}, "tcp"),
    "tcp_timeout": ({"network"}, "tcp_timeout"),
    "udp": ({"network"}, "udp"),
    "unix": ({"network"}, "unix"),
    "pipe": ({"pipe"}, "pipe"),
    "lock": ({"lock"}, "lock"),
    "lock_timeout": ({"lock"}, "lock_timeout"),
    "process_lock": ({"process-lock"}, "process_lock"),
    "child": ({"child"}, "child"),
    "child_output": ({"child", "pipe"}, "child_output"),
    "loop_waits": ({"sleep"}, "block"),
    "loop_computes": ({"cpu-gil"}, "compute"),
    "gil_held": ({"gil-held"}, "gil_held"),
}


COMPUTING = {"python_code", "native_code", "garbage", "loop_computes"}


@cache
def marked_lines(function: str) -> set[int]:
    """The lines of one function of `states.py` that end in `# here`."""
    text = STATES.read_text()
    (node,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]
    lines = text.splitlines()
    return {number for number in range(node.lineno, node.end_lineno + 1) if lines[number - 1].endswith("# here")}


def check_sums(report: dict) -> None:
    """What holds for every report, whatever it is about."""
    assert sum(report["shares"].values()) == pytest.approx(1, abs=0.002)
    assert list(report["shares"].values()) == sorted(report["shares"].values(), reverse=True)
    assert sum(line["share"] for line in report["lines"]) <= 1.002
    for thread in report["threads"]:
        assert not thread["shares"] or sum(thread["shares"].values()) == pytest.approx(1, abs=0.002)
    assert {thread["pid"] for thread in report["threads"]} <= {process["pid"] for process in report["processes"]}


def share(shares: dict[str, float], *kinds: str) -> float:
    return sum(shares.get(kind, 0) for kind in kinds)


# A loaded machine makes any thread wait for a processor now and then, which is the truth and no mistake.
def check_dominates(shares: dict[str, float], kinds: set[str], least: float = 0.7) -> None:
    assert share(shares, *kinds, "runnable") >= least, shares
    assert max((kind for kind in shares if kind != "runnable"), key=shares.__getitem__) in kinds, shares


@pytest.fixture(scope="module")
def look(request: pytest.FixtureRequest, watch, world) -> Iterator[Callable]:
    """The watch of one state; those that only wait run a few at a time, before their tests."""

    def run(state: str, python: str):
        return watch(STATES, state, "1", world.place(state), python=python)

    tests = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    cases = [(item.callspec.params["state"], item.callspec.params["python"]) for item in tests]
    with contextlib.closing(Ahead()) as ahead:
        for case in cases:
            if case[0] not in COMPUTING:
                ahead.start(case, run)
        yield lambda *case: ahead.result(case) or run(*case)


class Ahead:
    """Watches that run before they are asked for, three at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(3)
        self._watches: dict[tuple, Future] = {}

    def start(self, case: tuple, run: Callable) -> None:
        """Run one as soon as there is room."""
        self._watches[case] = self._pool.submit(run, *case)

    def result(self, case: tuple):
        """Wait for one; None when it was not started."""
        return self._watches[case].result() if case in self._watches else None

    def close(self) -> None:
        """Forget those that did not begin, and let the others end."""
        self._pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("state", ALONE)
def test_a_state_dominates_with_its_line(state: str, python: str, look) -> None:
    seen = look(state, python)
    report = seen.report
    check_sums(report)
    kinds, function = ALONE[state]
    check_dominates(seen.shares, kinds)
    check_dominates(seen.thread()["shares"], kinds)
    leader = report["lines"][0]
    assert (leader["file"], leader["function"], leader["origin"]) == (str(STATES), function, "own")
    assert leader["line"] in marked_lines(function)
    assert leader["kind"] in kinds | {"runnable"}
    # On a busy machine the same line computes for one part of the time and waits for a processor for another.
    assert sum(line["share"] for line in report["lines"] if line["function"] == function) >= 0.6, report["lines"]
    assert report["samples"] >= 20
