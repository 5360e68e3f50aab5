"""`--pid`: a program that runs already is seen as one that was launched, and lives on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

STATES = Path(__file__).resolve().with_name("states.py")


@pytest.fixture
def start() -> Iterator[Callable]:
    """Start a program and wait until it says that it is ready."""
    running = []

    def start(*command: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        running.append(process)
        process.ready = process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def attach(process: subprocess.Popen[str], *options: str) -> dict:
    command = [sys.executable, "-m", "tercet", "why", "--json", "--pid", str(process.pid), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert process.poll() is None
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("state", "kind", "function"),
    [
        ("python_code", "cpu-gil", "count_up"),
        ("tcp", "network", "tcp"),
        ("lock_timeout", "lock", "lock_timeout"),
        ("gil_held", "gil-held", "gil_held"),
        ("loop_waits", "sleep", "block"),
    ],
)
def test_a_running_program_is_read(state: str, kind: str, function: str, python: str, start, world) -> None:
    process = start(python, STATES, state, "100", world.place(state))
    report = attach(process, "--seconds", "1")
    shares = report["shares"]
    assert shares.get(kind, 0) + shares.get("runnable", 0) >= 0.7, shares
    assert (report["lines"][0]["file"], report["lines"][0]["function"]) == (str(STATES), function)
    assert sum(shares.values()) == pytest.approx(1, abs=0.002)
    assert 0.8 <= report["wall_s"] <= 3
    assert report["exit"] is None
    assert report["python"]
    assert process.pid in {entry["pid"] for entry in report["processes"]}
    assert report["phases"]["imports_s"] <= 0.2


def test_a_running_loop_is_known_as_one(start) -> None:
    process = start(sys.executable, STATES, "loop_idle", "100")
    report = attach(process, "--seconds", "1")
    assert report["shares"].get("loop-idle", 0) >= 0.8, report["shares"]
    assert report["event_loop"]


def test_the_children_of_a_running_program_are_seen(start) -> None:
    process = start(sys.executable, STATES, "child", "100")
    report = attach(process, "--seconds", "1")
    assert "sleep 0.3" in {entry["command"] for entry in report["processes"]}
    assert report["shares"].get("child", 0) >= 0.6, report["shares"]


def test_the_watch_ends_with_the_program(start, tmp_path: Path) -> None:
    process = start(sys.executable, STATES, "sleeping", "1")
    command = [sys.executable, "-m", "tercet", "why", "--json", "--pid", str(process.pid), "--seconds", "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {0, 4}, done.stderr
    assert json.loads(done.stdout)["wall_s"] < 20


def test_a_thread_of_the_program_stands_for_it(start) -> None:
    process = start(sys.executable, STATES, "two_threads", "100")
    said = json.loads(process.ready)
    command = [sys.executable, "-m", "tercet", "why", "--json", "--pid", str(said["first"]), "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # Either it watches the whole process or it says that the number is a thread's: never half of the truth.
    if done.returncode == 0:
        assert {said["first"], said["second"]} <= {thread["tid"] for thread in json.loads(done.stdout)["threads"]}
    else:
        assert done.returncode == 3
        assert str(process.pid) in done.stderr


def test_two_watches_of_one_program(start) -> None:
    process = start(sys.executable, STATES, "sleeping", "100")
    command = [sys.executable, "-m", "tercet", "why", "--json", "--pid", str(process.pid), "--seconds", "1"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        printed, _ = one.communicate(timeout=60)
        assert one.returncode == 0
        assert json.loads(printed)["shares"].get("sleep", 0) >= 0.9
    assert process.poll() is None


def test_the_processors_are_those_of_the_program(start) -> None:
    process = start(sys.executable, STATES, "one_processor", "100")
    assert attach(process, "--seconds", "1")["machine"]["cores"] == 1
