"""A pytest plugin that writes down what became of each test, as it happens, and leaves out what has been begun.

`ecosystem.py` asks for it with `-p noted_by_pytest`, where `sitecustomize.py` has put a loop in place.
"""

from __future__ import annotations

import faulthandler
import json
import os
from pathlib import Path
from typing import Any

import placed_loop

RESULTS = Path(os.environ["TERCET_CONFORMANCE_RESULTS"])
END_LIMIT_S = 60.0
"""For the end of the interpreter, which waits for what a test has left: a thread, a process."""
ONLY = os.environ.get("TERCET_CONFORMANCE_ONLY", "")


def note(name: str, became: str) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps({"test": name, "became": became, "loops": placed_loop.made}) + "\n")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    begun = {json.loads(line)["test"] for line in RESULTS.read_text().splitlines()}
    wanted = set(Path(ONLY).read_text().splitlines()) if ONLY else None
    kept = [item for item in items if item.nodeid not in begun and (wanted is None or item.nodeid in wanted)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    note(nodeid, "started")


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed:
        note(report.nodeid, "failed")
    elif report.skipped:
        note(report.nodeid, "skipped")
    elif report.when == "call":
        note(report.nodeid, "passed")


def pytest_runtest_logfinish(nodeid: str, location: Any) -> None:
    note(nodeid, "finished")


def pytest_unconfigure() -> None:
    faulthandler.dump_traceback_later(END_LIMIT_S, exit=True)
