"""Who waits in a pool of ours, or for it, is idle, as in the standard library's pool."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """\
import json, threading, time
from {module} import {names}

def nap():
    for _ in range(20):
        time.sleep(0.05)

with ThreadPoolExecutor(4) as pool:
    meeting = threading.Barrier(4)
    for number in [pool.submit(meeting.wait) for _ in range(4)]:
        number.result()
    print(json.dumps({{"main": threading.get_native_id()}}), flush=True)
    future = pool.submit(nap)
    {wait}
"""
NAMES = "ThreadPoolExecutor, wait, as_completed"
WAITS = {
    "result": "future.result()",
    "result-timeout": "future.result(60)",
    "wait": "wait([future])",
    "as_completed": "list(as_completed([future]))",
    "map": "list(pool.map(abs, [1])); list(pool.map(lambda _: nap(), [1]))",
    "shutdown": "pool.shutdown()",
}


@pytest.mark.parametrize("module", ["tercet", "concurrent.futures"])
@pytest.mark.parametrize("how", WAITS)
def test_who_waits_for_a_task_does_not_hide_what_the_task_waits_for(
    module: str, how: str, watch, tmp_path: Path
) -> None:
    program = tmp_path / "waits.py"
    program.write_text(PROGRAM.format(module=module, names=NAMES, wait=WAITS[how]))
    seen = watch(program)
    assert seen.thread("main")["shares"].get("lock", 0) >= 0.7, seen.thread("main")["shares"]
    assert seen.shares.get("sleep", 0) >= 0.6, seen.shares
    assert seen.report["work"]["lock"] <= 0.1
    assert seen.report["verdict"]["remedy"] not in {"fix-lock", "fewer-threads"}
    leader = seen.report["lines"][0]
    assert (leader["function"], leader["kind"]) == ("nap", "sleep")


def test_a_lock_that_is_fought_over_in_our_pool_is_still_a_lock(watch, tmp_path: Path) -> None:
    program = tmp_path / "fights.py"
    program.write_text(
        "import threading, time\n"
        "from tercet import ThreadPoolExecutor\n"
        "door = threading.Lock()\n"
        "def pass_through():\n"
        "    for _ in range(5):\n"
        "        with door:\n"
        "            time.sleep(0.05)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    for future in [pool.submit(pass_through) for _ in range(4)]:\n"
        "        future.result()\n"
    )
    seen = watch(program)
    assert seen.report["work"]["lock"] >= 1
    assert seen.report["verdict"]["remedy"] == "fix-lock"
