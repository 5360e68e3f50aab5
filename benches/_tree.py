"""The memory that a process and all below it use, each page counted once; a process that stands aside looks."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

STEP_S = 0.01


class Tree:
    """Watches this process and its children while a `with` block runs; then `peak_mb` says how much they used at most.

    What is counted is the proportional share (PSS), in which what several processes map is counted once. Memory files,
    and files in `/dev/shm`, count as a whole even where nobody has mapped them yet.
    """

    def __enter__(self):
        words = [sys.executable, "-S", __file__, str(os.getpid())]
        self.watcher = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # It has looked once.
        self.watcher.stdout.readline()
        return self

    def __exit__(self, *_):
        told, _ = self.watcher.communicate()
        self.peak_mb = float(told) / 1e6


def watch(top):
    """Look until the standard input is closed, then print the highest sum."""
    os.set_blocking(0, False)
    before, peak = _files_in_shm(), 0
    print("ready", flush=True)
    while True:
        peak = max(peak, _weigh(top, before))
        with contextlib.suppress(BlockingIOError):
            if os.read(0, 1) == b"":
                break
        time.sleep(STEP_S)
    print(peak)


def _weigh(top, before):
    own, mapped, files = 0, 0, {}
    for pid in _tree(top):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                kind, _, rest = line.partition(":")
                if kind in {"Pss_Anon", "Pss_File", "Pss_Shmem"}:
                    size = 1024 * int(rest.split()[0])
                    if kind == "Pss_Shmem":
                        mapped += size
                    else:
                        own += size
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link).startswith("/memfd:"):
                        stat = link.stat()
                        files[stat.st_ino] = 512 * stat.st_blocks
    return own + max(mapped, sum(files.values()) + _files_in_shm() - before)


def _tree(pid):
    """The process and all below it, but for the one that looks."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    if int(child) != os.getpid():
                        yield from _tree(int(child))


def _files_in_shm():
    stat = os.statvfs("/dev/shm")
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


if __name__ == "__main__":
    watch(int(sys.argv[1]))
