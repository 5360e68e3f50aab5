"""What a watch costs the program and the watcher, beside py-spy.

    ./x bench why_overhead                        about nine minutes
    ./x bench why_overhead --minutes 3 --only cpu
    ./x bench why_overhead --write

How it is measured
------------------
1. Each target (_target.py) runs for long, and the watchers take turns at it, in a new order each round. So neither the
   layout of a process in memory nor its start gets between what is compared.
2. The speed of a processor wanders by several per cent within a second. So a watch by tercet is cut into slices of a
   tenth of a second or less: it is stopped in every other one, and each slice with it is compared with the two beside
   it. `nobody` is the same without a watcher; what it shows is the noise.
3. py-spy makes up for looks that it missed while it was stopped, so it is attached for a second and compared with the
   half seconds before and after. That is coarser, and it takes part in every third round only.
4. Instructions, which no other load on the machine can change, and the unchanged output come from runs that a watcher
   launched.

py-spy is a rival, not a dependency: `.venv/bin/pip install 'py-spy>=0.4,<0.5'` brings it in, or `--py-spy PATH`.
"""

import argparse
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

from _judge import ROOT, TIMED_OUT
from _result import Result, interval, median, say
from _stretch import TARGET, Running, Stretch, observe

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
# From the start of a watcher until it is at its work: it has to find the interpreter first.
START_S = 0.6
# All slices of one watch, and the length of a slice. Where a look is dear, looks are rare, and a slice must hold some.
SLICES_S = 3.0
SLICE_S = {"cpu": 0.06, "gil": 0.1, "waiting": 0.3, "hash": 0.06}
# The look that was due while the watcher was stopped comes at once, and is none of the slice's.
SETTLE_S = 0.005
# The rival, which is not stopped: beside it, with it, and one round of so many.
WITHOUT_S, WITH_S = 0.5, 1.0
RIVAL_EVERY = 3
FEWEST_ROUNDS = 3

# Units of a run for which instructions are counted: about half a second.
UNITS = {"cpu": 3_000, "gil": 750, "waiting": 20, "hash": 2_500}
COUNTED_RUNS = 3


def main():
    words = arguments()
    kinds = [kind for kind in TARGETS if words.only in (None, kind)]
    spy = find_py_spy(words.py_spy)
    watchers = [Watcher("nobody", 0), *(watcher for hz in RATES for watcher in watchers_at(hz, spy))]
    rival = spy.version if spy else "py-spy is not installed, so its rows are missing"
    result = Result("why_overhead", CLAIM, f"- {rival}; {perf_version()}")
    with tempfile.TemporaryDirectory() as folder:
        event = words.event if counts(words.event, Path(folder)) else None
        # The endings take half a minute; the instructions, where they count, a minute and a half.
        stretches_s = max(60 * words.minutes - 30 - (90 if event else 0), 0)
        found, rounds = take_turns(kinds, watchers, Path(folder), stretches_s)
        add_slow_down(result, kinds, watchers, found, rounds)
        add_instructions(result, kinds, watchers, event, Path(folder), words.event)
        is_unchanged = add_endings(result, watchers, Path(folder))
    result.publish(words.write)
    return int(not is_unchanged)


def arguments():
    parser = argparse.ArgumentParser(prog="./x bench why_overhead", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9, help="how long it may take (default 9)")
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
    def is_rival(self):
        return bool(self.path)

    def words(self, report):
        if not self.is_rival:
            return [sys.executable, "-m", "tercet", "why", "--json", "--output", report, "--hz", self.hz]
        mode = ["--nonblocking"] if "nonblocking" in self.name else []
        return [self.path, "record", *mode, "--rate", self.hz, "--format", "raw", "--output", report]

    def attach(self, pid, report):
        # Both end when they are told to; the seconds are for the case that nobody does.
        limit = ["--duration", 60] if self.is_rival else ["--seconds", 60]
        return start([*self.words(report), "--pid", pid, *limit])

    def around(self, command, report):
        """Return the words that run a command under this watcher."""
        if not self.hz:
            return command
        also = ["--subprocesses"] if self.is_rival else []
        return [*self.words(report), *also, "--", *command]


def start(words):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([str(word) for word in words], cwd=ROOT, text=True, **pipes)


# --- turns over one long run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A stretch under watch, those beside it without, and looks a second as far as the watcher tells."""

    watched: Stretch
    usual: Stretch
    looks: float | None = None

    @property
    def slow_down(self):
        return self.watched.slow_down(self.usual)

    @property
    def extra_cpu(self):
        return self.watched.extra_cpu(self.usual)

    @property
    def own_cpu(self):
        return self.watched.watcher_s / self.watched.seconds


class Broken(Exception):
    """A watcher that ended before it was told to; where it does so later, the kernel knows no such process."""


def take_turns(kinds, watchers, folder, limit_s):
    """Return the pairs of each target and watcher, and the number of rounds."""
    found = defaultdict(list)
    order, rounds, started = random.Random(1), 0, time.monotonic()
    while rounds < FEWEST_ROUNDS or (time.monotonic() - started) * (rounds + 1) / rounds < limit_s:
        present = watchers if rounds % RIVAL_EVERY == 0 else [watcher for watcher in watchers if not watcher.is_rival]
        rounds += 1
        for kind in kinds:
            turn = list(present)
            order.shuffle(turn)
            for watcher, pairs in round_of(kind, turn, folder):
                found[kind, watcher] += pairs
        say(f"round {rounds}: {time.monotonic() - started:.0f} s of {limit_s:.0f} s")
    return found, rounds


