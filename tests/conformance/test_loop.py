"""A slice of `./x conformance loop` for every change, on this interpreter, and the judge itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import _suite
import loop

HERE = Path(__file__).resolve().parent
VERSION = "{}.{}".format(*sys.version_info)

SLICE = (
    "test_buffered_proto",
    "test_events.EPollEventLoopTests.test_[abcrsw]*",
    "test_server",
    "test_sock_lowlevel.EPollEventLoopTests.test_[cu]*",
    "test_streams.StreamTests.test_[or]*",
    "test_transports",
    "test_unix_events.SelectorEventLoopUnixSocketTests",
)
LEAST = 60


def answer(*words: str) -> str:
    """Run the slice, and return what was said."""
    command = [sys.executable, HERE / "loop.py", "--no-fetch", "--limit", "30", *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


have_tests = pytest.mark.skipif(
    _suite.is_missing(Path(sys.executable), loop.SUITE) and not _suite.stored(VERSION),
    reason=f"this Python {VERSION} came without CPython's tests; `./x conformance loop` fetches them",
)


@have_tests
def test_the_tests_of_the_standard_library_pass() -> None:
    _, standard, ours = answer(*SLICE).splitlines()
    assert int(standard.split()[2]) == int(ours.split()[2]) >= LEAST


@have_tests
def test_the_standard_loop_is_as_good_as_itself() -> None:
    _, standard, other = answer("--loop", "asyncio", "test_buffered_proto").splitlines()
    assert standard.split()[2:] == other.split()[2:] == ["1", "1", *"00000"]


def test_every_exception_has_a_reason() -> None:
    table = tomllib.loads((HERE / "loop.toml").read_text())
    for entry in table.get("exception", ()):
        assert set(entry) <= {"test", "on", "why"}
        assert entry["why"].endswith(".")


# --- the judge ------------------------------------------------------------------------------------------------


def run(**became: str) -> loop.Run:
    return loop.Run(became, set(became))


def test_only_tests_that_make_a_loop_and_pass_on_the_standard_one_are_fair() -> None:
    standard = loop.Run(
        {"one": "passed", "two": "failed", "three": "passed", "four": "skipped"}, {"one", "two", "four"}
    )
    assert standard.fair() == {"one"}


def test_all_is_well_when_all_pass_but_what_is_listed() -> None:
    judged, listed = run(one="passed", two="failed", three="skipped"), {"two": "It patches a selector."}
    assert list(judged.faults({"one", "two", "three"}, listed, may_pass=False)) == []
    counted = judged.count({"one", "two", "three"}, listed)
    assert {name: count for name, count in counted.items() if count} == {
        "use it": 3,
        "passed": 1,
        "skipped": 1,
        "listed": 1,
    }


@pytest.mark.parametrize(
    ("judged", "fault"),
    [
        (run(one="failed"), "one failed"),
        (run(one="hung"), "one hung"),
        (run(one="crashed"), "one crashed"),
        (run(), "one was not run"),
        (run(one="passed", listed="passed"), "listed passes, but is listed as an exception"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(judged: loop.Run, fault: str) -> None:
    names = {"one", *judged.became}
    assert list(judged.faults(names, {"listed": "It patches a selector."}, may_pass=False)) == [fault]


def test_nothing_to_judge_by_is_a_fault() -> None:
    assert list(run().faults(set(), {}, may_pass=True)) == [
        "no test of those chosen makes a loop and passes on the standard one"
    ]


@pytest.mark.parametrize(("said", "became"), [("Timeout (0:00:30)!", "hung"), ("Segmentation fault", "crashed")])
def test_the_test_that_ended_its_process_is_known(tmp_path: Path, said: str, became: str) -> None:
    file = tmp_path / "results.jsonl"
    lines = [("one", "started", 0), ("one", "passed", 1), ("two", "started", 1)]
    file.write_text("".join(json.dumps({"test": t, "became": b, "loops": n}) + "\n" for t, b, n in lines))
    assert loop.note_the_end(file, 0, 1, said)
    found = loop.read(file)
    assert found.became == {"one": "passed", "two": became}
    assert found.use_it == {"one", "two"}
    # A process that began no test is not started again and again.
    assert not loop.note_the_end(file, 4, 1, said)
