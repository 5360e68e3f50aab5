"""Whether `tercet why` gives the right answer for programs with a known bottleneck.

    ./x bench why_corpus                          every program three times, under the interpreter of `./x`: 7 minutes
    ./x bench why_corpus --runs 1 --python 3.10 --python 3.14
    ./x bench why_corpus --only pool              those whose path contains a word
    ./x bench why_corpus --write                  keep the page in benches/results

Nothing is tried again and nothing is left out, except a program whose package an interpreter does not have.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

from _judge import HARMFUL, MISS, OK, PROGRAMS, is_overloaded, judge, lacks, watch
from _result import Result, median, say

import pythons

CLAIM = (
    "`tercet why` names a remedy that helps for 90 % of the programs with a known bottleneck, and never one that harms."
    " The accepted and the harmful answers stand in tests/corpus/table.toml."
)
TARGET = 0.9


def main():
    words = arguments()
    programs = [program for program in PROGRAMS if words.only in program]
    if not programs:
        sys.exit(f"error: no program of tests/corpus/table.toml contains `{words.only}`")
    interpreters = [interpreter(name) for name in words.python or [sys.executable]]
    result = Result("why_corpus", CLAIM)
    tables = {version: look(version, path, programs, words) for version, path in interpreters}
    result.add_table(
        ["Python", "programs", OK, MISS, HARMFUL, "accepted", "left out"],
        [totals(version, rows, len(programs)) for version, rows in tables.items()],
        right=["programs", OK, MISS, HARMFUL, "accepted", "left out"],
    )
    for number, (version, rows) in enumerate(tables.items()):
        add(result, version, rows, is_whole=number == 0)
    result.publish(words.write)
    return int(not all(holds(rows) for rows in tables.values()))


def arguments():
    parser = argparse.ArgumentParser(prog="./x bench why_corpus", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", metavar="VERSION", help="3.12, or a path; may be given repeatedly")
    parser.add_argument("--runs", type=int, default=3, help="how often each program is watched (default 3)")
    parser.add_argument("--only", default="", metavar="WORD", help="only the programs whose path contains WORD")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the JSON of every watch there, to study it")
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    return parser.parse_args()


def interpreter(name):
    """Return the version and the path of an interpreter, named by its version or its path."""
    path = name if "/" in name else pythons.find_all().get(name)
    if not path:
        sys.exit(f"error: no Python {name} on this machine\nhint: `./x pythons --list` shows those there are")
    ask = [path, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    return (f"{version}, shared" if name.endswith("-shared") else version), path


def holds(rows):
    """Say whether the claim does. No share of right answers makes a harmful one good."""
    marks = [row.mark for row in rows]
    return HARMFUL not in marks and marks.count(OK) >= TARGET * len(marks)


class Row:
    """One program under one interpreter: all its answers."""

    def __init__(self, program, answers):
        self.program = program
        self.marks = [judge(program, answer.remedy) for answer in answers]
        # The worst of several answers is the one that counts.
        self.mark = max(self.marks, key=[OK, MISS, HARMFUL].index)
        worst = answers[self.marks.index(self.mark)]
        self.remedy = ", ".join(count_of(Counter(answer.remedy for answer in answers), len(answers)))
        self.gain = gains(answers)
        self.is_overloaded = bool(worst.report) and is_overloaded(worst.report)

    def cells(self):
        """Return the row of the table."""
        accepted = ", ".join(PROGRAMS[self.program]["accepted"])
        mark = self.mark if len(self.marks) == 1 else f"{self.mark} ({self.marks.count(OK)} of {len(self.marks)} ok)"
        if self.mark != OK and self.is_overloaded:
            mark += ", machine overloaded"
        return [f"`{self.program}`", self.remedy, accepted, mark, self.gain]


def count_of(counted, whole):
    return [name if count == whole else f"{name} {count} of {whole}" for name, count in counted.most_common()]


def gains(answers):
    """Return the predicted speed-ups as their median and, with several answers, their range."""
    known = [answer.report["verdict"]["speedup"] for answer in answers if answer.report]
    known = [speedup for speedup in known if speedup is not None]
    if not known:
        return "-"
    if len(answers) == 1:
        return f"{known[0]:.2f}"
    return f"{median(known):.2f} ({min(known):.2f} to {max(known):.2f})"


def look(version, path, programs, words):
    """Watch every program under one interpreter, round by round."""
    able = [program for program in programs if not lacks(program, path)]
    answers = {program: [] for program in able}
    for turn in range(words.runs):
        for program in able:
            answer = watch(program, path)
            answers[program].append(answer)
            keep(answer, words.keep, f"{version}-{Path(program).stem}-{turn + 1}.json")
            say(f"Python {version}, run {turn + 1}: {program}: {answer.remedy} {judge(program, answer.remedy)}")
    return [Row(program, found) for program, found in answers.items()]


def keep(answer, folder, name):
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(answer.report))


def totals(version, rows, programs):
    counted = Counter(row.mark for row in rows)
    share = f"{counted[OK] / max(len(rows), 1):.0%}"
    return [version, len(rows), counted[OK], counted[MISS], counted[HARMFUL], share, programs - len(rows)]


def add(result, version, rows, is_whole):
    """Add the programs of one interpreter: all of them for the first, those not accepted for the others."""
    shown = [row for row in rows if is_whole or row.mark != OK]
    if not shown:
        result.add(f"Python {version}: every answer is accepted.")
        return
    result.add(f"## Python {version}{'' if is_whole else ', the answers that are not accepted'}")
    heads = ["program", "remedy", "accepted", "judged", "predicted speed-up"]
    result.add_table(heads, [row.cells() for row in shown], right=["predicted speed-up"])


if __name__ == "__main__":
    sys.exit(main())
