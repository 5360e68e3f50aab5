"""The fault table of the process pools, and ten thousand kills during a million tasks.

Each part has a bound of its own and ends by itself; the first that fails ends the run with exit code 1.

    ./x stress processes                                    everything, bounded: about a minute beside the table
    ./x stress processes soak --tasks 1000000 --kills 10000 the full run
    ./x stress processes soak --seconds 600 --start fork
    ./x stress processes table --pools tercet stdlib        these columns of the table
    ./x stress processes table --python .cache/rivals/bin/python
    ./x stress processes rivals                             installs loky, pebble, joblib and mpire there

How the table is made
---------------------
1. Each cell is a process of its own, with a limit of a minute. Whatever it leaves behind carries a mark in its
   environment, and is ended before the next cell.
2. A verdict says what came of the guilty task, of sixteen innocent ones, and of the next twenty. A hang is a result
   that does not come within eight seconds; an orphan is a process that is alive a second after its program was killed.
3. A rival that is not installed is a column of dashes. The table states; only tercet's own column fails the run.
4. A cell is one trial. What depends on who is where at the moment, an idle worker that is killed above all, may come
   out differently the next time; and a busy machine makes hangs of what is slow.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
import venv
from collections import Counter
from pathlib import Path

import _cell
import _soak
from _faults import LINES
from _pools import POOLS
from _verdict import GOOD, Found, Verdict

ROOT = Path(__file__).parents[2]
RIVALS = ROOT / ".cache" / "rivals"
PACKAGES = ("joblib", "loky", "mpire", "pebble")
# More tasks than a minute or an hour has time for.
ENOUGH = 10**9
STARTS = ("zygote", "fork", "forkserver", "spawn")
# What tercet does not do yet, and what it does instead.
OPEN = {
    # A fork copies the locks of the program; that is what the other start methods are for.
    "held_lock fork": {Verdict.HANG},
}


def table(request: argparse.Namespace) -> None:
    """Every fault on every pool."""
    rows: dict[str, dict[str, Found]] = {}
    for name in request.lines:
        rows[name] = {}
        for face in request.pools:
            python = sys.executable if face == "tercet" else request.python
            rows[name][face] = _cell.ask(name, face, request.start, python)
            verdict, detail = rows[name][face]
            print(f"  {name} on {face}: {verdict}{detail and f' ({detail})'}", file=sys.stderr, flush=True)
    text = f"{heading(request)}\n\n{page(rows, request.pools, request.start)}"
    print(text, flush=True)
    if request.write:
        Path(request.write).write_text(text + "\n")
    bad = [name for name, cells in rows.items() if "tercet" in cells and not is_expected(name, request.start, cells)]
    if bad:
        raise _soak.Fault(f"tercet fails at {', '.join(bad)}")


def is_expected(name: str, start: str, cells: dict[str, Found]) -> bool:
    verdict = cells["tercet"][0]
    return verdict in GOOD | OPEN.get(name, set()) | OPEN.get(f"{name} {start}", set())


def heading(request: argparse.Namespace) -> str:
    """Say what was compared, where, and how to do it again."""
    seen = f"sorted(f'{{it.name}} {{it.version}}' for it in distributions() if it.name.lower() in {PACKAGES})"
    words = f"from importlib.metadata import distributions; print(*{seen}, sep=', ')"
    found = subprocess.run([request.python, "-c", words], capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        "# What a fault costs in a pool of processes\n\n"
        f"{machine}; {found or 'no rivals installed'}. `./x stress processes table` makes it again.\n\n"
        "Each cell is one fault in a program of its own: the guilty task among sixteen innocent ones, then 20 more.\n"
        "A hang is a result that does not come within eight seconds, an orphan a process that is alive a second after\n"
        "its program was killed. The tasks of joblib are one call, so they fail together. Where a pool has a bounded\n"
        "`map` or a limit for a task, that is what it was asked for."
    )


def page(rows: dict[str, dict[str, Found]], faces: list[str], start: str) -> str:
    """Return the table in Markdown, and under it what was seen."""
    lines = [f"| fault (start method: {start}) | {' | '.join(faces)} |", "|---" * (len(faces) + 1) + "|"]
    for name, cells in rows.items():
        lines.append(f"| {LINES[name].__doc__} | {' | '.join(cells[face][0] for face in faces)} |")
    good = Counter(face for cells in rows.values() for face, found in cells.items() if found[0] in GOOD)
    lines.append(f"| *right or named* | {' | '.join(f'{good[face]} of {len(rows)}' for face in faces)} |")
    lines += ["", "What was seen:", ""]
    for name, cells in rows.items():
        seen = "; ".join(f"{face}: {detail}" for face, (_, detail) in cells.items() if detail)
        lines.append(f"- {LINES[name].__doc__}: {seen or 'nothing else'}")
    return "\n".join(lines)


def soak(request: argparse.Namespace) -> None:
    """Workers killed at random while many tasks run."""
    _soak.soak(request.start, request.tasks, request.kills, request.seconds, request.seed, not request.any)


def orphans(request: argparse.Namespace) -> None:
    """Programs killed in the middle of their work."""
    _soak.orphans(request.start, request.rounds, request.seed)


def churn(request: argparse.Namespace) -> None:
    """Pools that come and go."""
    _soak.churn(request.start, request.churn)


def rivals(request: argparse.Namespace) -> None:
    """Install the rivals into an environment of their own."""
    venv.create(RIVALS, with_pip=True)
    subprocess.run([RIVALS / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)


PARTS = {"table": table, "soak": soak, "orphans": orphans, "churn": churn, "rivals": rivals}
ORDINARY = ("soak", "orphans", "churn", "table")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="./x stress processes", description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; {', '.join(ORDINARY)} by default"
    )
    parser.add_argument("--start", choices=STARTS, default="zygote", help="how the workers start")
    parser.add_argument("--tasks", type=int, help="how many tasks the soak runs; as many as go into a minute")
    parser.add_argument("--kills", type=int, help="how many workers it kills meanwhile; one in a hundred tasks")
    parser.add_argument("--seconds", type=float, help="when the soak ends, tasks left or not")
    parser.add_argument("--any", action="store_true", help="kill workers too that have not done a task yet")
    parser.add_argument("--rounds", type=int, default=20, help="how many programs are killed")
    parser.add_argument("--churn", type=int, default=100, metavar="POOLS", help="how many pools come and go")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is random; a failure prints it")
    parser.add_argument("--pools", nargs="+", choices=list(POOLS), default=list(POOLS), help="the columns of the table")
    parser.add_argument("--lines", nargs="+", choices=list(LINES), default=list(LINES), help="the lines of the table")
    parser.add_argument("--python", help="the interpreter that has the rivals; `.cache/rivals` if it is there")
    parser.add_argument("--write", metavar="FILE", help="write the table there as well")
    request = parser.parse_args(arguments)
    unknown = [name for name in request.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part named `{unknown[0]}`")
    if request.seconds is None:
        request.seconds = 60.0 if request.tasks is None else float("inf")
    request.tasks = ENOUGH if request.tasks is None else request.tasks
    request.kills = request.tasks // 100 if request.kills is None else request.kills
    if request.tasks < 1 or request.kills < 0 or request.seconds <= 0:
        parser.error("there have to be tasks and seconds, and no negative kills")
    own = RIVALS / "bin" / "python"
    request.python = request.python or str(own if own.exists() else sys.executable)
    return request


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return the exit code."""
    request = parse(arguments)
    for name in request.parts or ORDINARY:
        print(f"{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}", flush=True)
        try:
            PARTS[name](request)
        except _soak.Fault as fault:
            print(f"error: {fault}\nhint: `--seed {request.seed}` rolls the same dice", file=sys.stderr)
            return 1
    if request.parts != ["rivals"]:
        print("nothing was lost, and nothing was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
