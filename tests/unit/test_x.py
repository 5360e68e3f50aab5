"""`./x`: the commands, what is set up when, and how errors look."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pythons
from house import command, environment, extension, process, script, trial
from house.environment import Environment, State, Step
from house.message import BAD_USAGE, Refusal

ROOT = Path(__file__).resolve().parents[2]
X = ROOT / "x"


def x(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `./x` with this interpreter."""
    env = {**os.environ, **variables}
    return subprocess.run([sys.executable, X, *words], capture_output=True, text=True, env=env, timeout=60, check=False)


# --- the command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_help_lists_every_command_in_one_line_each(words: tuple[str, ...]) -> None:
    answer = x(*words)
    assert answer.returncode == 0
    for name, entry in command.COMMANDS.items():
        lines = [line for line in answer.stdout.splitlines() if line.split()[:1] == [name]]
        assert len(lines) == 1
        assert lines[0].endswith(entry.summary)
        assert len(lines[0]) <= 80


def test_an_unknown_command_is_bad_usage_with_a_suggestion() -> None:
    answer = x("tset")
    assert (answer.returncode, answer.stdout) == (BAD_USAGE, "")
    assert answer.stderr == "error: no command named `tset`\nhint: did you mean `./x test`?\n"


@pytest.mark.parametrize("name", ["bench", "conformance", "stress"])
def test_an_unknown_script_is_bad_usage(name: str) -> None:
    answer = x(name, "no-such-script")
    assert answer.returncode == BAD_USAGE
    assert answer.stderr.startswith("error: no script named `no-such-script` in `")


def test_an_unknown_lint_is_bad_usage() -> None:
    answer = x("lint", "no-such-lint")
    assert answer.returncode == BAD_USAGE
    assert answer.stderr.startswith("error: no check named `no-such-lint`\nhint: there are `rustfmt`, ")


def test_a_script_may_run_under_another_interpreter() -> None:
    with pytest.raises(Refusal, match=r"no interpreter for Python 3\.99 on this machine"):
        script.run(script.BENCHES, ["--python", "3.99", "threads"])


def test_scripts_are_listed_with_the_first_line_of_their_docstring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "echo.py").write_text('"""Echo over loopback.\n\nMore."""\n')
    (tmp_path / "_helper.py").write_text("")
    (tmp_path / "test_echo.py").write_text("")
    assert script.run(tmp_path, []) == 0
    assert capsys.readouterr().out.split() == ["echo", "Echo", "over", "loopback."]


# --- what ./x test runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "rust", "python", "versions", "rest"),
    [
        ("", True, True, [], []),
        ("rust", True, False, [], []),
        ("rust decide", True, False, [], ["decide"]),
        ("python -k map", False, True, [], ["-k", "map"]),
        ("tests/unit -x", False, True, [], ["tests/unit", "-x"]),
        ("--python 3.13", False, True, ["3.13"], []),
        ("--python=3.13 --python 3.14 -x", False, True, ["3.13", "3.14"], ["-x"]),
    ],
)
def test_the_arguments_of_test(words: str, rust: bool, python: bool, versions: list[str], rest: list[str]) -> None:
    assert trial.parse(words.split()) == trial.Request(rust, python, versions, rest)


def test_python_without_a_version_is_bad_usage() -> None:
    with pytest.raises(Refusal, match="needs a version") as caught:
        trial.parse(["--python"])
    assert caught.value.exit_code == BAD_USAGE


def test_a_version_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal, match=r"no interpreter for Python 3\.99 on this machine"):
        Environment.of("3.99")


@pytest.mark.parametrize(("codes", "expected"), [([0], 0), ([4], 4), ([0, 0], 0), ([0, 5], 1), ([100, 0], 1)])
def test_the_exit_code_says_whether_either_failed(codes: list[int], expected: int) -> None:
    assert trial.exit_code(codes) == expected


# --- what is set up, and when ---------------------------------------------------------------------------------


