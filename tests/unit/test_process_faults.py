"""The fault table of `tests/stress/_faults.py`, line by line, and a slice of `./x stress processes`.

Each line runs in a process of its own, with a limit: a hang is a verdict and not the end of the tests. The lines are
those of the table that `./x stress processes table` makes beside other pools. Closer looks at some of them, in this
process, are in `test_process_pool`: crashes of every kind and many of them, a kill while a large result or argument is
on its way, an idle worker and the zygote killed, what cannot be packed or rebuilt, endless input, pools inside workers,
locks, pending work at the end, Ctrl-C, and a killed program. `test_starter` looks at how a death is told,
`test_process_limits` at what ends a task before its time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STRESS = Path(__file__).parents[1] / "stress"
SCRIPT = STRESS / "processes.py"
OTHER_STARTS = ["fork", "forkserver", "spawn"]


def _table() -> tuple[Any, Any, Any]:
    """The lines of the table, how a cell is made, and the verdicts; these files import one another by name."""
    sys.path.insert(0, str(STRESS))
    try:
        import _cell
        import _faults
        import _verdict
    finally:
        sys.path.remove(str(STRESS))
    return _faults, _cell, _verdict


FAULTS, CELL, VERDICT = _table()
V = VERDICT.Verdict
LINES = list(FAULTS.LINES)


def test_every_fault_has_its_line() -> None:
    assert len(FAULTS.LINES) == 21
    assert all(fn.__doc__ for fn in FAULTS.LINES.values())


@pytest.mark.parametrize("name", LINES)
def test_a_fault_costs_no_more_than_it_must(name: str) -> None:
    verdict, detail = CELL.ask(name, "tercet", "zygote")
    assert verdict in VERDICT.GOOD, detail


@pytest.mark.slow
@pytest.mark.parametrize("start", OTHER_STARTS)
@pytest.mark.parametrize("name", LINES)
def test_a_fault_costs_no_more_under_any_start_method(name: str, start: str) -> None:
    verdict, detail = CELL.ask(name, "tercet", start)
    if (name, start) == ("held_lock", "fork"):
        # A fork has the locks of the program as they are; the other methods are there for that.
        assert verdict is V.HANG
    else:
        assert verdict in VERDICT.GOOD, detail


@pytest.mark.parametrize(
    ("name", "face", "verdict"),
    [
        ("sigkill", "stdlib", V.BROKEN),
        ("sigkill", "mp.Pool", V.HANG),
        ("out_of_memory", "stdlib", V.BROKEN),
        ("endless", "stdlib", V.UNBOUNDED),
        ("held_lock fork", "stdlib", V.HANG),
        ("parent_killed fork", "stdlib", V.ORPHAN),
        ("exit_with_work", "mp.Pool", V.LOST),
    ],
)
def test_the_table_can_tell(name: str, face: str, verdict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines find in other pools what is known to happen there: so they would find it here."""
    monkeypatch.setenv("TERCET_STRESS_PATIENCE_S", "2")
    line, _, start = name.partition(" ")
    assert CELL.ask(line, face, start or "zygote")[0] is verdict


@pytest.mark.parametrize(
    "words",
    [
        ("soak", "--tasks", "4000", "--kills", "80"),
        ("orphans", "--rounds", "3"),
        ("churn", "--churn", "10"),
        ("table", "--pools", "tercet", "--lines", "sigkill", "idle_worker"),
    ],
    ids=lambda words: words[0],
)
def test_a_slice_of_the_stress(words: tuple[str, ...]) -> None:
    command = [sys.executable, str(SCRIPT), *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("nothing was lost, and nothing was kept\n")


@pytest.mark.slow
@pytest.mark.parametrize("start", OTHER_STARTS)
@pytest.mark.parametrize("words", [("soak", "--tasks", "3000", "--kills", "30"), ("orphans", "--rounds", "5")])
def test_a_slice_of_the_stress_under_any_start_method(words: tuple[str, ...], start: str) -> None:
    test_a_slice_of_the_stress((*words, "--start", start))
