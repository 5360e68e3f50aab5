"""Tables of figures, with what has to travel with them: the machine, the versions, the command."""

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from tercet import _tercet

RESULTS = Path(__file__).resolve().parent / "results"


def say(line):
    """Print one line of progress."""
    print(line, file=sys.stderr, flush=True)


class Result:
    """A page of results. Make it before the first measurement: it writes down how busy the machine is."""

    def __init__(self, name, claim, *conditions):
        self.name = name
        self.page = [f"# {name}", "", claim, "", *_conditions(name), *conditions, ""]

    def add(self, *lines):
        """Add a paragraph, or the lines of a list."""
        self.page += [*lines, ""]

    def add_table(self, heads, rows, right=()):
        """Add a table; the columns named in `right` hold figures."""
        self.add(*_table([heads, *rows], [head in right for head in heads]))

    def publish(self, is_kept):
        """Print the page; keep it in benches/results when asked."""
        text = "\n".join(self.page).rstrip() + "\n"
        print(text, end="", flush=True)
        if is_kept:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{self.name}.md").write_text(text)
            say(f"written to benches/results/{self.name}.md")


def median(values):
    """Return the middle value; with an even number of them, the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def interval(values):
    """Return the interval that has the true median with 95 %, by ranks; with few values the lowest and the highest."""
    ordered = sorted(values)
    aside = max(int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5), 0)
    return ordered[aside], ordered[-1 - aside]


def _conditions(name):
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    build = _tercet.build_info()
    # Where this machine keeps its files is nobody's concern.
    command = " ".join(["./x bench", name, *(word.rpartition("/")[2] for word in sys.argv[1:])])
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else "another C library"
    if load > 0.3 * cores:
        say(f"the machine is busy (load {load:.1f} on {cores} cores): these figures will not be worth keeping")
    return [
        f"- Machine: {cores} cores, {_processor()}; Linux {platform.release().split('-')[0]}, {libc}",
        f"- Python {platform.python_version()}; tercet {build['version']}{_commit()}, {build['profile']} build",
        f"- Command: `{command}`, {datetime.date.today()}; load before it began {load:.2f}",
    ]


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Processor")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit():
    words = ["git", "describe", "--always", "--dirty", "--abbrev=8"]
    try:
        answer = subprocess.run(words, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return f" at {answer.stdout.strip()}" if answer.returncode == 0 else ""


def _table(rows, is_right):
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(is_right))]

    def line(row):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, is_right, strict=True)]
    return [line(rows[0]), f"| {' | '.join(rule)} |", *map(line, rows[1:])]
