"""Event loops: idle, blocked by a wait, blocked by a computation."""

from __future__ import annotations

from pathlib import Path

STATES = Path(__file__).resolve().with_name("states.py")


def test_a_loop_that_has_nothing_ready_is_idle(python: str, watch) -> None:
    seen = watch(STATES, "loop_idle", "1", python=python)
    report = seen.report
    assert seen.shares.get("loop-idle", 0) >= 0.8, seen.shares
    assert seen.thread()["is_loop"]
    assert report["event_loop"]["idle_share"] >= 0.8
    assert report["lines"][0]["file"] == str(STATES)
    assert report["symptoms"]["loop_waits_share"] <= 0.1
    assert report["verdict"]["remedy"] != "fix-blocking-call"


def test_a_wait_in_a_coroutine_blocks_the_loop(python: str, watch) -> None:
    report = watch(STATES, "loop_waits", "1.5", python=python).report
    assert report["symptoms"]["loop_waits_share"] >= 0.7
    assert report["lines"][0]["in_loop"]
    assert report["lines"][0]["function"] == "block"
    assert report["verdict"]["remedy"] == "fix-blocking-call"


def test_a_computation_in_a_coroutine_blocks_the_loop(python: str, watch) -> None:
    report = watch(STATES, "loop_computes", "1.5", python=python).report
    assert report["symptoms"]["loop_computes_share"] >= 0.6
    assert report["lines"][0]["in_loop"]
    assert report["lines"][0]["function"] == "compute"
    assert report["verdict"]["remedy"] in {"fix-blocking-call", "multiprocessing"}


def test_a_program_without_a_loop_has_none(watch) -> None:
    seen = watch(STATES, "sleeping", "0.5")
    assert seen.report["event_loop"] is None
    assert not seen.thread()["is_loop"]
    assert not any(line["in_loop"] for line in seen.report["lines"])
