"""The repeating part counts: imports and the way out are told apart and do not dilute it."""

from __future__ import annotations

from pathlib import Path

import pytest

STATES = Path(__file__).resolve().with_name("states.py")
BURN = "import time\ndef burn():\n    start = time.process_time()\n    while time.process_time() - start < 0.6: pass\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (tmp_path / "heavy.py").write_text(BURN + "burn()\n")
    (tmp_path / "starts.py").write_text("import heavy, time\nfor _ in range(20): time.sleep(0.05)\n")
    (tmp_path / "ends.py").write_text(
        f"import atexit\n{BURN}atexit.register(burn)\nfor _ in range(20): time.sleep(0.05)\n"
    )
    return tmp_path


def test_imports_at_the_start_do_not_dilute_the_verdict(python: str, watch, programs: Path) -> None:
    seen = watch(programs / "starts.py", python=python)
    phases = seen.report["phases"]
    assert phases["imports_s"] >= 0.45, phases
    assert 0.7 <= phases["body_s"] <= 2
    assert seen.shares.get("sleep", 0) >= 0.9, seen.shares


def test_the_way_out_does_not_dilute_the_verdict(python: str, watch, programs: Path) -> None:
    seen = watch(programs / "ends.py", python=python)
    phases = seen.report["phases"]
    assert phases["exit_s"] >= 0.4, phases
    assert 0.7 <= phases["body_s"] <= 2
    assert seen.shares.get("sleep", 0) >= 0.85, seen.shares


def test_the_parts_of_a_run_make_up_the_whole(watch, programs: Path) -> None:
    report = watch(programs / "starts.py").report
    assert sum(report["phases"].values()) == pytest.approx(report["wall_s"], rel=0.1)


def test_imports_in_a_function_are_imports(python: str, watch, world) -> None:
    report = watch(STATES, "imports", "1.5", world.place("imports"), python=python).report
    phases = report["phases"]
    assert phases["imports_s"] > phases["body_s"] + phases["exit_s"], phases
    assert report["verdict"]["remedy"] == "fix-imports"
    assert ("imports", str(STATES)) in {(line["function"], line["file"]) for line in report["lines"]}


def test_waiting_for_the_disk(watch, world) -> None:
    seen = watch(STATES, "disk", "1", world.place("disk"))
    # A fast disk takes less time than the kernel's own work for it.
    assert sum(seen.shares.get(kind, 0) for kind in ("disk", "cpu-nogil", "runnable")) >= 0.8, seen.shares
    assert seen.report["symptoms"]["sync_share"] >= 0.5
    assert (seen.report["lines"][0]["function"], seen.report["lines"][0]["line"]) == ("disk", DISK_LINE)


DISK_LINE = next(n for n, line in enumerate(STATES.read_text().splitlines(), 1) if "os.fsync" in line)
