"""Every refusal says what happened, to what, and what to do next; none shows a traceback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tercet as package

DONE, FAILED, BAD_USAGE, NOT_WATCHED, TOO_LITTLE = 0, 1, 2, 3, 4
NO_PROCESS = 4_194_304  # The kernel gives numbers below this one.


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Check the form of a refusal and return it, its process numbers left out."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: "), done.stderr
    assert lines[1].startswith("hint: "), done.stderr
    assert len(lines) == 2, done.stderr
    for line in lines:
        text = line.partition(": ")[2]
        assert text
        assert not text[0].isupper(), line
        assert not text.endswith("."), line
    for word in ("panicked", "Traceback", "src/", "Err(", "\x1b"):
        assert word not in done.stderr
    return re.sub(r"`\d+`", "`PID`", done.stderr)


# --- what is not there ----------------------------------------------------------------------------------------


def test_no_such_file(tercet, tmp_path: Path) -> None:
    done = tercet("nope.py", cwd=tmp_path)
    assert refused(done, BAD_USAGE) == (
        "error: no such file: `nope.py`\nhint: check the path; it is taken from the current folder\n"
    )
    assert done.stdout == ""


def test_a_folder_without_a_main_module(tercet, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    assert refused(tercet("app", cwd=tmp_path), BAD_USAGE) == (
        "error: `app` is a folder without a `__main__.py`\n"
        "hint: name the file to run, or a package with `tercet why -m NAME`\n"
    )


def test_a_file_that_may_not_be_read(tercet, write) -> None:
    program = write("secret.py", "print('read')\n")
    program.chmod(0)
    done = tercet(program)
    if os.geteuid() == 0:
        assert done.returncode == 0
    else:
        assert "Permission denied" in refused(done, BAD_USAGE)


def test_command_not_found(tercet) -> None:
    message = refused(tercet("--", "no-such-command"), BAD_USAGE)
    assert message.startswith("error: could not run `no-such-command`: ")


def test_a_command_that_may_not_run(tercet, write) -> None:
    program = write("plain.txt", "hello\n")
    message = refused(tercet("--", program), BAD_USAGE)
    assert message.startswith(f"error: could not run `{program}`: ")


def test_an_interpreter_that_is_not_there(tercet, write) -> None:
    message = refused(tercet("--python", "/no/such/python", write("a.py")), BAD_USAGE)
    assert message.startswith("error: could not run `/no/such/python`: ")


def test_a_module_that_is_not_there_is_the_business_of_python(tercet) -> None:
    done = tercet("-m", "no_such_module")
    assert done.returncode == 1
    assert done.stderr == f"{sys.executable}: No module named no_such_module\n"


# --- what cannot be watched -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["sleep", "0.5"], ["true"], ["sh", "-c", "sleep 0.3"]])
def test_a_command_that_is_no_python(command: list[str], tercet) -> None:
    message = refused(tercet("--", *command), NOT_WATCHED)
    assert message == (
        f"error: process `PID` ({command[0]}) runs no Python\n"
        "hint: name the process of the Python program itself; its children are watched with it\n"
    )


def test_the_exit_code_of_a_failing_command_that_is_no_python(tercet) -> None:
    assert refused(tercet("--", "false"), NOT_WATCHED)


def test_a_process_that_is_no_python(tercet) -> None:
    process = subprocess.Popen(["sleep", "100"])
    try:
        message = refused(tercet("--pid", str(process.pid), "--seconds", "0.5"), NOT_WATCHED)
    finally:
        process.kill()
        process.wait()
    assert message.startswith("error: process `PID` (sleep) runs no Python\n")


def test_no_such_process(tercet) -> None:
    message = refused(tercet("--pid", str(NO_PROCESS)), NOT_WATCHED)
    assert message.startswith("error: no process `PID`\nhint: ")


def test_a_process_that_has_ended_and_was_not_collected(tercet) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        refused(tercet("--pid", str(process.pid), "--seconds", "0.5"), NOT_WATCHED)
    finally:
        process.stdout.close()
        process.wait()


def test_tercet_does_not_watch_itself(write) -> None:
    line = f"exec '{sys.executable}' -m tercet why --pid $$ --seconds 0.5"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=False)
    assert "panicked" not in done.stderr
    assert done.returncode in {DONE, NOT_WATCHED, TOO_LITTLE, BAD_USAGE}


def old_interpreters() -> list[Path]:
    """CPythons of this machine that are too old."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [sorted(root.glob(f"{version}.*/bin/python{version}")) for version in ("2.7", "3.6", "3.9")]
    return [paths[-1] for paths in found if paths]


