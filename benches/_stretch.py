"""A target that runs for long, and stretches of its run: seconds, units of work, processor time."""

import mmap
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TARGET = Path(__file__).with_name("_target.py")


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


@dataclass(frozen=True)
class Stretch:
    """What happened in a part of a run. Rests are how often the watcher's main thread lay down to sleep."""

    seconds: float
    units: int
    target_s: float
    watcher_s: float
    rests: int

    def __add__(self, other):
        return Stretch(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def slow_down(self, usual):
        """Return by how much a unit takes longer than in another stretch, as a share."""
        return (self.seconds / self.units) / (usual.seconds / usual.units) - 1

    def extra_cpu(self, usual):
        """Return by how much a unit costs the target more processor time, as a share."""
        return (self.target_s / self.units) / (usual.target_s / usual.units) - 1


def observe(target, seconds, watcher_pid=None):
    """Let the target run for a while and return what happened."""

    def now():
        watcher = (cpu_s(watcher_pid), rests(watcher_pid)) if watcher_pid else (0, 0)
        return time.perf_counter(), target.units(), cpu_s(target.pid), *watcher

    before = now()
    time.sleep(seconds)
    after = now()
    took, units, target_s, *costs = (b - a for a, b in zip(before, after, strict=True))
    # On a crowded machine a target may not get a turn at all; such a stretch counts, but must not divide by zero.
    return Stretch(took, max(units, 1), max(target_s, 1e-6), *costs)


def cpu_s(pid):
    """Return the processor time of a process with all its threads, to the nanosecond."""
    of_whole_process = 2  # the kernel's CPUCLOCK_SCHED; clock_getcpuclockid(3) is not in the `time` module
    return time.clock_gettime(~pid << 3 | of_whole_process)


def rests(pid):
    """Return how often the main thread of a process gave up its processor of its own will."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
