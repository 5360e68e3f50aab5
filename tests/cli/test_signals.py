"""Signals go where they belong: to the program, which may do with them what it likes; and the report still comes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

WAITS = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)\n"

CATCHES = """
import time
try:
    print('ready', flush=True)
    while True: time.sleep(0.05)
except KeyboardInterrupt:
    print('interrupted', flush=True)
    raise SystemExit(7)
"""

CATCHES_TERM = """
import signal, sys, time
def end(number, frame):
    print('told to end', flush=True)
    sys.exit(8)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
while True: time.sleep(0.05)
"""

IGNORES = """
import signal, time
signal.signal(signal.SIGINT, lambda number, frame: print('ignored', flush=True))
print('ready', flush=True)
input()
print('over', flush=True)
"""

TITLE = "Where the time goes"


# --- Ctrl-C in a terminal -------------------------------------------------------------------------------------


def test_ctrl_c_interrupts_the_program_and_the_report_comes(start, write) -> None:
    running = start(write("catches.py", CATCHES), terminal=True)
    running.read_until("ready")
    running.write("\x03")
    rest = running.read_rest()
    assert running.wait() == 7
    assert rest.count("interrupted") == 1
    assert TITLE in rest or "cannot tell" in rest
    assert "panicked" not in rest


def test_ctrl_c_that_is_not_caught_ends_both_with_130(start, write) -> None:
    running = start(write("waits.py", WAITS), terminal=True)
    running.read_until("ready")
    running.write("\x03")
    rest = running.read_rest()
    assert running.wait() == 130
    assert "KeyboardInterrupt" in rest
    assert "tercet" in rest


def test_ctrl_c_that_the_program_ignores_ends_nothing(start, write) -> None:
    running = start(write("ignores.py", IGNORES), terminal=True)
    running.read_until("ready")
    for _ in range(3):
        running.write("\x03")
        running.read_until("ignored")
    running.write("\n")
    rest = running.read_rest()
    assert running.wait() == 0
    assert "over" in rest
    assert "tercet" in rest


def test_ctrl_backslash_ends_the_program(start, write, tmp_path: Path) -> None:
    program = write("waits.py", "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" + WAITS)
    running = start(program, terminal=True)
    running.read_until("ready")
    running.write("\x1c")
    rest = running.read_rest()
    assert running.wait() == 128 + signal.SIGQUIT
    assert "tercet" in rest


def test_the_program_has_the_terminal(start, write) -> None:
    program = write(
        "asks.py",
        "import os, sys\n"
        "print(*(os.isatty(fd) for fd in (0, 1, 2)), os.tcgetpgrp(0) == os.getpgrp(), os.get_terminal_size().columns)\n"
        "name = input('name? ')\n"
        "print('hello', name)\n",
    )
    running = start(program, terminal=True)
    assert "True True True True" in running.read_until("name? ")
    running.write("Ada\n")
    running.read_until("hello Ada")
    running.read_rest()
    assert running.wait() == 0


def test_a_password_is_read_from_the_terminal(start, write) -> None:
    running = start(write("secret.py", "import getpass\nprint(len(getpass.getpass('secret? ')))\n"), terminal=True)
    running.read_until("secret? ")
    running.write("open sesame\n")
    assert "11" in running.read_until("11")
    assert "sesame" not in running.read_rest()
    assert running.wait() == 0


# --- signals to tercet alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "number", "code", "word"),
    [
        (CATCHES, signal.SIGINT, 7, "interrupted"),
        (CATCHES_TERM, signal.SIGTERM, 8, "told to end"),
        (WAITS, signal.SIGTERM, 128 + signal.SIGTERM, ""),
        (WAITS, signal.SIGHUP, 128 + signal.SIGHUP, ""),
    ],
)
def test_a_signal_to_tercet_is_passed_on(
    program: str, number: int, code: int, word: str, start, write, tmp_path: Path, load
) -> None:
    report = tmp_path / "why.json"
    running = start("--json", "--output", report, write("program.py", program))
    running.read_until("ready\n")
    running.send(number)
    rest = running.read_rest()
    assert running.wait() == code
    assert word in rest
    assert load(report)["schema"] == 1


def test_a_signal_that_the_program_ignores_leaves_both_alive(start, write) -> None:
    running = start(write("ignores.py", IGNORES))
    running.read_until("ready\n")
    for _ in range(3):
        running.send(signal.SIGINT)
        running.read_until("ignored\n")
    running.write("\n")
    running.read_until("over\n")
    assert running.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH])
def test_signals_that_tercet_has_no_use_for_do_not_end_the_program(number: int, start, write, alive) -> None:
    program = write("tells.py", "import os, sys\nprint(os.getpid(), flush=True)\nprint('read', input(), flush=True)\n")
    running = start(program)
    pid = int(running.read_line())
    running.send(number)
    running.write("x\n")
    running.read_until("read x\n")
    assert alive(pid) or running.wait() is not None


def test_killing_tercet_leaves_the_program_running(start, write, alive, reap) -> None:
    program = write("tells.py", "import os\nprint(os.getpid(), flush=True)\nprint('read', input(), flush=True)\n")
    running = start(program)
    pid = reap(int(running.read_line()))
    running.send(signal.SIGKILL)
    running.wait()
    assert alive(pid)
    running.write("x\n")
    running.read_until("read x\n")


def test_a_stopped_program_goes_on(start, write, until) -> None:
    program = write("tells.py", "import os, time\nprint(os.getpid(), flush=True)\nprint('read', input(), flush=True)\n")
    running = start(program)
    pid = int(running.read_line())
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
    os.kill(pid, signal.SIGCONT)
    running.write("x\n")
    running.read_until("read x\n")
    assert running.wait() == 0


def test_the_program_sees_signals_only_once(start, write) -> None:
    program = write(
        "counts.py",
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))\n"
        "print('ready', flush=True)\n"
        "input()\n"
        "print('saw', len(seen), flush=True)\n",
    )
    running = start(program, terminal=True)
    running.read_until("ready")
    running.write("\x03")
    running.write("\n")
    running.read_until("saw 1")
    running.read_rest()
    assert running.wait() == 0


# --- attached -------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_watch_with_pid_and_the_program_lives_on(start, run_python, write, alive) -> None:
    program = run_python(write("waits.py", WAITS))
    program.read_until("ready\n")
    running = start("--pid", str(program.pid), "--seconds", "50", terminal=True)
    # The progress line says that the watch has begun.
    running.read_until("watching")
    running.write("\x03")
    rest = running.read_rest()
    assert running.wait() in {0, 4, 130}
    assert "tercet" in rest
    assert alive(program.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_watch_with_pid_and_it_reports(number: int, start, run_python, write, alive, until) -> None:
    program = run_python(write("waits.py", WAITS))
    program.read_until("ready\n")
    running = start("--json", "--pid", str(program.pid), "--seconds", "50")
    memory = f"/proc/{program.pid}/"
    until(lambda: any(is_open(running.pid, memory)), "the watch has begun")
    running.send(number)
    report = json.loads(running.read_rest())
    assert running.wait() in {0, 4, 128 + number}
    assert report["wall_s"] < 30
    assert alive(program.pid)


def is_open(pid: int, prefix: str) -> list[str]:
    """The files of one process that lie under `prefix`."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith(prefix):
            found.append(target)
    return found