class Steps(Environment):
    """An environment whose only step counts how often it is done."""

    made_from = "first"
    done = 0

    def _steps(self, extra: str) -> list[Step]:
        return [Step("only", self.made_from, self._do)]

    def _do(self) -> None:
        self.done += 1


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(environment, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(extension, "check_tools", lambda: None)
    return Steps(tmp_path, Path(sys.executable))


def test_a_step_is_done_once_until_what_it_is_made_from_changes(steps: Steps) -> None:
    steps.ready()
    steps.ready()
    assert steps.done == 1
    steps.made_from = "second"
    steps.ready()
    assert steps.done == 2


def test_a_step_that_fails_is_done_again(steps: Steps) -> None:
    def refuse() -> None:
        raise Refusal("no", "try again")

    steps._do = refuse  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        steps.ready()
    del steps._do
    steps.ready()
    assert steps.done == 1


def test_a_broken_state_file_means_that_nothing_is_done(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.path.write_text("{ half a fi")
    assert state.get("folder") is None
    state.put("folder", "made")
    assert State(tmp_path).get("folder") == "made"


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    waits = threading.Event()
    monkeypatch.setattr(environment, "say", lambda _line: waits.set())
    order: list[str] = []

    def second() -> None:
        with environment.lock():
            order.append("second")

    with environment.lock():
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(30)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]


def test_a_rust_edit_changes_the_fingerprint_and_a_test_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("Cargo.toml", "crates/one/src/lib.rs", "crates/one/tests/a.rs"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("first")
    monkeypatch.setattr(extension, "ROOT", tmp_path)
    before = extension.fingerprint(False)
    (tmp_path / "crates/one/tests/a.rs").write_text("longer than before")
    assert extension.fingerprint(False) == before
    (tmp_path / "crates/one/src/lib.rs").write_text("longer than before")
    edited = extension.fingerprint(False)
    assert edited != before
    (tmp_path / "crates/one/src/new.rs").write_text("")
    assert extension.fingerprint(False) != edited


def fake_python(path: Path, version: str) -> Path:
    """Make a program that answers as an interpreter of `version` would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_is_found_in_pyenv_then_on_path_then_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    assert pythons.find("3.77", tmp_path) is None
    fetched = fake_python(tmp_path / "debian/usr/bin/python3.77", "3.77")
    assert pythons.find("3.77", tmp_path) == fetched
    on_path = fake_python(tmp_path / "path/python3.77", "3.77")
    assert pythons.find("3.77", tmp_path) == on_path
    fake_python(tmp_path / "pyenv/versions/3.77.9/bin/python3.77", "3.77")
    newest = fake_python(tmp_path / "pyenv/versions/3.77.10/bin/python3.77", "3.77")
    assert pythons.find("3.77", tmp_path) == newest


def test_a_shim_for_another_version_is_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{tmp_path / 'path'}")
    fake_python(tmp_path / "path/python3.77", "3.76")
    assert pythons.find("3.77", tmp_path) is None


# --- machines that lack something -----------------------------------------------------------------------------


def test_a_missing_cargo_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    with pytest.raises(Refusal, match="could not find `cargo`") as caught:
        extension.check_tools()
    assert "install Rust" in caught.value.hint


@pytest.mark.parametrize(
    ("cargo", "message"),
    [
        ("#!/bin/sh\necho cargo 1.60.0\n", "Rust 1.60 is too old"),
        ("#!/bin/sh\necho no default toolchain >&2; exit 1\n", "could not run `cargo --version`: no default toolchain"),
        ("#!/bin/sh\necho cargo 9.0.0\n", "could not find a linker"),
    ],
)
def test_a_cargo_that_cannot_build_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cargo: str, message: str
) -> None:
    (tmp_path / "cargo").write_text(cargo)
    (tmp_path / "cargo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in [name for name in os.environ if name.endswith("_LINKER")]:
        monkeypatch.delenv(name)
    with pytest.raises(Refusal, match=message):
        extension.check_tools()


def test_cargo_is_found_where_rustup_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cargo").write_text("#!/bin/sh\necho cargo 9.0.0\n")
    (tmp_path / "bin" / "cargo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    monkeypatch.setenv("CARGO_TARGET_HERE_LINKER", "ld")
    extension.check_tools()


def test_an_old_python_hands_over_or_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = importlib.machinery.SourceFileLoader("x_script", str(X))
    spec = importlib.util.spec_from_loader("x_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "find_newer", lambda: None)
    with pytest.raises(SystemExit) as caught:
        module.hand_over()
    assert caught.value.code == BAD_USAGE
    assert "is too old for tercet" in capsys.readouterr().err


# --- running other programs -----------------------------------------------------------------------------------


def test_exit_codes_pass_through() -> None:
    assert process.run([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_an_end_by_signal_is_what_a_shell_would_say() -> None:
    assert process.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9


def test_live_progress_in_a_log_is_the_news_only(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = process.run_live("installing", [sys.executable, "-c", "print('Collecting a\\nnoise\\n')"])
    assert (code, said.split()) == (0, ["Collecting", "a", "noise"])
    assert capfd.readouterr().err == "   Collecting a\n"


def test_nothing_that_x_starts_may_download_a_toolchain() -> None:
    assert process.child_environment()["RUSTUP_AUTO_INSTALL"] == "0"
