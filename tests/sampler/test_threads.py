"""States that take more than one thread to produce: what each thread is said to do, and what becomes of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

STATES = Path(__file__).resolve().with_name("states.py")


def share(entry: dict, *kinds: str) -> float:
    return sum(entry.get(kind, 0) for kind in kinds)


def test_two_threads_of_python_code_wait_for_the_gil(python: str, watch) -> None:
    seen = watch(STATES, "two_threads", "1.5", python=python)
    for name in ("first", "second"):
        own = seen.thread(name)["shares"]
        assert own.get("gil-wait", 0) >= 0.15, own
        assert own.get("cpu-gil", 0) >= 0.1, own
        assert share(own, "cpu-gil", "gil-wait", "runnable") >= 0.8, own
    assert seen.thread("main")["shares"].get("lock", 0) >= 0.7
    assert share(seen.shares, "cpu-gil", "gil-wait", "runnable") >= 0.7, seen.shares
    (process,) = seen.report["processes"]
    assert process["gil_switches"] >= 10
    holders = {tid for tid, _ in process["gil_timeline"]} - {None}
    assert {seen.said["first"], seen.said["second"]} <= holders
    assert seen.report["work"]["gil"] <= 1.05


def test_threads_on_one_processor_are_runnable_half_of_the_time(watch) -> None:
    seen = watch(STATES, "one_processor", "1.5")
    for name in ("main", "second"):
        entry = seen.thread(name)
        assert entry["shares"].get("runnable", 0) >= 0.2, entry["shares"]
        assert share(entry["shares"], "cpu-nogil", "runnable") >= 0.8, entry["shares"]
        assert entry["queue_delay_s"] >= 0.3
        assert 0.2 <= entry["cpu_s"] <= 1.3
    assert seen.report["work"]["queue_delay"] >= 0.4


def test_a_lock_that_another_thread_holds_in_its_sleep(python: str, watch) -> None:
    seen = watch(STATES, "contended_lock", "1", python=python)
    for name in ("second", "third"):
        assert seen.thread(name)["shares"].get("lock", 0) >= 0.7
    assert seen.thread("main")["shares"].get("sleep", 0) >= 0.7
    assert share(seen.shares, "lock", "sleep") >= 0.8, seen.shares
    assert seen.report["work"]["lock"] >= 1


def test_an_idle_worker_does_not_hide_what_the_program_waits_for(python: str, watch) -> None:
    seen = watch(STATES, "idle_worker", "1", python=python)
    assert seen.thread("worker")["shares"].get("lock", 0) >= 0.8
    assert seen.thread("main")["shares"].get("sleep", 0) >= 0.8
    assert seen.shares.get("sleep", 0) >= 0.6, seen.shares
    assert seen.report["verdict"]["remedy"] not in {"fix-lock", "fewer-threads", "more-threads"}
    assert (seen.report["lines"][0]["function"], seen.report["lines"][0]["kind"]) == ("idle_worker", "sleep")


def test_an_idle_server_does_not_hide_what_the_program_computes(watch, tmp_path: Path) -> None:
    program = tmp_path / "serves.py"
    program.write_text(
        "import socketserver, threading, time\n"
        "server = socketserver.TCPServer(('127.0.0.1', 0), None)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end: sum(range(1000))\n"
    )
    seen = watch(program)
    assert share(seen.shares, "cpu-gil", "runnable") >= 0.8, seen.shares
    assert seen.report["verdict"]["remedy"] == "multiprocessing"


def test_native_code_that_sleeps_with_the_gil_stops_the_other_thread(python: str, watch) -> None:
    seen = watch(STATES, "gil_held_against", "1", python=python)
    assert seen.thread("main")["shares"].get("gil-held", 0) >= 0.6, seen.thread("main")["shares"]
    assert seen.thread("second")["shares"].get("gil-wait", 0) >= 0.6, seen.thread("second")["shares"]
    assert seen.report["work"]["gil_held"] >= 0.5
    assert seen.report["verdict"]["remedy"] == "multiprocessing"


def test_threads_that_come_and_go(watch, tmp_path: Path) -> None:
    program = tmp_path / "mayflies.py"
    program.write_text(
        "import threading, time\n"
        "end = time.monotonic() + 1.2\n"
        "born = 0\n"
        "while time.monotonic() < end:\n"
        "    flies = [threading.Thread(target=time.sleep, args=(0.004,)) for _ in range(4)]\n"
        "    for fly in flies: fly.start()\n"
        "    for fly in flies: fly.join()\n"
        "    born += 4\n"
        "print(born)\n"
    )
    seen = watch(program, options=("--hz", "400"))
    assert int(seen.printed) > 50
    assert share(seen.shares, "sleep", "lock") >= 0.4, seen.shares
    assert seen.report["symptoms"]["unknown_share"] <= 0.2


def test_two_hundred_threads(watch, tmp_path: Path) -> None:
    program = tmp_path / "crowd.py"
    program.write_text(
        "import threading, time\n"
        "crowd = [threading.Thread(target=time.sleep, args=(1.5,)) for _ in range(200)]\n"
        "for thread in crowd: thread.start()\n"
        "for thread in crowd: thread.join()\n"
    )
    seen = watch(program)
    sleepers = [thread for thread in seen.report["threads"] if thread["shares"].get("sleep", 0) > 0.8]
    assert len(sleepers) >= 195
    assert seen.shares.get("sleep", 0) >= 0.7, seen.shares
    assert seen.report["sampler_cpu_share"] <= 0.1


@pytest.mark.parametrize("frames", [900])
def test_the_line_is_found_under_a_deep_recursion(frames: int, python: str, watch, tmp_path: Path) -> None:
    program = tmp_path / "deep.py"
    program.write_text(
        "import time\n"
        "def descend(depth):\n"
        "    if depth:\n"
        "        return descend(depth - 1)\n"
        "    for _ in range(20):\n"
        "        time.sleep(0.05)\n"
        f"descend({frames})\n"
    )
    seen = watch(program, python=python)
    leader = seen.report["lines"][0]
    assert (leader["file"], leader["line"], leader["function"]) == (str(program), 6, "descend")
    assert leader["share"] >= 0.8
