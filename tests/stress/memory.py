"""Run what holds `unsafe` under valgrind: the unit tests of the crates, a whole watch, and a pool of threads.

A read of memory that is not ours, a use after free or a jump on an undefined value in any of them ends with exit
code 1. Valgrind knows `process_vm_readv` and `sigaction`, which is what those blocks call. Leaks are not counted: the
test harness of Rust keeps some memory by design.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CRATES = ("tercet-sampler", "tercet-cli", "tercet-sched")
VALGRIND = ("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no")
PROGRAM = """
import threading, time
def work():
    for _ in range(10):
        time.sleep(0.02)
        sum(range(20_000))
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

# CPython itself decides on undefined values, so here only reads and writes of memory that is not ours count.
INTERPRETER = ("--undef-value-errors=no",)
POOL = """
import tercet
for _ in range(3):
    with tercet.ThreadPoolExecutor(4, idle_timeout=0.001) as pool:
        futures = [pool.submit(abs, -number) for number in range(200)]
        for future in futures[::3]: future.cancel()
        tercet.wait(futures)
        list(tercet.as_completed(futures))
        list(pool.map(abs, range(200)))
        list(pool.map(abs, iter(range(100)), buffersize=5))
        pool.submit(lambda: list(tercet.as_completed([pool.submit(int) for _ in range(5)]))).result()
        pool.submit(lambda: [pool.submit(int).result() for _ in range(5)]).result()
    future = tercet.Future()
    future.add_done_callback(id)
    future._condition
    future.set_result(1)
"""


def build(*words: str) -> list[str]:
    """Build with cargo and return the paths of the programs made."""
    command = ["cargo", *words, "--locked", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, built.stdout.splitlines())
    return [message["executable"] for message in messages if message.get("executable")]


def check(*command: str, options: tuple[str, ...] = ()) -> None:
    """Run a command under valgrind and leave with exit code 1 when it finds anything."""
    print("under valgrind:", os.path.basename(command[0]), *command[1:3], flush=True)
    # Python's own allocator would hide what happens inside its arenas.
    env = os.environ | {"PYTHONMALLOC": "malloc"}
    ended = subprocess.run([*VALGRIND, *options, *command], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    if ended.returncode != 0:
        sys.exit(1)


def main() -> int:
    """Check everything and return the exit code."""
    if shutil.which("valgrind") is None:
        print("error: `valgrind` is not installed\nhint: install Debian's package of that name", file=sys.stderr)
        return 2
    for crate in CRATES:
        for binary in build("test", "--package", crate, "--lib", "--no-run"):
            check(binary, "--test-threads=1")
    (tercet,) = build("build", "--package", "tercet-cli")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.py")
        program.write_text(PROGRAM)
        pool = Path(folder, "pool.py")
        pool.write_text(POOL)
        check(sys.executable, str(pool), options=INTERPRETER)
        check(tercet, "why", "--json", "--html", f"{folder}/why.html", "--python", sys.executable, str(program))
    print("valgrind found nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
