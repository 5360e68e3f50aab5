"""A wait belongs to a line, and the line to the program itself wherever the program is on the stack."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path):
    """Write a program, or a module beside it, and return its path."""

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


SLEEPY = "import time\ndef rest():\n    for _ in range(20):\n        time.sleep(0.05)\n"


def leader(seen) -> tuple:
    line = seen.report["lines"][0]
    assert line["share"] >= 0.6
    return line["file"], line["line"], line["function"], line["origin"]


def test_a_wait_inside_the_standard_library_belongs_to_the_own_line(python: str, watch, write) -> None:
    program = write(
        "asks.py",
        "import queue\n"
        "tasks = queue.Queue()\n"
        "def ask():\n"
        "    for _ in range(20):\n"
        "        try: tasks.get(timeout=0.05)\n"
        "        except queue.Empty: pass\n"
        "ask()\n",
    )
    assert leader(watch(program, python=python)) == (str(program), 5, "ask", "own")


def test_a_wait_inside_an_installed_package_belongs_to_the_own_line(watch, write, tmp_path: Path) -> None:
    write("lib/site-packages/sleepy.py", SLEEPY)
    program = write("calls.py", "import sleepy\n\ndef work():\n    sleepy.rest()\nwork()\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib" / "site-packages")}
    assert leader(watch(program, env=env)) == (str(program), 4, "work", "own")


def test_a_wait_in_another_file_of_the_program_is_its_own(watch, write) -> None:
    helper = write("helper.py", SLEEPY)
    program = write("main.py", "import helper\nhelper.rest()\n")
    assert leader(watch(program)) == (str(helper), 4, "rest", "own")


def test_a_thread_of_a_package_alone_is_told_apart(watch, write, tmp_path: Path) -> None:
    package = write("lib/site-packages/sleepy.py", SLEEPY)
    program = write(
        "calls.py", "import sleepy, threading\nt = threading.Thread(target=sleepy.rest)\nt.start()\nt.join()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib" / "site-packages")}
    lines = watch(program, env=env).report["lines"]
    assert (str(package), "site-packages") in {(line["file"], line["origin"]) for line in lines}
    assert {line["origin"] for line in lines if line["file"] == str(program)} <= {"own"}


def test_a_thread_of_the_standard_library_alone_is_told_apart(watch, write) -> None:
    program = write(
        "serves.py",
        "import socketserver, threading, time\n"
        "server = socketserver.TCPServer(('127.0.0.1', 0), None)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "for _ in range(20): time.sleep(0.05)\n",
    )
    seen = watch(program)
    by_file = {os.path.basename(line["file"]): line["origin"] for line in seen.report["lines"]}
    assert by_file.pop("serves.py") == "own"
    assert set(by_file.values()) <= {"standard-library"}
    own = [(line["line"], line["kind"]) for line in seen.report["lines"] if line["origin"] == "own"]
    assert own[0] == (4, "sleep")


@pytest.mark.parametrize(
    ("name", "text", "function", "line"),
    [
        ("lambda.py", "import time\nf = lambda: time.sleep(0.05)\nfor _ in range(20):\n    f()\n", "<lambda>", 2),
        (
            "method.py",
            "import time\nclass Bed:\n    def rest(self):\n        time.sleep(1)\nBed().rest()\n",
            "Bed.rest",
            4,
        ),
        ("nested.py", "import time\ndef a():\n    def b():\n        time.sleep(1)\n    b()\na()\n", "a.<locals>.b", 4),
        ("exec.py", "import time\nexec(compile('import time\\ntime.sleep(1)', '<made>', 'exec'))\n", "<module>", 2),
        (
            "generator.py",
            "import time\ndef g():\n    for _ in range(20):\n        yield time.sleep(.05)\nlist(g())\n",
            "g",
            4,
        ),
        ("ärger im büro.py", "import time\ndef größe():\n    time.sleep(1)\ngröße()\n", "größe", 3),
        ("far.py", "\n" * 70_000 + "import time\ntime.sleep(1)\n", "<module>", 70_002),
    ],
)
def test_functions_of_every_sort_are_named(
    name: str, text: str, function: str, line: int, python: str, watch, write
) -> None:
    program = write(name, text)
    first = watch(program, python=python).report["lines"][0]
    # CPython keeps the qualified name from 3.11 on.
    assert first["function"] in {function, function.rpartition(".")[2]}
    assert first["line"] == line
    assert first["file"] in {str(program), "<made>"}
    assert first["kind"] == "sleep"


def test_a_line_that_waits_often_says_how_often(watch, write) -> None:
    program = write("often.py", "import time\nfor _ in range(12):\n    time.sleep(0.08)\n")
    assert watch(program).report["lines"][0]["count"] == pytest.approx(12, abs=2)


def test_a_single_wait_promises_nothing(watch, write) -> None:
    program = write("once.py", "import time\ntime.sleep(1.5)\n")
    for _ in range(3):
        verdict = watch(program).report["verdict"]
        assert verdict["remedy"] in {"nothing", "cannot-tell"}, verdict
        assert verdict["speedup"] is None or verdict["speedup"] <= 1.1


def test_a_program_that_waits_for_its_input_is_promised_nothing(watch, write) -> None:
    program = write("asks.py", "try: input()\nexcept EOFError: pass\n")
    reader, writer = os.pipe()
    threading.Timer(1.5, os.close, [writer]).start()
    verdict = watch(program, stdin=reader).report["verdict"]
    os.close(reader)
    assert verdict["speedup"] is None or verdict["speedup"] <= 1.1, verdict


def test_what_is_waited_for_is_named(watch, world, write) -> None:
    place = world.place("tcp")
    program = write(
        "asks.py",
        f"import socket\nline = socket.create_connection(('127.0.0.1', {place}))\nfor _ in range(20): line.recv(1)\n",
    )
    assert watch(program).report["lines"][0]["target"] == "socket"