@pytest.mark.parametrize("old", old_interpreters(), ids=lambda path: path.name)
def test_a_version_that_is_too_old(old: Path, tercet, write) -> None:
    program = write("old.py", "import time\nfor _ in range(40): time.sleep(0.05)\nprint('done')\n")
    done = tercet("--python", old, program)
    version = old.name.removeprefix("python")
    assert refused(done, NOT_WATCHED) == (
        f"error: process `PID` runs Python {version}, which is not supported: 3.10 to 3.15 are\n"
        "hint: run the program with Python 3.10 to 3.15\n"
    )
    assert done.stdout == "done\n"


def free_threaded() -> str | None:
    """A CPython without a GIL, where there is one."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return sys.executable
    return next(filter(None, map(shutil.which, ("python3.14t", "python3.13t", "python3.15t"))), None)


def test_an_interpreter_without_a_gil_is_said_to_be_one(tercet, write) -> None:
    python = free_threaded()
    if python is None:
        pytest.skip("no free-threaded CPython on this machine")
    program = write("naps.py", "import time\nfor _ in range(10): time.sleep(0.05)\n")
    assert "free-threaded" in refused(tercet("--python", python, program), NOT_WATCHED)


def sleeper(**rest) -> subprocess.Popen[str]:
    """A Python program to attach to."""
    code = "print('ready', flush=True)\nimport time\nwhile True: time.sleep(0.05)"
    process = subprocess.Popen(
        [rest.pop("python", sys.executable), "-c", code], stdout=subprocess.PIPE, text=True, **rest
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and `setpriv`")


def system_python() -> str:
    """An interpreter that everybody may run and that has our version."""
    version = "{}.{}".format(*sys.version_info)
    path = f"/usr/bin/python{version}"
    if not os.path.exists(path):
        pytest.skip(f"no `{path}` for another user to run")
    return path


@as_root
def test_a_process_of_another_user(tmp_path: Path) -> None:
    python = system_python()
    process = sleeper()
    root = Path(package.__file__).parents[1]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*user, python, "-m", "tercet", "why", "--pid", str(process.pid), "--seconds", "0.5"]
    try:
        environment = {"PYTHONPATH": str(root), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd="/"
        )
        message = refused(done, NOT_WATCHED)
    finally:
        end(process)
    assert re.match(r"error: could not attach to process `PID` \(python[^)]*\): permission denied\nhint: ", message)
    assert "root" in message or "sudo" in message


@as_root
def test_root_without_the_right_to_trace() -> None:
    process = sleeper()
    rights = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
    command = [*rights, sys.executable, "-m", "tercet", "why", "--pid", str(process.pid), "--seconds", "0.5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        message = refused(done, NOT_WATCHED)
    finally:
        end(process)
    assert "permission denied" in message
    assert "SYS_PTRACE" in message.upper()


@as_root
def test_an_ordinary_user_launches_and_attaches_to_its_own(tmp_path: Path) -> None:
    python = system_python()
    program = tmp_path / "naps.py"
    program.write_text("import time\nfor _ in range(20): time.sleep(0.05)\n")
    environment = {"PYTHONPATH": str(Path(package.__file__).parents[1]), "PATH": os.environ["PATH"]}
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    rest = {"capture_output": True, "text": True, "timeout": 60, "check": False, "env": environment, "cwd": "/"}
    public = Path("/tmp") / f"tercet-naps-{os.getpid()}.py"
    public.write_text(program.read_text())
    process = sleeper(python=python, user=65534, group=65534, extra_groups=[], cwd="/")
    try:
        launched = subprocess.run([*user, python, "-m", "tercet", "why", public], **rest)
        words = ["--pid", str(process.pid), "--seconds", "1"]
        attached = subprocess.run([*user, python, "-m", "tercet", "why", *words], **rest)
    finally:
        end(process)
        public.unlink()
    for done in (launched, attached):
        assert (done.returncode, done.stderr) == (0, "")
        assert "waits for a clock" in done.stdout


@as_root
def test_a_program_that_becomes_another_user(tercet, write, tmp_path: Path, load) -> None:
    program = write(
        "drops.py", "import os, time\nos.setuid(65534)\nfor _ in range(20): time.sleep(0.05)\nprint('done')\n"
    )
    done = tercet("--json", "--output", tmp_path / "why.json", program)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert load(tmp_path / "why.json")["shares"].get("sleep", 0) >= 0.8


# --- where the report goes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--output", "--html"])
def test_a_missing_folder_is_said_before_the_program_runs(option: str, tercet, write) -> None:
    done = tercet(option, "no/such/folder/why.txt", write("a.py", "print('ran')\n"))
    message = refused(done, FAILED)
    assert message.startswith("error: could not write `no/such/folder/why.txt`: ")
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["--output"], ["--json", "--output"], ["--html"]])
def test_a_full_disk(words: list[str], tercet, write) -> None:
    done = tercet(*words, "/dev/full", write("a.py", "print('ran')\n"))
    message = refused(done, FAILED)
    assert message.startswith("error: could not write `/dev/full`: ")
    assert "space" in message
    assert done.stdout.startswith("ran\n")


def test_a_full_disk_under_the_standard_output(write) -> None:
    program = write("quiet.py", "import time\nfor _ in range(5): time.sleep(0.05)\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tercet", "why", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert "could not write the report" in refused(done, FAILED)


def test_a_folder_in_place_of_a_file(tercet, write, tmp_path: Path) -> None:
    done = tercet("--output", tmp_path, write("a.py", "print('ran')\n"))
    assert refused(done, FAILED).startswith(f"error: could not write `{tmp_path}`: ")
    assert done.stdout == ""


def test_a_report_that_was_there_is_kept_when_nothing_was_watched(tercet, tmp_path: Path) -> None:
    report = tmp_path / "why.txt"
    report.write_text("the last one")
    refused(tercet("--output", report, "nope.py", cwd=tmp_path), BAD_USAGE)
    assert report.read_text() == "the last one"


# --- wrong words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hz", "0", "a.py"], "--hz"),
        (["--hz", "-1", "a.py"], "--hz"),
        (["--hz", "often", "a.py"], "--hz"),
        (["--hz", "1e9", "a.py"], "--hz"),
        (["--hz", "nan", "a.py"], "--hz"),
        (["--seconds", "0", "a.py"], "--seconds"),
        (["--seconds", "-3", "a.py"], "--seconds"),
        (["--seconds", "inf", "a.py"], "--seconds"),
        (["--pid", "abc"], "--pid"),
        (["--pid", "0"], "--pid"),
        (["--pid", "99999999999999999999"], "--pid"),
        (["--pid", "1", "a.py"], "--pid"),
        (["--color", "pink", "a.py"], "--color"),
        (["--output"], "--output"),
        (["--frob", "a.py"], "--frob"),
        ([], "PROGRAM"),
        (["-m"], ""),
        (["--"], ""),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_wrong_words(words: list[str], named: str, tercet, write, tmp_path: Path) -> None:
    write("a.py", "print('ran')\n")
    done = tercet(*words, cwd=tmp_path)
    assert done.returncode == BAD_USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("words", [["--hz", "0", "a.py"], ["--seconds", "x", "a.py"], ["--pid", "abc"], []])
def test_wrong_words_have_a_hint(words: list[str], tercet, tmp_path: Path) -> None:
    assert "\nhint: " in tercet(*words, cwd=tmp_path).stderr


def test_an_unknown_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tercet", "wy"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == BAD_USAGE
    assert done.stderr.startswith("error: ")
    assert "wy" in done.stderr


# --- too little to say ----------------------------------------------------------------------------------------


def test_a_run_too_short_to_say(tercet, write) -> None:
    done = tercet(write("short.py", "print('ran')\n"))
    assert (done.returncode, done.stderr) == (DONE, "")
    assert "too soon" in done.stdout
    assert "cannot-tell" in done.stdout


def test_a_run_too_short_to_say_in_json(tercet, write, tmp_path: Path, load) -> None:
    report = tmp_path / "why.json"
    assert tercet("--json", "--output", report, write("short.py", "pass\n")).returncode == DONE
    verdict = load(report)["verdict"]
    assert verdict["remedy"] == "cannot-tell"
    assert (verdict["speedup"], verdict["bound"], verdict["workers"]) == (None, None, None)
    assert verdict["confidence"] <= 0.5


def test_too_little_seen_of_a_running_process(tercet) -> None:
    process = sleeper()
    try:
        done = tercet("--json", "--pid", str(process.pid), "--seconds", "0.03")
    finally:
        end(process)
    assert done.returncode == TOO_LITTLE
    assert '"remedy":"cannot-tell"' in done.stdout
    assert "panicked" not in done.stderr


def test_a_process_that_ends_at_once(tercet) -> None:
    process = sleeper()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert refused(tercet("--pid", str(process.pid)), NOT_WATCHED).startswith("error: no process `PID`")
