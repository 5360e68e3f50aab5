"""Programs that are hard to follow: many children, many threads, daemons, programs that become others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_daemon_that_outlives_the_program_does_not_hold_the_report(
    tercet, write, tmp_path: Path, alive, reap, load
) -> None:
    program = write(
        "forks.py",
        "import os, sys, time\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.write(writer, str(os.getpid()).encode())\n"
        "    null = os.open(os.devnull, os.O_RDWR)\n"
        "    for fd in (0, 1, 2): os.dup2(null, fd)\n"
        "    time.sleep(100)\n"
        "os.wait()\n"
        "print(os.read(reader, 20).decode(), flush=True)\n"
        "for _ in range(10): time.sleep(0.05)\n",
    )
    report = tmp_path / "why.json"
    done = tercet("--json", "--output", report, program, timeout=30)
    daemon = reap(int(done.stdout))
    assert done.returncode == 0
    assert alive(daemon)
    assert load(report)["wall_s"] < 20


def test_a_child_that_keeps_the_output_open_does_not_hold_the_report(start, write, tmp_path: Path, reap) -> None:
    program = write(
        "leaves.py",
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        "print(child.pid, flush=True)\n"
        "for _ in range(6): time.sleep(0.05)\n",
    )
    running = start("--output", tmp_path / "why.txt", program)
    reap(int(running.read_line()))
    assert running.wait() == 0
    assert (tmp_path / "why.txt").exists()


def test_two_thousand_short_children(tercet, write, tmp_path: Path, load) -> None:
    program = write(
        "breeds.py",
        "import os\n"
        "for number in range(2000):\n"
        "    child = os.fork()\n"
        "    if not child: os._exit(number % 7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == number % 7\n"
        "print('all ended well')\n",
    )
    report = tmp_path / "why.json"
    done = tercet("--json", "--output", report, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all ended well\n", "")
    assert load(report)["schema"] == 1


def test_forty_children_at_once(tercet, write, tmp_path: Path, load) -> None:
    program = write(
        "breeds.py",
        "import os, time\n"
        "children = []\n"
        "for _ in range(40):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        time.sleep(1.5)\n"
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "for child in children: os.waitpid(child, 0)\n"
        "print(*children)\n",
    )
    report = tmp_path / "why.json"
    done = tercet("--json", "--output", report, program)
    assert done.returncode == 0
    seen = {process["pid"] for process in load(report)["processes"]}
    assert set(map(int, done.stdout.split())) <= seen
    assert load(report)["sampler_cpu_share"] <= 0.1


def test_a_program_that_becomes_another_command(tercet, write) -> None:
    program = write(
        "becomes.py",
        "import os, time\nfor _ in range(6): time.sleep(0.05)\nos.execvp('sh', ['sh', '-c', 'sleep 0.3; exit 4'])\n",
    )
    done = tercet(program)
    assert done.returncode == 4
    assert "sleeping" in done.stdout


def test_a_program_that_becomes_itself_again(tercet, write) -> None:
    program = write(
        "becomes.py",
        "import os, sys, time\n"
        "left = int(sys.argv[1])\n"
        "for _ in range(4): time.sleep(0.05)\n"
        "if left: os.execv(sys.executable, [sys.executable, __file__, str(left - 1)])\n"
        "print('done')\n",
    )
    done = tercet(program, "3")
    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, "done", "")


def test_a_first_thread_that_ends_before_the_others(tercet, write) -> None:
    program = write(
        "leaves.py",
        "import ctypes, os, threading, time\n"
        "def work():\n"
        "    for _ in range(10): time.sleep(0.05)\n"
        "    print('done', flush=True)\n"
        "    os._exit(5)\n"
        "threading.Thread(target=work).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n",
    )
    done = tercet(program)
    assert (done.returncode, done.stdout.splitlines()[0]) == (5, "done")
    assert "panicked" not in done.stderr


def test_a_parent_that_does_not_collect_its_children(tercet, write) -> None:
    program = write(
        "zombies.py",
        "import os, time\n"
        "for _ in range(30):\n"
        "    if not os.fork(): os._exit(0)\n"
        "for _ in range(10): time.sleep(0.05)\n"
        "print('done')\n",
    )
    done = tercet(program)
    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, "done", "")


def test_deep_recursion_that_fails_as_ever(tercet, write) -> None:
    program = write("deep.py", "def f(n):\n    return f(n + 1)\nf(0)\n")
    done = tercet(program)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RecursionError")


def test_stacks_that_change_all_the_time(tercet, write, tmp_path: Path, load) -> None:
    program = write(
        "restless.py",
        "import time\n"
        "def tower(n):\n"
        "    if n: yield from tower(n - 1)\n"
        "    yield n\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    names = {}\n"
        "    exec('def made%d(n): return sum(tower(n))' % id(names), globals(), names)\n"
        "    [made(40) for made in names.values()]\n"
        "print('done')\n",
    )
    report = tmp_path / "why.json"
    done = tercet("--hz", "1000", "--json", "--output", report, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    files = {line["file"] for line in load(report)["lines"]}
    assert files <= {str(program), "<string>"}


def test_a_huge_table_of_lines(tercet, write, tmp_path: Path, load) -> None:
    body = "".join(f"    x = x + {n}\n" for n in range(60_000))
    program = write(
        "long.py", f"import time\ndef f(x):\n{body}    for _ in range(12): time.sleep(0.05)\n    return x\nf(1)\n"
    )
    report = tmp_path / "why.json"
    done = tercet("--json", "--output", report, program)
    assert done.returncode == 0
    first = load(report)["lines"][0]
    assert (first["function"], first["line"], first["kind"]) == ("f", 60_003, "sleep")


def test_subinterpreters(tercet, write, tmp_path: Path, load) -> None:
    program = write(
        "inner.py",
        "import threading, time\n"
        "try: import _interpreters as inner\n"
        "except ImportError: import _xxsubinterpreters as inner\n"
        "def work():\n"
        "    inner.run_string(inner.create(), 'import time\\nfor _ in range(12): time.sleep(0.05)')\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "thread.join()\n"
        "print('done')\n",
    )
    report = tmp_path / "why.json"
    done = tercet("--json", "--output", report, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert sum(load(report)["shares"].values()) == pytest.approx(1, abs=0.002)


def test_many_files_and_a_full_table_of_descriptors(tercet, write) -> None:
    program = write(
        "opens.py",
        "import os, resource, time\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open(os.devnull, os.O_RDONLY))\n"
        "except OSError: pass\n"
        "for _ in range(10): time.sleep(0.05)\n"
        "os.write(1, b'done\\n')\n",
    )
    done = tercet(program)
    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, "done", "")


def test_few_descriptors_for_tercet_itself(write, tmp_path: Path) -> None:
    program = write(
        "crowd.py",
        "import threading, time\n"
        "crowd = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(100)]\n"
        "for thread in crowd: thread.start()\n"
        "for thread in crowd: thread.join()\n"
        "print('done')\n",
    )
    report = tmp_path / "why.json"
    command = f"ulimit -n 40; exec '{sys.executable}' -m tercet why --json --output '{report}' '{program}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "panicked" not in done.stderr
    seen = json.loads(report.read_text())
    assert seen["shares"].get("sleep", 0) > 0.5 or seen["unreadable"]
