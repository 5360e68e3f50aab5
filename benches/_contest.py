"""Rivals that take turns at the same cases, each run in a process of its own, and the table of what came of it.

A rival is a pool or a loop: `pools[name](case.workers)` makes the face that a case is run with.
"""

import argparse
import json
import random
import subprocess
import sys

from _result import Result, interval, median, say


class Case:
    """One thing that people do with a pool or a loop; `run(pool)` returns the figure."""

    unit = ""
    is_better_high = True
    workers = 8
    needs = "submit"
    rivals = None
    """Whom it is run with, beside ours; ``None`` for all."""
    seconds = 0.5
    """How long a case runs that goes by the clock."""

    def limit(self):
        """What is possible without any pool; ``None`` where nothing else could be measured."""


def main(name, about, claim, cases, pools, kind="pools", against="stdlib", more=None):
    """Take turns and print the table: the ratio to `against`, and to the best. `more(result, wishes)` may add to it."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "POOL"), help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=list(cases), default=list(cases), help="the cases to run")
    parser.add_argument(
        f"--{kind}", dest="pools", nargs="+", choices=list(pools), default=list(pools), help=f"the {kind} to compare"
    )
    parser.add_argument(
        "--seconds", type=float, default=Case.seconds, help="how long a case that goes by the clock runs"
    )
    if more:
        parser.add_argument("--count", action="store_true", help="count instructions and system calls as well")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run")
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    wishes = parser.parse_args()
    if wishes.measure:
        case = cases[wishes.measure[0]]()
        case.seconds = wishes.seconds
        _measure(case, wishes.measure[1], pools)
        return 0
    result = Result(name, claim)
    turns = random.Random(1)
    figures = {}
    for number in range(wishes.rounds):
        for case in wishes.only:
            present = [*(pool for pool in wishes.pools if _takes_part(cases[case], pool)), "limit"]
            turns.shuffle(present)
            for pool in present:
                figures.setdefault((case, pool), []).append(_ask(case, pool, wishes.seconds))
        say(f"round {number + 1} of {wishes.rounds}")
    heads = ["case", "unit", *wishes.pools, f"tercet against {against}", "against the best other", "limit"]
    rows = [_row(cases[case], wishes.pools, figures, against) for case in wishes.only]
    result.add_table(heads, rows, right=heads[2:])
    result.add(*(f"- {case}: {cases[case].__doc__.partition(chr(10))[0]}" for case in wishes.only))
    result.add(f"Medians of {wishes.rounds} rounds; in brackets the interval that has the true median with 95 %.")
    if more:
        more(result, wishes)
    result.publish(wishes.write)
    return 0


def _takes_part(case, pool):
    return case.rivals is None or pool == "tercet" or pool in case.rivals


def _measure(case, pool, pools):
    """Run one case on one pool and print the figure."""
    if pool == "limit":
        figure = case.limit()
    else:
        face = pools[pool](case.workers)
        figure = case.run(face) if hasattr(face, case.needs) else None
        face.close()
    print(json.dumps(figure))


def _ask(case, pool, seconds):
    """Have one case measured on one pool; `None` if it cannot or does not within a minute."""
    words = [sys.executable, sys.argv[0], "--measure", case, pool, "--seconds", str(seconds)]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    if answer.returncode:
        if "ModuleNotFoundError" not in answer.stderr:
            say(f"{case} on {pool}: {(answer.stderr.strip().splitlines() or ['no word'])[-1]}")
        return None
    return json.loads(answer.stdout.splitlines()[-1])


def _row(case, pools, figures, against):
    """One line of the table."""

    def middle(pool):
        seen = [figure for figure in figures.get((case.name, pool), ()) if figure is not None]
        return median(seen) if seen else None

    def ratio(rival):
        pairs = zip(figures.get((case.name, "tercet"), ()), figures.get((case.name, rival), ()), strict=False)
        ratios = [ours / theirs if case.is_better_high else theirs / ours for ours, theirs in pairs if ours and theirs]
        if not ratios:
            return "-"
        low, high = interval(ratios)
        return f"{median(ratios):.2f}x ({low:.2f} to {high:.2f})"

    middles = {pool: middle(pool) for pool in pools}
    others = {pool: figure for pool, figure in middles.items() if pool != "tercet" and figure is not None}
    best = (max if case.is_better_high else min)(others, key=others.get) if others else None
    return [
        case.name,
        case.unit,
        *(_shown(middles[pool]) for pool in pools),
        ratio(against) if against in pools else "-",
        f"{best} {ratio(best)}" if best else "-",
        _shown(middle("limit")),
    ]


def _shown(figure):
    """A figure with as many digits as it is worth."""
    if figure is None:
        return "-"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}"
