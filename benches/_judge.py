"""Watches the programs of tests/corpus and examples, and judges what `tercet why` says of them.

The answers stand in tests/corpus/table.toml. The tests and the benches ask here, so that they cannot disagree about
what is accepted.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = tomllib.loads((ROOT / "tests/corpus/table.toml").read_text())
PROGRAMS = TABLE["program"]
REWRITES = TABLE["rewrite"]

OK, MISS, HARMFUL = "ok", "miss", "HARMFUL"

# Each program ends by itself in a few seconds; this is for one that hangs, on a machine that is slow.
LONGEST_S = 60
TIMED_OUT = 124
# Threads that were ready to run and had no processor, on average, before a machine counts as overloaded.
CROWDED = 0.1
# Shares are printed with 4 decimals and other figures with 3; sums and bounds may be off by the rounding.
ROUNDING = 0.005


@dataclass(frozen=True)
class Ran:
    """What a program left behind."""

    exit_code: int
    printed: str
    complaints: str

    @property
    def work_s(self):
        """The seconds in the last line, `work: <seconds>`."""
        last = self.printed.rstrip().rpartition("\n")[2]
        if not last.startswith("work: "):
            raise ValueError(f"no `work:` line; exit code {self.exit_code}: {self.complaints.strip()[-500:]}")
        return float(last.removeprefix("work: "))


@dataclass(frozen=True)
class Watched(Ran):
    """The same, with the report of the watch; it is empty when there was none."""

    report: dict

    @property
    def remedy(self):
        """The remedy; in its place, what went wrong."""
        if self.exit_code or not self.report:
            return f"exit code {self.exit_code}"
        return self.report["verdict"]["remedy"]


def run(words, timeout_s=LONGEST_S):
    """Run a command in the checkout and return what it left behind; at the time limit it ends with all it started."""
    process = subprocess.Popen(
        [str(word) for word in words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, complaints = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, complaints = process.communicate()
        return Ran(TIMED_OUT, printed, f"{complaints}did not end within {timeout_s} s")
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return Ran(process.returncode, printed, complaints)


def watch(program, python=sys.executable, hz=100, through=()):
    """Run one program under `tercet why --json`, on its own or `through` a script that runs it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        options = ["--json", "--output", report, "--hz", hz, "--python", python]
        ran = run([sys.executable, "-m", "tercet", "why", *options, *through, program])
        text = report.read_text() if report.exists() else ""
    return Watched(ran.exit_code, ran.printed, ran.complaints, json.loads(text) if text else {})


def judge(program, remedy):
    """Say what a remedy is for a program: accepted, a miss, or harmful."""
    answer = PROGRAMS[program]
    if remedy in answer["accepted"]:
        return OK
    return HARMFUL if remedy in answer["harmful"] else MISS


def is_overloaded(report):
    """Say whether other programs took processors that this one could have used.

    Both figures are the run's own, from the kernel's counters: its threads stood in the queue, although it left a part
    of the processors to others. A program that fills every processor queues behind itself, which is no excuse.
    """
    work, cores = report["work"], report["machine"]["cores"]
    return work["queue_delay"] > CROWDED and work["cpu"] + work["child_cpu"] < cores - CROWDED


@functools.cache
def watch_fairly(program, through=()):
    """Watch a program once; again, and only once, when the first answer is wrong and the machine was overloaded."""
    first = watch(program, through=through)
    if first.report and judge(program, first.remedy) != OK and is_overloaded(first.report):
        return watch(program, through=through)
    return first


@functools.cache
def lacks(program, python=sys.executable):
    """Return the packages that a program needs and an interpreter does not have."""
    needs = PROGRAMS[program].get("needs", [])
    return [name for name in needs if run([python, "-c", f"import {name}"]).exit_code]


def faults(report):
    """Return what cannot be true in a report, as sentences."""
    verdict = report["verdict"]
    found = []

    def expect(is_so, sentence):
        if not is_so:
            found.append(sentence)

    def is_one(shares):
        return abs(sum(shares.values()) - 1) < ROUNDING and all(0 <= share <= 1 for share in shares.values())

    expect(report["schema"] == 1, f"the schema is {report['schema']}")
    expect(is_one(report["shares"]) or report["samples"] == 0, f"the shares do not sum to one: {report['shares']}")
    for thread in report["threads"]:
        expect(is_one(thread["shares"]), f"the shares of thread {thread['tid']} do not sum to one: {thread['shares']}")
    lines = sum(line["share"] for line in report["lines"])
    expect(lines <= 1 + ROUNDING, f"all lines together have {lines} of the time")
    whole = sum(report["phases"].values())
    expect(abs(whole - report["wall_s"]) < 0.05 * whole + 0.1, f"the phases sum to {whole} of {report['wall_s']} s")
    expect(0 <= verdict["confidence"] <= 1, f"the confidence is {verdict['confidence']}")
    expect(verdict["sentence"], "the verdict has no sentence")
    for gain in [verdict, *report["predictions"]]:
        speedup, bound, workers = gain["speedup"], gain["bound"], gain["workers"]
        if speedup is not None:
            expect(speedup > 0, f"a speed-up is {speedup}")
            expect(bound is None or speedup <= bound + ROUNDING, f"a speed-up of {speedup} passes its bound, {bound}")
        expect(workers is None or workers >= 1, f"a prediction has {workers} workers")
    return found
