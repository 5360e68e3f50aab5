"""What a watch costs the program and the watcher, beside py-spy.

    ./x bench why_overhead                        about eight minutes
    ./x bench why_overhead --minutes 2 --only cpu
    ./x bench why_overhead --write

Slow-down and the watcher's own processor time come from one long run of each target (_target.py), over which the
watchers take turns: half a second without, a second with one of them attached, and so on, in a new order each round.
A slow-down compares a stretch with its two neighbours, in the same process, so that neither the layout of the memory
nor the clock of the processor gets between them. The row `nobody` is a stretch without a watcher, treated as all the
others: what it shows is the noise of the method. py-spy takes part in every third round, for its cost is plain to see.

Instructions, which no other load on the machine can change, and the unchanged output come from runs inside a watcher.

py-spy is a rival, not a dependency: `.venv/bin/pip install 'py-spy>=0.4,<0.5'` brings it in, or `--py-spy PATH`.
"""

import argparse
import json
import mmap
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from _judge import ROOT
from _result import Result, median, quartiles, say

CLAIM = (
    "A watch slows the program by less than 1 % at 100 Hz and 3 % at 1000 Hz, takes less than 5 % of a processor, and"
    " changes neither output nor exit code."
)
MOST_SLOW_DOWN = {100: 0.01, 1000: 0.03}
MOST_OF_A_CORE = 0.05

TARGETS = {
    "cpu": "one thread of Python code",
    "gil": "4 threads that fight for the GIL",
    "waiting": "50 threads that wait",
    "hash": "a hash without the GIL",
}
RATES = (100, 1000)
TARGET = Path(__file__).with_name("_target.py")

WITHOUT_S = 0.5
WITH_S = 1.0
# From the start of a watcher until it is at its work: it has to find the interpreter first.
START_S = 0.6
FEWEST_ROUNDS = 3
# The rival takes part in one round of so many.
RIVAL_EVERY = 3

# Units of a run for which instructions are counted: about half a second.
UNITS = {"cpu": 3_000, "gil": 750, "waiting": 20, "hash": 2_500}
COUNTED_RUNS = 3


def main():
    words = arguments()
    kinds = [kind for kind in TARGETS if words.only in (None, kind)]
    spy = find_py_spy(words.py_spy)
    watchers = [Watcher("nobody", 0), *(watcher for hz in RATES for watcher in watchers_at(hz, spy))]
    result = Result("why_overhead", CLAIM)
    result.add(f"- {spy.version if spy else 'py-spy is not installed, so its rows are missing'}; {perf_version()}")
    with tempfile.TemporaryDirectory() as folder:
        event = words.event if counts(words.event, Path(folder)) else None
        # The endings take half a minute; the instructions, where they count, a minute and a half.
        stretches_s = max(60 * words.minutes - 30 - (90 if event else 0), 0)
        stretches, rounds = take_turns(kinds, watchers, Path(folder), stretches_s)
        add_slow_down(result, kinds, watchers, stretches, rounds)
        add_instructions(result, kinds, watchers, event, Path(folder), words.event)
        is_unchanged = add_endings(result, watchers, Path(folder))
    result.publish(words.write)
    return int(not is_unchanged)


def arguments():
    parser = argparse.ArgumentParser(prog="./x bench why_overhead", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8, help="how long it may take (default 8)")
    parser.add_argument("--only", choices=TARGETS, help="only one of the targets")
    parser.add_argument("--py-spy", metavar="PATH", help="the rival, where it is not beside this Python or on PATH")
    parser.add_argument("--event", default="instructions:u", help="what perf counts (default instructions:u)")
    parser.add_argument("--write", action="store_true", help="keep the page in benches/results")
    return parser.parse_args()


# --- watchers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spy:
    path: str
    version: str


