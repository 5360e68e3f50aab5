"""Whole programs: what a user would write, run by an interpreter of its own, interrupted and killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PATIENCE_S = 100


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path), *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


BURN = """
    import tercet
    print("starting")

    def burn(n):
        total = 0
        for k in range(60_000):
            total += k * n
        return total
"""


@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', "if True:"])
@pytest.mark.parametrize("options", ["", ", model='processes', workers=2"])
def test_a_script_is_never_run_again_by_its_workers_more_than_an_import_would(
    tmp_path: Path, guard: str, options: str
) -> None:
    program = f"""
    {guard}
        results = tercet.map(burn, range(40){options})
        print(sum(results) == sum(range(40)) * sum(range(60_000)), results.advice.done)
    """
    found = run(write(tmp_path / "script.py", BURN + program))
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines.count("True 40") == 1
    if guard == "if True:":
        assert lines == ["starting", "True 40"], "workers read the definitions alone"
    assert found.stderr == ""


def test_a_global_set_by_the_main_program_reaches_the_workers(tmp_path: Path) -> None:
    program = """
    import sys
    import tercet
    FACTOR = 1

    def task(x):
        return x * FACTOR

    if __name__ == "__main__":
        FACTOR = int(sys.argv[1])
        print(list(tercet.map(task, [1, 2, 3], model="processes", workers=1)))
    """
    assert run(write(tmp_path / "script.py", program), "7").stdout == "[7, 14, 21]\n"


def test_classes_of_the_script_travel(tmp_path: Path) -> None:
    program = """
    from dataclasses import dataclass
    import tercet

    @dataclass
    class Point:
        x: int

    def move(point):
        return Point(point.x + 1)

    if __name__ == "__main__":
        print(list(tercet.map(move, [Point(1), Point(2)], model="processes", workers=1)))
    """
    assert run(write(tmp_path / "script.py", program)).stdout == "[Point(x=2), Point(x=3)]\n"


def test_a_module_run_with_dash_m(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    write(package / "__init__.py", "")
    write(package / "price.py", "def double(x):\n    return 2 * x\n")
    write(
        package / "__main__.py",
        """
        import tercet
        from .price import double

        def task(x):
            return double(x)

        if __name__ == "__main__":
            print(list(tercet.map(task, [1, 2], model="processes", workers=1)))
        """,
    )
    found = subprocess.run(
        [sys.executable, "-m", "shop"], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_S, check=False
    )
    assert (found.stdout, found.stderr) == ("[2, 4]\n", "")


@pytest.mark.parametrize("options", ["", ", model='processes'"])
def test_a_program_typed_in_stays_in_the_process_or_says_why_it_must(options: str) -> None:
    program = textwrap.dedent(BURN) + textwrap.dedent(f"""
    results = tercet.map(burn, range(40){options})
    try:
        list(results)
        print(results.advice.model)
    except tercet.NotPortable as error:
        print("refused" if "session" in str(error) else error)
    """)
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert found.stderr == ""
    assert found.stdout.splitlines()[-1] in (["refused"] if options else ["plain", "threads"])


def test_a_map_begun_while_modules_are_imported(tmp_path: Path) -> None:
    """The import of a module may hold a lock that a thread would wait for."""
    write(
        tmp_path / "config.py",
        "import tercet\nVALUES = list(tercet.map(str, range(300), model='threads', workers=4))\n",
    )
    found = run(write(tmp_path / "script.py", "import config\nprint(len(config.VALUES))\n"))
    assert (found.stdout, found.stderr) == ("300\n", "")


# --- Ctrl-C -------------------------------------------------------------------------------------------------------

LONG = {
    "plain": ("tercet.map(nap, range(4), model='plain')", "def nap(x):\n    begin()\n    time.sleep(600)\n"),
    "auto": ("tercet.map(nap, range(40))", "def nap(x):\n    begin()\n    time.sleep(600)\n"),
    "auto-burn": ("tercet.map(burn, range(40))", "def burn(x):\n    begin()\n    while True:\n        x += 1\n"),
    "threads": ("tercet.map(nap, range(40), model='threads')", "def nap(x):\n    begin()\n    time.sleep(600)\n"),
    "processes": (
        "tercet.map(burn, range(40), model='processes')",
        "def burn(x):\n    begin()\n    while True:\n        x += 1\n",
    ),
    "event-loop": (
        "tercet.map(wait, range(40))",
        "async def wait(x):\n    begin()\n    import asyncio\n    await asyncio.sleep(600)\n",
    ),
}
HEAD = """
import os, sys, threading, time
import tercet

