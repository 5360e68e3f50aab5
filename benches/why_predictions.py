"""Predicted against measured speed-up, for the programs that have a rewrite.

    ./x bench why_predictions                     every pair, four rounds
    ./x bench why_predictions --only pool --rounds 3
    ./x bench why_predictions --write

Each round takes every pair in turn: it runs the program unwatched, its rewrite unwatched, and the program once more
under `tercet why --json`. What is compared are medians over the rounds: the prediction on one side, on the other the
seconds of work before divided by those after, as the programs print them.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

from _judge import REWRITES, run, watch
from _result import Result, median, say

CLAIM = (
    "The predicted speed-up is within 25 % of the measured one for two thirds of the programs that have a rewrite in"
    " tests/corpus/rewrites."
)
WITHIN = 0.25
TARGET = 2 / 3

# Here the remedy is not a number of workers but a repair, and the verdict's own figure says what that gives.
REPAIRS = {"fix-lock", "fix-blocking-call"}


def main():
    words = arguments()
    pairs = [Pair(entry) for entry in REWRITES if words.only in entry["before"]]
    if not pairs:
        sys.exit(f"error: no rewrite in tests/corpus/table.toml is of a program that contains `{words.only}`")
    result = Result("why_predictions", CLAIM)
    for turn, pair in itertools.product(range(words.rounds), pairs):
        say(f"round {turn + 1}: {pair.before}: {pair.measure()}")
    result.add_table(Pair.HEADS, [pair.cells() for pair in pairs], right=Pair.HEADS[2:])
    near = sum(pair.is_near() for pair in pairs)
    result.add(
        f"{near} of {len(pairs)} within {WITHIN:.0%}. Medians of {words.rounds} rounds; in brackets the lowest and the"
        " highest. Seconds are of work, as the programs print them."
    )
    result.publish(words.write)
    return int(near < TARGET * len(pairs))


def arguments():
    parser = argparse.ArgumentParser(prog="./x bench why_predictions", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4, help="how often each pair is run (default 4)")
    parser.add_argument("--only", default="", metavar="WORD", help="only the programs whose path contains WORD")
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    return parser.parse_args()


class Pair:
    """A program, its rewrite, and what was found of both."""

    HEADS = ("program", "asked", "before s", "after s", "predicted", "measured", "predicted / measured")

    def __init__(self, entry):
        self.before, self.after = entry["before"], entry["after"]
        self.model, self.workers = entry["model"], entry["workers"]
        self.remedies = set()
        self.seconds = []
        self.predicted = []

    @property
    def measured(self):
        return [before / after for before, after in self.seconds]

    def measure(self):
        """Run both once, and the program once more under watch; return what came of it in words."""
        try:
            seconds = tuple(run([sys.executable, program]).work_s for program in (self.before, self.after))
        except ValueError as trouble:
            return str(trouble)
        watched = watch(self.before)
        self.seconds.append(seconds)
        self.remedies.add(watched.remedy)
        self.predicted.append(prediction(watched.report, self.model, self.workers) if watched.report else math.nan)
        return f"predicted {self.predicted[-1]:.2f}, measured {self.measured[-1]:.2f}"

    def ratio(self):
        """Return predicted / measured; not a number where either is missing."""
        return median(self.predicted) / median(self.measured) if self.seconds else math.nan

    def is_near(self):
        return abs(self.ratio() - 1) <= WITHIN

    def cells(self):
        """Return the row of the table."""
        if not self.seconds:
            return [f"`{Path(self.before).name}`", "did not run", "-", "-", "-", "-", "**no figure**"]
        asked = f"{self.model} {self.workers}"
        if self.remedies & REPAIRS:
            asked = ", ".join(sorted(self.remedies))
        before, after = ([pair[side] for pair in self.seconds] for side in (0, 1))
        ratio = f"{self.ratio():.2f}" if not math.isnan(self.ratio()) else "no figure"
        return [
            f"`{Path(self.before).name}`",
            asked,
            f"{median(before):.2f}",
            f"{median(after):.2f}",
            spread(self.predicted),
            spread(self.measured),
            ratio if self.is_near() else f"**{ratio}**",
        ]


def spread(values):
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def prediction(report, model, workers):
    """Return the speed-up that a report predicts for a model and a number of workers; not a number when none.

    A report lists a few sizes. Between two of them the figure is interpolated along the number of tasks that are done
    at a time: nine workers take ten tasks in two rounds, and so do five. Beyond the last size it stays as it is, since
    the list ends where there are no more tasks, or where more processes have no processor to run on.
    """
    verdict = report["verdict"]
    if verdict["remedy"] in REPAIRS:
        return math.nan if verdict["speedup"] is None else verdict["speedup"]
    sizes = {entry["workers"]: entry["speedup"] for entry in report["predictions"] if entry["model"] == model}
    if not sizes:
        return math.nan
    if workers in sizes:
        return sizes[workers]
    tasks = report["tasks"]["count"]
    below = max((size for size in sizes if size < workers), default=min(sizes))
    above = min((size for size in sizes if size > workers), default=max(sizes))
    low, here, high = (at_a_time(tasks, size) for size in (below, workers, above))
    part = (here - low) / (high - low) if high > low else 1.0
    return sizes[below] + min(max(part, 0.0), 1.0) * (sizes[above] - sizes[below])


def at_a_time(tasks, workers):
    """Return how many tasks are done at a time, when the last round is not a full one."""
    return workers if not tasks else tasks / math.ceil(tasks / workers)


if __name__ == "__main__":
    sys.exit(main())
