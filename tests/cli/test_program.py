"""The watched program does not notice: what it is given, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TELL = """
import json, os, resource, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "name": __name__, "path": sys.path[0], "env": dict(os.environ),
    "flags": list(sys.flags), "executable": sys.executable, "orig": sys.orig_argv,
    "descriptors": len(os.listdir("/proc/self/fd")),
    "blocked": status["SigBlk"].strip(),
    # Signals 32 and 33 belong to the C library alone.
    "ignored": hex(int(status["SigIgn"], 16) & ~(3 << 31)),
    "nice": os.nice(0), "affinity": sorted(os.sched_getaffinity(0)), "umask": os.umask(0o22),
    "limits": [resource.getrlimit(number) for number in range(16)],
}))
"""


def tell(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def alone(*words: str | Path, **rest) -> dict:
    """What the same program says without tercet."""
    return tell(subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **rest))


# --- what it is given -----------------------------------------------------------------------------------------


def test_it_cannot_tell_that_it_is_watched(tercet, write) -> None:
    program = write("tell.py", TELL)
    watched, unwatched = tell(tercet(program, "a")), alone(program, "a", stdin=subprocess.DEVNULL)
    for told in (watched, unwatched):
        told["env"].pop("_", None)
    assert watched == unwatched


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json"],
        ["--help"],
        ["-h"],
        ["--version"],
        ["-o", "file", "--hz", "7", "--pid", "1"],
        ["--"],
        ["a", "--", "-m", "b"],
        ["", " ", "a b", "'\"\\", "$HOME", "*"],
        ["größe", "数", "\u202e", "\x1b[31m"],
        ["--unknown-option=1"],
    ],
)
def test_its_arguments_are_its_own(arguments: list[str], tercet, write) -> None:
    program = write("tell.py", TELL)
    assert tell(tercet(program, *arguments))["argv"] == [str(program), *arguments]


def test_arguments_that_are_no_text(tercet, write) -> None:
    program = write("tell.py", "import os, sys\nprint(os.fsencode(sys.argv[1]).hex())\n")
    done = tercet(program, b"\xff\xfe")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "fffe")


def test_options_before_the_program_are_ours(tercet, write) -> None:
    program = write("tell.py", TELL)
    done = tercet("--hz", "50", program, "--hz", "7")
    assert tell(done)["argv"] == [str(program), "--hz", "7"]


def test_environment_and_folder(tercet, write, tmp_path: Path) -> None:
    write("tell.py", TELL)
    told = tell(tercet("tell.py", cwd=tmp_path, env={**os.environ, "COLOUR": "größer\nblue"}))
    assert told["cwd"] == str(tmp_path)
    assert told["env"]["COLOUR"] == "größer\nblue"
    assert told["argv"] == ["tell.py"]


def test_it_reads_a_line_that_is_typed_later(start, write) -> None:
    program = write("asks.py", "print('name?', flush=True)\nname = input()\nprint('hello', name, flush=True)\n")
    running = start(program)
    running.read_until("name?\n")
    running.write("Ada\n")
    running.read_until("hello Ada\n")
    assert running.wait() == 0


def test_it_reads_its_input_to_the_end(tercet, write) -> None:
    program = write("counts.py", "import sys\nprint(len(sys.stdin.buffer.read()))\n")
    done = tercet(program, input="x" * 3_000_000)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "3000000")


def test_a_module(tercet, write, tmp_path: Path) -> None:
    write("pkg/__init__.py")
    write("pkg/__main__.py", TELL)
    told = tell(tercet("-m", "pkg", "-m", "--json", cwd=tmp_path))
    assert told["argv"] == [str(tmp_path / "pkg" / "__main__.py"), "-m", "--json"]
    assert told["path"] == str(tmp_path)
    assert told["name"] == "__main__"


def test_a_module_inside_a_package(tercet, write, tmp_path: Path) -> None:
    write("pkg/__init__.py")
    write("pkg/tool.py", TELL)
    assert tell(tercet("-m", "pkg.tool", "x", cwd=tmp_path))["argv"][1:] == ["x"]


def test_any_command_that_runs_python(tercet, write) -> None:
    program = write("tell.py", TELL)
    told = tell(tercet("--", sys.executable, "-X", "dev", "-u", program, "--", "-x"))
    assert told["argv"] == [str(program), "--", "-x"]
    assert told == alone("-X", "dev", "-u", program, "--", "-x", stdin=subprocess.DEVNULL) | {"env": told["env"]}


def test_a_command_from_the_search_path(tercet, write, tmp_path: Path) -> None:
    tool = write("bin/tell", f"#!{sys.executable}\n{TELL}")
    tool.chmod(0o755)
    told = tell(tercet("--", "tell", "a", env={**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}))
    assert told["argv"] == [str(tool), "a"]


def test_a_program_in_one_line(tercet) -> None:
    done = tercet("--", sys.executable, "-c", "print('one line')")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "one line")


def test_a_program_from_the_standard_input(tercet) -> None:
    done = tercet("--", sys.executable, "-", input="print('typed')\n")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "typed")


def test_a_folder_with_a_main_module(tercet, write, tmp_path: Path) -> None:
    write("app/__main__.py", TELL)
    told = tell(tercet("app", "x", cwd=tmp_path))
    assert told["argv"] == ["app", "x"]


def test_an_archive_with_a_main_module(tercet, write, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", TELL)
    assert tell(tercet(tmp_path / "app.pyz", "x"))["argv"] == [str(tmp_path / "app.pyz"), "x"]


@pytest.mark.parametrize(
    "name",
    [
        "größe 数.py",
        "with space.py",
        "-dash.py",
        "no_suffix",
        "new\nline.py",
        "quote'\"`.py",
        "{brace}%s.py",
        "<b>&amp;.py",
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_odd_file_names(name: str, form: str, tercet, write, tmp_path: Path) -> None:
    write(name, "import time\nfor _ in range(10): time.sleep(0.05)\nprint('done')\n")
    words = ["./" + name] if name.startswith("-") else [name]
    done = tercet(*(["--json"] if form == "json" else []), "--html", tmp_path / "why.html", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "done"
    if form == "json":
        assert name in json.loads(done.stdout.splitlines()[1])["program"] or "\n" in name
    if "<b>" in name:
        assert "<b>&amp;.py" not in (tmp_path / "why.html").read_text()


def test_modules_beside_the_program_do_not_replace_ours(tercet, write, tmp_path: Path) -> None:
    for name in ("json", "subprocess", "signal", "typing", "tercet_"):
        write(f"{name}.py", "raise SystemExit('the wrong module')\n")
    program = write("plain.py", "print('done')\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tercet")), "why", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "done")


# --- what it prints -------------------------------------------------------------------------------------------


def test_its_output_is_its_own(tercet, write, tmp_path: Path) -> None:
    program = write(
        "speaks.py",
        "import os, sys\nos.write(1, bytes(range(256)) * 40)\nos.write(2, b'\\xff\\x00 to the error stream\\n')\n",
    )
    done = tercet("--json", "--output", tmp_path / "why.json", program, text=False)
    assert done.returncode == 0
    assert done.stdout == bytes(range(256)) * 40
    assert done.stderr == b"\xff\x00 to the error stream\n"
    assert json.loads((tmp_path / "why.json").read_text())["schema"] == 1


def test_the_report_comes_after_the_output(tercet, write) -> None:
    program = write("speaks.py", "import sys\nsys.stdout.write('no newline at the end')\n")
    done = tercet(program)
    assert done.stdout.startswith("no newline at the end")
    assert "tercet" in done.stdout.splitlines()[0] or "tercet" in done.stdout.splitlines()[1]


def test_json_stands_alone_on_its_line(tercet, write) -> None:
    program = write("speaks.py", "print('first')\n")
    first, second = tercet("--json", program).stdout.splitlines()
    assert first == "first"
    assert json.loads(second)["program"] == str(program)


# --- how it ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("pass", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(255)", 255, ""),
        ("sys.exit(256 + 7)", 7, ""),
        ("sys.exit('out of milk')", 1, "out of milk"),
        ("raise KeyError('milk')", 1, "KeyError: 'milk'"),
        ("os._exit(9)", 9, ""),
        ("x = ", 1, "SyntaxError: invalid syntax"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, ""),
        ("resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()", 128 + signal.SIGABRT, ""),
        ("resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)", 128 + signal.SIGSEGV, ""),
    ],
)
def test_its_exit_code_is_passed_on(ending: str, code: int, last_line: str, tercet, write, tmp_path: Path) -> None:
    program = write("ends.py", f"import ctypes, os, resource, signal, sys, time\ntime.sleep(0.1)\n{ending}\n")
    done = tercet("--output", tmp_path / "why.txt", program)
    unwatched = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert unwatched.returncode in {code, 128 - code}
    assert (done.stdout, done.stderr) == (unwatched.stdout, unwatched.stderr)
    assert (done.stderr.splitlines() or [""])[-1] == last_line
    assert (tmp_path / "why.txt").read_text()


def test_the_exit_code_of_the_shortest_program_is_passed_on(tercet, write, tmp_path: Path) -> None:
    program = write("ends.py", "raise SystemExit(5)\n")
    codes = [tercet("--output", tmp_path / "why.txt", program).returncode for _ in range(20)]
    assert codes == [5] * 20


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "killed by SIGTERM"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)
def test_how_it_ended_is_told(ending: str, told: str, tercet, write, tmp_path: Path, load) -> None:
    program = write("ends.py", f"import os, signal, sys, time\ntime.sleep(0.2)\n{ending}\n")
    tercet("--json", "--output", tmp_path / "why.json", program)
    assert load(tmp_path / "why.json")["exit"] == told
    assert "ended: ended" not in tercet(program).stdout


def test_an_ending_that_is_well_is_told_from_none(tercet, write, tmp_path: Path, load) -> None:
    program = write("ends.py", "import time\nfor _ in range(5): time.sleep(0.05)\n")
    tercet("--json", "--output", tmp_path / "ended.json", program)
    tercet("--json", "--output", tmp_path / "runs.json", "--seconds", "0.2", program)
    assert load(tmp_path / "ended.json")["exit"] == "exit code 0"
    assert load(tmp_path / "runs.json")["exit"] is None


def test_seconds_end_the_watch_and_not_the_program(start, write, tmp_path: Path, until) -> None:
    program = write("runs.py", "import time\nprint('runs', flush=True)\ninput()\nprint('over', flush=True)\nexit(5)\n")
    report = tmp_path / "why.txt"
    running = start("--seconds", "0.5", "--output", report, program)
    running.read_until("runs\n")
    until(lambda: report.exists() and "tercet" in report.read_text(), "the report is there", 20)
    assert running.process.poll() is None
    running.write("\n")
    running.read_until("over\n")
    assert running.wait() == 5


def test_a_program_that_changes_its_folder_and_its_user_file(tercet, write, tmp_path: Path) -> None:
    program = write("moves.py", "import os, time\nos.chdir('/')\nfor _ in range(10): time.sleep(0.04)\n")
    done = tercet("--json", "--output", "why.json", program.name, cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads((tmp_path / "why.json").read_text())["lines"][0]["file"].endswith("moves.py")


def test_a_program_that_closes_its_streams(tercet, write, tmp_path: Path) -> None:
    program = write(
        "closes.py",
        "import os, time\nfor fd in (0, 1, 2): os.close(fd)\nfor _ in range(10): time.sleep(0.04)\nos._exit(6)\n",
    )
    assert tercet("--json", "--output", tmp_path / "why.json", program).returncode == 6


def test_a_program_that_deletes_itself(tercet, write) -> None:
    program = write(
        "deletes.py", "import os, time\nos.unlink(__file__)\nfor _ in range(10): time.sleep(0.04)\nprint('done')\n"
    )
    done = tercet(program)
    assert (done.returncode, done.stderr, done.stdout.splitlines()[0]) == (0, "", "done")