def begin():
    os.write(1, b"%d begun\\n" % os.getpid())
"""


def start(path: Path, kind: str, tail: str = "") -> tuple[subprocess.Popen[str], set[int]]:
    """Start a program that never ends, wait until a task has begun, and return the processes that said so."""
    call, function = LONG[kind]
    main = "if __name__ == '__main__':\n    try:\n        for result in " + call + ":\n            pass\n"
    main += "    except KeyboardInterrupt:\n        print('interrupted', threading.active_count(), flush=True)\n"
    path.write_text(HEAD + function + main + textwrap.indent(textwrap.dedent(tail), "    "))
    program = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line.endswith(" begun\n"), program.communicate()[1]
    return program, {int(line.split()[0])}


def wait_until_asleep(program: subprocess.Popen[str]) -> None:
    """Wait until the kernel has the first thread of a program asleep for a time.

    A signal that comes between the interpreter's last look and `time.sleep` is seen only when the sleep ends: programs
    of plain threads, and of none, show it too.
    """
    while "nanosleep" not in Path(f"/proc/{program.pid}/wchan").read_text():
        assert program.poll() is None


@pytest.mark.parametrize("kind", LONG)
def test_ctrl_c_ends_the_map_and_the_program_at_once(tmp_path: Path, kind: str) -> None:
    program, workers = start(tmp_path / "script.py", kind)
    if kind in ("plain", "auto"):
        wait_until_asleep(program)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=PATIENCE_S)
    assert "interrupted" in out
    assert program.returncode == 0
    assert "Traceback" not in err
    assert_gone(workers)


def test_ctrl_c_from_the_terminal_reaches_the_workers_and_they_leave_it_to_the_parent(tmp_path: Path) -> None:
    """The whole process group gets the signal, as from a keyboard; no worker prints a traceback."""
    call, function = LONG["processes"]
    script = HEAD + function + f"if __name__ == '__main__':\n    for result in {call}:\n        pass\n"
    path = tmp_path / "script.py"
    path.write_text(script)
    program = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout is not None
    worker = int(program.stdout.readline().split()[0])
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=PATIENCE_S)
    assert program.returncode in (-signal.SIGINT, 130, 1)
    assert err.count("Traceback") == 1
    assert_gone({worker})


@pytest.mark.parametrize("kind", ["processes", "auto-burn"])
def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path, kind: str) -> None:
    program, workers = start(tmp_path / "script.py", kind)
    if kind == "auto-burn":
        while workers == {program.pid}:
            assert program.stdout is not None
            workers = {int(program.stdout.readline().split()[0])}
    program.kill()
    program.communicate(timeout=PATIENCE_S)
    assert_gone(workers)


def assert_gone(pids: set[int]) -> None:
    """Wait until processes are gone, by the kernel's own notice."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(handle) as watched:
            ready, _, _ = select.select([watched], [], [], PATIENCE_S)
            assert ready, f"process {pid} is still there"


def test_a_program_that_ends_in_the_middle_of_a_map_ends(tmp_path: Path) -> None:
    program = """
    import time
    import tercet

    def nap(x):
        if x:
            time.sleep(600)
        return x

    results = tercet.map(nap, range(20), model="threads", workers=4)
    print(next(results))
    """
    found = run(write(tmp_path / "script.py", program))
    assert (found.returncode, found.stdout, found.stderr) == (0, "0\n", "")


def test_an_error_of_the_main_program_ends_processes(tmp_path: Path) -> None:
    program = """
    import os
    import tercet

    def task(x):
        os.write(1, b"%d\\n" % os.getpid())
        while x:
            pass
        return x

    if __name__ == "__main__":
        results = tercet.map(task, range(9), model="processes", workers=2)
        next(results)
        raise LookupError("the end")
    """
    found = run(write(tmp_path / "script.py", program))
    assert found.returncode == 1
    assert found.stderr.rstrip().endswith("LookupError: the end")
    assert_gone({int(line) for line in found.stdout.split()})