def find_py_spy(named):
    """Return py-spy, or None with a word on how to get it."""
    beside = Path(sys.executable).with_name("py-spy")
    path = named or (str(beside) if beside.exists() else shutil.which("py-spy"))
    if path is None:
        say("py-spy is not installed, so its rows will be missing")
        say("hint: `.venv/bin/pip install 'py-spy>=0.4,<0.5'`, or name one with `--py-spy PATH`")
        return None
    return Spy(path, subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip())


def watchers_at(hz, spy):
    yield Watcher("tercet", hz)
    if spy:
        yield Watcher("py-spy --nonblocking", hz, spy.path)
        yield Watcher("py-spy", hz, spy.path)


@dataclass(frozen=True)
class Watcher:
    """One of the rivals at one rate. The words are without the process or the program that they are about."""

    name: str
    hz: int
    path: str = ""

    @property
    def is_tercet(self):
        return self.name == "tercet"

    def words(self, report):
        if self.is_tercet:
            return [sys.executable, "-m", "tercet", "why", "--json", "--output", report, "--hz", self.hz]
        mode = ["--nonblocking"] if "nonblocking" in self.name else []
        return [self.path, "record", *mode, "--rate", self.hz, "--format", "raw", "--output", report]

    def attach(self, pid, report):
        # Both end when they are told to; the seconds are for the case that nobody does.
        limit = ["--seconds", 60] if self.is_tercet else ["--duration", 60]
        return start([*self.words(report), "--pid", pid, *limit])

    def around(self, command, report):
        """Return the words that run a command under this watcher."""
        if not self.hz:
            return command
        also = [] if self.is_tercet else ["--subprocesses"]
        return [*self.words(report), *also, "--", *command]


def start(words):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([str(word) for word in words], cwd=ROOT, text=True, **pipes)


# --- turns over one long run ----------------------------------------------------------------------------------


class Running:
    """A target that runs until it is told to end."""

    def __init__(self, kind, folder):
        path = folder / f"{kind}.counters"
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as file:
            self._slots = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self._process = subprocess.Popen([sys.executable, TARGET, kind, path], stdin=subprocess.PIPE)
        self.pid = self._process.pid
        while not self.units():
            if self._process.poll() is not None:
                sys.exit(f"error: the target `{kind}` ended with exit code {self._process.returncode}")
            time.sleep(0.01)
        time.sleep(0.3)

    def units(self):
        return sum(self._slots)

    def end(self):
        self._process.stdin.close()
        self._process.wait()