def test_killing_a_watch_with_pid_leaves_the_program_alone(start, run_python, write, until) -> None:
    program = run_python(write("reads.py", "print('ready', flush=True)\nprint('read', input(), flush=True)\n"))
    program.read_until("ready\n")
    running = start("--pid", str(program.pid), "--seconds", "50")
    until(lambda: is_open(running.pid, f"/proc/{program.pid}/"), "the watch has begun")
    running.send(signal.SIGKILL)
    running.wait()
    program.write("x\n")
    program.read_until("read x\n")
    assert program.wait() == 0


def test_a_watched_program_that_is_killed(start, run_python, write) -> None:
    program = run_python(write("waits.py", WAITS))
    program.read_until("ready\n")
    running = start("--json", "--pid", str(program.pid), "--seconds", "50")
    program.send(signal.SIGKILL)
    program.wait()
    report = running.read_rest()
    code = running.wait()
    errors = running.read_rest("stderr")
    assert code in {0, 3, 4}
    assert report or errors.startswith("error: ")
    assert "panicked" not in errors


# --- a broken pipe --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_leaves_early_is_no_error(options: list[str], start, write) -> None:
    program = write("naps.py", "print('ready', flush=True)\ninput()\n")
    running = start(*options, program)
    running.read_until("ready\n")
    running.process.stdout.close()
    running.write("\n")
    errors = running.read_rest("stderr")
    assert running.wait() in {0, 128 + signal.SIGPIPE}
    assert errors == ""


def test_the_program_meets_a_broken_pipe_as_ever(start, write) -> None:
    program = write("floods.py", "import sys\nprint('ready', flush=True)\ninput()\nwhile True: print('flood')\n")
    running = start(program)
    running.read_until("ready\n")
    running.process.stdout.close()
    running.write("\n")
    errors = running.read_rest("stderr")
    assert running.wait() == 1
    assert "BrokenPipeError" in errors
    assert "panicked" not in errors


def test_head_takes_one_line(write) -> None:
    import subprocess

    program = write("naps.py", "import time\nfor _ in range(8): time.sleep(0.05)\n")
    line = f"'{sys.executable}' -m tercet why --json '{program}' | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "{"
    assert done.stderr == ""