def round_of(kind, watchers, folder):
    """Yield each watcher with what was seen while it watched one run of the target."""
    target = Running(kind, folder)
    try:
        for watcher in watchers:
            try:
                yield watcher, turn_of(watcher, target, kind, folder / "report")
            except (Broken, OSError) as trouble:
                say(f"{watcher.name} at {watcher.hz} Hz gave up on `{kind}`: {trouble}")
    finally:
        target.end()


def turn_of(watcher, target, kind, report):
    if not watcher.hz:
        return slices(target, SLICE_S[kind])
    before = observe(target, WITHOUT_S) if watcher.is_rival else None
    began = time.monotonic()
    process = watcher.attach(target.pid, report)
    try:
        time.sleep(START_S)
        if process.poll() is not None:
            raise Broken((process.stdout.read().strip().splitlines() or ["no word"])[0])
        if not watcher.is_rival:
            pairs = slices(target, SLICE_S[kind], process)
        else:
            watched = observe(target, WITH_S, process.pid)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not watcher.is_rival:
        return pairs
    # It says how often it saw a thread that is not idle: its looks, where there is one such thread.
    seen = re.search(r"Samples: (\d+)", said)
    looks = int(seen[1]) / (time.monotonic() - began) if seen and kind in ("cpu", "hash") else None
    return [Pair(watched, before + observe(target, WITHOUT_S), looks)]


def slices(target, length_s, process=None):
    """Cut a part of the run into slices, every other one with the watcher at work, and pair them."""
    found = []
    for number in range(int(SLICES_S / length_s) // 2 * 2 + 1):
        is_watched = number % 2 == 1
        if process:
            process.send_signal(signal.SIGCONT if is_watched else signal.SIGSTOP)
        time.sleep(SETTLE_S)
        found.append(observe(target, length_s, process.pid if process and is_watched else None))
    if process:
        process.send_signal(signal.SIGCONT)
    # Each look of tercet ends with a rest until the next.
    return [
        Pair(watched, before + after, watched.rests / watched.seconds if process else None)
        for before, watched, after in zip(found[0::2], found[1::2], found[2::2], strict=False)
    ]


def add_slow_down(result, kinds, watchers, found, rounds):
    heads = ["target", "asked Hz", "watcher", "looks/s", "slow-down %", "extra CPU of the target %", "watcher's CPU %"]
    rows = []
    for kind in kinds:
        for watcher in watchers:
            pairs = found[kind, watcher]
            figures = figures_of(watcher, pairs) if pairs else ["-", "gave up", "-", "-"]
            rows.append([TARGETS[kind], watcher.hz or "-", watcher.name, *figures])
    result.add("## Slow-down, and the watcher's own processor time")
    result.add_table(heads, rows, right=[heads[1], *heads[3:]])
    result.add(
        f"Medians over {rounds} rounds, for py-spy over every third; in brackets the interval that has the true median"
        " with 95 %, or the lowest and the highest of fewer than eight. Slow-down is of a unit of work by the clock;"
        " extra CPU is of a unit by the kernel's counters. The watcher's CPU is a share of one processor, without its"
        " start. A watcher takes fewer looks than asked for when it cannot keep up or, as tercet does, when more would"
        " cost too much. py-spy tells its looks at a single busy thread only, averaged over its start as well."
    )
    result.add("Against the targets:")
    result.add(*(line for kind in kinds for watcher in watchers for line in sentence(kind, watcher, found)))


def figures_of(watcher, pairs):
    looks = [pair.looks for pair in pairs if pair.looks is not None]
    return [
        f"{sum(looks) / len(looks):.0f}" if looks else "-",
        percents([pair.slow_down for pair in pairs]),
        percents([pair.extra_cpu for pair in pairs]),
        percents([pair.own_cpu for pair in pairs], sign="") if watcher.hz else "-",
    ]


def percents(shares, sign="+"):
    """Return the median in percent, with its interval."""
    low, high = interval(shares)
    return f"{100 * median(shares):{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def sentence(kind, watcher, found):
    """Yield whether a watch of tercet keeps what is claimed, as far as the noise lets us tell."""
    pairs = found[kind, watcher]
    if watcher.hz and not watcher.is_rival and pairs:
        slow_down = kept([pair.slow_down for pair in pairs], MOST_SLOW_DOWN[watcher.hz])
        own_cpu = kept([pair.own_cpu for pair in pairs], MOST_OF_A_CORE)
        yield f"- {TARGETS[kind]}, {watcher.hz} Hz: slow-down {slow_down}, own CPU {own_cpu}"


def kept(shares, most):
    low, high = interval(shares)
    if high < most:
        return f"kept (below {most:.0%})"
    return f"**not kept** (above {most:.0%})" if low > most else f"not to be told from {most:.0%}"


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
        usual = [figure for figure in counted[watchers[0]] if figure]
        for watcher, found in counted.items():
            known = [figure / statistics.fmean(usual) - 1 for figure in found if figure and usual]
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
    try:
        subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        say(f"{watcher.name} at {watcher.hz} Hz did not end within 30 s around perf")
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
    try:
        done = subprocess.run(words, input=b"a question", capture_output=True, cwd=ROOT, timeout=30, check=False)
    except subprocess.TimeoutExpired as trouble:
        return End(TIMED_OUT, trouble.stdout or b"", trouble.stderr or b"", trouble.timeout)
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
        if not watcher.is_rival:
            tell_apart(pairs, watcher)
        longer_s = median([end.seconds for end, _ in pairs]) - usual_s
        rows.append([watcher.name, watcher.hz, *(f"{number} of {len(pairs)}" for number in same), f"{longer_s:+.2f}"])
        is_unchanged &= watcher.is_rival or same == [len(pairs)] * 3
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