def cpu_ns(pid):
    """Return the processor time of all threads of a process, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


@dataclass(frozen=True)
class Stretch:
    """What happened in a part of the run: seconds, units of work, and processor time of target and watcher."""

    seconds: float
    units: int
    target_s: float
    watcher_s: float = 0.0
    looks_a_second: float | None = None

    def __add__(self, other):
        sums = (self.seconds + other.seconds, self.units + other.units, self.target_s + other.target_s)
        return Stretch(*sums)

    def slow_down(self, usual):
        """Return by how much a unit takes longer, as a share."""
        return (self.seconds / self.units) / (usual.seconds / usual.units) - 1

    def extra_cpu(self, usual):
        """Return by how much a unit costs the target more processor time, as a share."""
        return (self.target_s / self.units) / (usual.target_s / usual.units) - 1


def observe(target, seconds, watcher_pid=None):
    """Let the target run for a while and return what happened."""

    def now():
        return time.perf_counter(), target.units(), cpu_ns(target.pid), cpu_ns(watcher_pid) if watcher_pid else 0

    before = now()
    time.sleep(seconds)
    after = now()
    took, units, target_ns, watcher_ns = (b - a for a, b in zip(before, after, strict=True))
    return Stretch(took, max(units, 1), target_ns / 1e9, watcher_ns / 1e9)


def take_turns(kinds, watchers, folder, limit_s):
    """Return the stretches, each with its neighbours, by target and watcher; and the number of rounds."""
    stretches = defaultdict(list)
    broken = {}
    order, rounds, started = random.Random(1), 0, time.monotonic()
    while rounds < FEWEST_ROUNDS or (time.monotonic() - started) * (rounds + 1) / rounds < limit_s:
        present = watchers if rounds % RIVAL_EVERY == 0 else [watcher for watcher in watchers if not watcher.path]
        rounds += 1
        for kind in kinds:
            turn = [watcher for watcher in present if (kind, watcher) not in broken]
            order.shuffle(turn)
            for watcher, stretch, usual in round_of(kind, turn, folder, broken):
                stretches[kind, watcher].append((stretch, usual))
        say(f"round {rounds}: {time.monotonic() - started:.0f} s of {limit_s:.0f} s")
    return stretches, rounds


def round_of(kind, watchers, folder, broken):
    """Yield each watcher with its stretch and the stretches before and after it."""
    target = Running(kind, folder)
    try:
        before = observe(target, WITHOUT_S)
        for watcher in watchers:
            try:
                stretch = watched(target, watcher, folder / "report")
            except Broken as trouble:
                say(f"{watcher.name} at {watcher.hz} Hz gave up on `{kind}`: {trouble}")
                broken[kind, watcher] = trouble
                continue
            after = observe(target, WITHOUT_S)
            yield watcher, stretch, before + after
            before = after
    finally:
        target.end()


class Broken(Exception):
    """A watcher that ended before it was told to."""


def watched(target, watcher, report):
    """Return a stretch of the target under one watcher."""
    if not watcher.hz:
        time.sleep(START_S)
        return observe(target, WITH_S)
    report.unlink(missing_ok=True)
    process, began = watcher.attach(target.pid, report), time.monotonic()
    try:
        time.sleep(START_S)
        if process.poll() is not None:
            raise Broken((process.stdout.read().strip().splitlines() or ["no word"])[0])
        stretch = observe(target, WITH_S, process.pid)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    looks = looks_of(watcher, report, said, time.monotonic() - began)
    return Stretch(stretch.seconds, stretch.units, stretch.target_s, stretch.watcher_s, looks)


def looks_of(watcher, report, said, seconds):
    """Return how many looks a second a watcher took, as far as it says; it may take fewer than it was asked for."""
    if watcher.is_tercet:
        found = json.loads(report.read_text())
        body_s = found["phases"]["body_s"]
        return found["samples"] / body_s if body_s else None
    # py-spy says how often it saw a thread that is not idle: looks, where there is one such thread, less its start.
    seen = re.search(r"Samples: (\d+)", said)
    return int(seen[1]) / seconds if seen else None


def add_slow_down(result, kinds, watchers, stretches, rounds):
    heads = ["target", "asked Hz", "watcher", "looks/s", "slow-down %", "extra CPU of the target %", "watcher's CPU %"]
    rows = []
    for kind in kinds:
        for watcher in watchers:
            pairs = stretches[kind, watcher]
            if pairs:
                rows.append([TARGETS[kind], watcher.hz or "-", watcher.name, *figures(kind, watcher, pairs)])
            else:
                rows.append([TARGETS[kind], watcher.hz, watcher.name, "-", "gave up", "-", "-"])
    result.add("## Slow-down, and the watcher's own processor time")
    result.add_table(heads, rows, right=[heads[1], *heads[3:]])
    result.add(
        f"Medians of {rounds} rounds of {WITH_S:.0f} s, of py-spy of every third; in brackets the quartiles. Slow-down"
        " is of a unit of work by the clock; extra CPU is of a unit by the kernel's counters, which tell little of"
        " threads that only wait. The watcher's CPU is a share of one processor, without its start. A watcher takes"
        " fewer looks than asked for when it cannot keep up or, as tercet does, when more would cost too much. py-spy"
        " tells its looks at a single busy thread only, averaged over its start as well."
    )
    kept = [sentence(kind, watcher, stretches[kind, watcher]) for kind in kinds for watcher in watchers]
    result.add("Against the targets:", "", *filter(None, kept))


def figures(kind, watcher, pairs):
    looks = [stretch.looks_a_second for stretch, _ in pairs if stretch.looks_a_second is not None]
    tells = looks and (watcher.is_tercet or kind in ("cpu", "hash"))
    own = [stretch.watcher_s / stretch.seconds for stretch, _ in pairs]
    return [
        f"{median(looks):.0f}" if tells else "-",
        percents([stretch.slow_down(usual) for stretch, usual in pairs]),
        percents([stretch.extra_cpu(usual) for stretch, usual in pairs]),
        percents(own, is_signed=False) if watcher.hz else "-",
    ]


def percents(shares, is_signed=True):
    """Return the median in percent, with the quartiles."""
    sign = "+" if is_signed else ""
    low, high = quartiles(shares)
    return f"{100 * median(shares):{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def sentence(kind, watcher, pairs):
    """Say whether one watch of tercet keeps what is claimed."""
    if not watcher.is_tercet or not pairs:
        return None
    slow_down = median([stretch.slow_down(usual) for stretch, usual in pairs])
    own = median([stretch.watcher_s / stretch.seconds for stretch, _ in pairs])
    most = MOST_SLOW_DOWN[watcher.hz]
    kept = [
        f"slow-down {slow_down:+.1%} {'<' if slow_down < most else '**not <**'} {most:.0%}",
        f"own CPU {own:.1%} {'<' if own < MOST_OF_A_CORE else '**not <**'} {MOST_OF_A_CORE:.0%}",
    ]
    return f"- {TARGETS[kind]}, {watcher.hz} Hz: {'; '.join(kept)}"


# --- instructions ---------------------------------------------------------------------------------------------


def perf_version():
    if not shutil.which("perf"):
        return "no perf"
    return subprocess.run(["perf", "version"], capture_output=True, text=True, check=False).stdout.strip()


def counts(event, folder):
    """Say whether perf counts an event on this machine."""
    if not shutil.which("perf"):
        return False
    subprocess.run(perf_words(event, folder / "try", ["true"]), capture_output=True, check=False)
    return count_in(folder / "try") is not None


def perf_words(event, path, command):
    return ["perf", "stat", "-x", ",", "-e", event, "-o", path, "--", *command]


def count_in(path):
    """Return the figure of a perf stat file with commas, None when it was not counted."""
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    for line in text.splitlines():
        figure = line.partition(",")[0]
        if re.fullmatch(r"[\d.]+", figure):
            return float(figure)
    return None


def add_instructions(result, kinds, watchers, event, folder, asked):
    result.add(f"## `{asked}` of the target")
    if not event:
        result.add(f"Not measured: `perf stat -e {asked}` does not count on this machine.")
        return
    rows = []
    for kind in kinds:
        counted = defaultdict(list)
        for _ in range(COUNTED_RUNS):
            for watcher in watchers:
                counted[watcher].append(count(event, kind, watcher, folder))
        usual = statistics.fmean(figure for figure in counted[watchers[0]] if figure)
        for watcher, found in counted.items():
            known = [figure / usual - 1 for figure in found if figure]
            rows.append([TARGETS[kind], watcher.hz or "-", watcher.name, spread(known) if known else "not counted"])
        say(f"{event} counted for `{kind}`")
    result.add_table(["target", "asked Hz", "watcher", "more %"], rows, right=["asked Hz", "more %"])
    result.add(
        f"`{event}` of the target with its start, counted by perf inside the watcher, against the mean without one;"
        f" medians of {COUNTED_RUNS} runs, in brackets the lowest and the highest."
    )


def count(event, kind, watcher, folder):
    counters = folder / "counters"
    counters.write_bytes(bytes(4096))
    command = perf_words(event, folder / "perf", [sys.executable, TARGET, kind, counters, UNITS[kind]])
    words = [str(word) for word in watcher.around(command, folder / "report")]
    subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return count_in(folder / "perf")


def spread(shares):
    return f"{100 * median(shares):+.2f} ({100 * min(shares):+.2f} to {100 * max(shares):+.2f})"


# --- the same output and exit code ----------------------------------------------------------------------------

WORK = """
import os, signal, sys
print("read:", sys.stdin.read())
print("n =", sum(i * i % 7 for i in range(2_000_000)))
print("a complaint", file=sys.stderr)
sys.stdout.flush()
"""
ENDINGS = {
    "ends": "",
    "exits with 7": "sys.exit(7)",
    "raises": "raise ValueError('as it should')",
    "is ended by SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
}
ENDING_RUNS = 3


@dataclass(frozen=True)
class End:
    exit_code: int
    printed: bytes
    complaints: bytes
    seconds: float


def end_of(ending, watcher, folder):
    """Return how a small program ends."""
    command = watcher.around([sys.executable, "-c", WORK + ENDINGS[ending]], folder / "report")
    words = [str(word) for word in command]
    began = time.monotonic()
    done = subprocess.run(words, input=b"a question", capture_output=True, cwd=ROOT, timeout=60, check=False)
    seconds = time.monotonic() - began
    # What a shell makes of a signal, and `tercet why` passes on.
    code = 128 - done.returncode if done.returncode < 0 else done.returncode
    return End(code, done.stdout, done.stderr, seconds)


def add_endings(result, watchers, folder):
    """Compare the endings under each watcher with those without; say whether tercet's are all the same."""
    ends = {
        (ending, watcher): [end_of(ending, watcher, folder) for _ in range(ENDING_RUNS)]
        for ending in ENDINGS
        for watcher in watchers
    }
    nobody = watchers[0]
    usual = {ending: ends[ending, nobody][0] for ending in ENDINGS}
    usual_s = median([end.seconds for ending in ENDINGS for end in ends[ending, nobody]])
    rows, is_unchanged = [], True
    for watcher in watchers[1:]:
        pairs = [(end, usual[ending]) for ending in ENDINGS for end in ends[ending, watcher]]
        same = [
            sum(end.printed == plain.printed for end, plain in pairs),
            sum(end.complaints == plain.complaints for end, plain in pairs),
            sum(end.exit_code == plain.exit_code for end, plain in pairs),
        ]
        if watcher.is_tercet:
            tell_apart(pairs, watcher)
        longer_s = median([end.seconds for end, _ in pairs]) - usual_s
        rows.append([watcher.name, watcher.hz, *(f"{number} of {len(pairs)}" for number in same), f"{longer_s:+.2f}"])
        is_unchanged &= not watcher.is_tercet or same == [len(pairs)] * 3
    result.add("## Output and exit code")
    heads = ["watcher", "asked Hz", "same stdout", "same stderr", "same exit code", "longer by s"]
    result.add_table(heads, rows, right=heads[1:])
    result.add(
        f"A program that reads its input, computes, writes to both outputs and {listed(ENDINGS)}. Its whole run takes"
        f" {usual_s:.2f} s; what it takes longer is the start of the watcher and the making of its report. py-spy"
        " writes its own messages to the program's outputs."
    )
    return is_unchanged


def listed(words):
    *others, last = words
    return f"{', '.join(others)} or {last}"


def tell_apart(pairs, watcher):
    """Say what became different, since that must never happen."""
    for end, plain in pairs:
        if (end.exit_code, end.printed, end.complaints) != (plain.exit_code, plain.printed, plain.complaints):
            said = end.complaints.decode(errors="replace").strip()
            say(f"{watcher.name} at {watcher.hz} Hz: exit code {end.exit_code} for {plain.exit_code}; stderr: {said}")


if __name__ == "__main__":
    os.environ["PYTHONHASHSEED"] = "0"
    sys.exit(main())
