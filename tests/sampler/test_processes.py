"""Children are part of the program, whatever way they were started in."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

FAMILY = Path(__file__).resolve().with_name("family.py")


def children(seen) -> list[dict[str, int]]:
    return [json.loads(line) for line in seen.printed.splitlines()]


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver", "command", "grandchild"])
def test_all_children_are_listed_and_read(way: str, python: str, watch) -> None:
    seen = watch(FAMILY, way, python=python)
    listed = {process["pid"]: process for process in seen.report["processes"]}
    told = children(seen)
    assert len(told) == 2
    for child in told:
        entry = listed[child["pid"]]
        assert entry["parent"] == child["parent"]
        assert entry["python"] == seen.report["python"]
        assert "family.py" in entry["command"] or "multiprocessing" in entry["command"]
        (thread,) = [thread for thread in seen.report["threads"] if thread["tid"] == child["pid"]]
        assert thread["pid"] == child["pid"]
        assert thread["shares"].get("sleep", 0) >= 0.6, thread["shares"]
    # A command that is waited for is one long wait of its own line, or is looked into like a worker.
    expected = {("nap", "sleep"), ("command", "child"), ("grandchild", "child")}
    assert (seen.report["lines"][0]["function"], seen.report["lines"][0]["kind"]) in expected


def test_a_child_that_is_no_python_is_listed_without_a_version(watch, tmp_path: Path) -> None:
    program = tmp_path / "calls.py"
    program.write_text("import subprocess\nfor _ in range(3): subprocess.run(['sleep', '0.4'], check=True)\n")
    report = watch(program).report
    commands = {process["command"]: process["python"] for process in report["processes"]}
    assert commands["sleep 0.4"] == ""
    assert report["python"] in commands.values()
    assert not report["unreadable"]


def test_a_process_pool_is_seen_with_its_workers(watch) -> None:
    report = watch(FAMILY, "pool").report
    assert (report["pool"]["kind"], report["pool"]["workers"]) == ("processes", 2)


def test_a_thread_pool_is_seen_with_its_workers(watch) -> None:
    report = watch(FAMILY, "thread_pool").report
    assert (report["pool"]["kind"], report["pool"]["workers"]) == ("threads", 3)


def test_processes_with_counters(watch, tmp_path: Path) -> None:
    program = tmp_path / "writer.py"
    program.write_text(
        "import os, time\n"
        "sink = os.open(os.devnull, os.O_WRONLY)\n"
        "end = time.monotonic() + 1\n"
        "written = 0\n"
        "while time.process_time() < 0.5: written += os.write(sink, bytes(100_000))\n"
        "while time.monotonic() < end: time.sleep(0.05)\n"
        "print(written)\n"
    )
    seen = watch(program)
    (process,) = seen.report["processes"]
    assert process["written_bytes"] == pytest.approx(int(seen.printed), rel=0.1)
    assert process["cpu_s"] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "{python} {program}; true"],
        ["sh", "-c", "exec {python} {program}"],
        ["env", "A=1", "{python}", "{program}"],
    ],
)
def test_a_command_around_the_program_is_looked_through(command: list[str], watch, tmp_path: Path) -> None:
    program = tmp_path / "sleeps.py"
    program.write_text("import time\nfor _ in range(20): time.sleep(0.05)\n")
    words = [word.format(python=sys.executable, program=program) for word in command]
    report = watch("--", *words).report
    assert report["python"] == platform.python_version()
    assert report["shares"].get("sleep", 0) >= 0.8, report["shares"]
    assert report["lines"][0]["file"] == str(program)


def test_a_program_that_becomes_another_is_read_anew(python: str, watch, tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text("import time\nfor _ in range(20): time.sleep(0.05)\n")
    program = tmp_path / "becomes.py"
    program.write_text(
        "import os, sys, time\n"
        "for _ in range(4): time.sleep(0.05)\n"
        "os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(__file__), 'sleeps.py')])\n"
    )
    report = watch(program, python=python).report
    assert report["shares"].get("sleep", 0) >= 0.8, (report["shares"], report["phases"])
    assert report["lines"][0]["file"] == str(tmp_path / "sleeps.py")
