"""An environment: a folder with an interpreter, the packages it needs, and tercet built for it.

Life cycle
----------
1. `Environment.default()` is `.venv`, made with the interpreter that runs `./x`; `Environment.of("3.13")` is
   `.venv-3.13`, made with an interpreter found on this machine.
2. `ready(extras)` compares what is there with what is wanted. When nothing differs it costs a few milliseconds. The
   extension is built for development, or as it is released where its speed is what is asked for (`is_released`).
3. Otherwise it takes the lock of this checkout and does, in order, the steps that are not done: the folder, the build
   tools, the extension, the package with its extras. Each finished step is written into `x-state.json`, so that an
   interrupted set-up goes on where it was.

Guarantees: two `./x` never set up at once; a step that failed is never written down; what a step is made from is read
before it starts, so an edit during a build leads to another build.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from house import extension
from house.message import Refusal, say
from house.place import CACHE, PACKAGE, ROOT
from house.process import Words, child_environment, run_live

PYPROJECT = ROOT / "pyproject.toml"


@dataclass(frozen=True)
class Step:
    """One part of the set-up: a text that changes when it has to be done again, and how to do it."""

    name: str
    made_from: str
    do: Callable[[], None]
    is_present: Callable[[], bool] = lambda: True

    def is_done(self, state: State) -> bool:
        """Say whether the last time was from the same text, and the result is still there."""
        return state.get(self.name) == self.made_from and self.is_present()


class State:
    """The finished steps of one environment: a small JSON file inside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x-state.json"

    def get(self, name: str) -> str | None:
        """Return what the step `name` was last made from."""
        return self._read().get(name)

    def put(self, name: str, made_from: str) -> None:
        """Write down that the step `name` is finished. The file is replaced as a whole."""
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(self._read() | {name: made_from}, indent=1))
        draft.replace(self.path)

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self.path.read_text()))
        except (OSError, ValueError):
            return {}


class Environment:
    """One virtual environment of this checkout."""

    def __init__(self, folder: Path, base: Path, *, is_released: bool = False) -> None:
        self.folder = folder
        self.base = base
        self.python = folder / "bin" / "python"
        self.is_released = is_released

    @classmethod
    def default(cls, *, is_released: bool = False) -> Environment:
        """Return `.venv`; where it is not there yet, it is made for the interpreter that runs `./x`."""
        return cls(ROOT / ".venv", Path(sys.executable), is_released=is_released)

    @classmethod
    def of(cls, version: str, *, is_released: bool = False) -> Environment:
        """Return the environment for another minor version of Python."""
        import pythons

        base = pythons.find(version)
        if base is None:
            raise Refusal(
                f"no interpreter for Python {version} on this machine",
                f"put `python{version}` on `PATH`, use `pyenv install {version}`, or run `./x pythons`",
            )
        return cls(ROOT / f".venv-{version}", base, is_released=is_released)

    def ready(self, extra: str = "test") -> Environment:
        """Make sure that the packages of `extra` are there, and the extension built from the sources as they are."""
        state = State(self.folder)
        if not all(step.is_done(state) for step in self._steps(extra)):
            extension.check_tools()
            with lock():
                for step in self._steps(extra):
                    if not step.is_done(state):
                        step.do()
                        state.put(step.name, step.made_from)
        return self

    def variables(self) -> dict[str, str]:
        """Return the variables under which this environment's programs come first, and cargo builds for it."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)])
        return child_environment(VIRTUAL_ENV=str(self.folder), PATH=path)

    def _steps(self, extra: str) -> list[Step]:
        # An editable package points to its checkout, so it is installed again when the checkout has moved.
        manifest = f"{_digest(_packaging())} in {ROOT}"
        return [
            Step("folder", "made", self._make_folder, self.python.exists),
            Step("build tools", manifest, self._install_build_tools),
            Step("extension", extension.fingerprint(self.is_released), self._build_extension, self._has_extension),
            Step(f"package with {extra}", manifest, lambda: self._install_package(extra)),
        ]

    def _make_folder(self) -> None:
        say(f"setting up `{self.folder.name}` with `{self.base}`: once, a few minutes, most of it for compiling Rust")
        afresh = [] if self.python.exists() else ["--clear"]
        code, _ = run_live("making the folder", [self.base, "-m", "venv", *afresh, self.folder])
        if code:
            self._make_folder_without_ensurepip()
        (self.folder / ".gitignore").write_text("*\n")

    def _make_folder_without_ensurepip(self) -> None:
        """Debian's Python comes without `ensurepip`; pip then comes from a wheel beside it or from another pip."""
        words: Words = [self.base, "-m", "venv", "--without-pip", "--clear", self.folder]
        self._demand("make the folder", words, "install Python's `venv` module, on Debian `apt install python3-venv`")
        wheel = next(iter((self.base.parents[1] / "share" / "python-wheels").glob("pip-*.whl")), None)
        pip: Words = [self.python, wheel / "pip"] if wheel else [sys.executable, "-m", "pip", "--python", self.python]
        self._demand("install pip", [*pip, "install", "pip"], "install pip, on Debian `apt install python3-pip`")

    def _install_build_tools(self) -> None:
        self._pip("installing the build tools", _packaging()["build-system"]["requires"])

    def _build_extension(self) -> None:
        extension.build(self.python, self.variables(), is_released=self.is_released)

    def _has_extension(self) -> bool:
        return any(PACKAGE.glob(f"_tercet.cpython-{self._version_digits()}-*.so"))

    def _version_digits(self) -> str:
        """Return "311" for Python 3.11, as the folder's own description says."""
        config = (self.folder / "pyvenv.cfg").read_text()
        number = next(line.split("=")[1].strip() for line in config.splitlines() if line.startswith("version"))
        return "".join(number.split(".")[:2])

    def _install_package(self, extra: str) -> None:
        self._pip(f"installing tercet and what `{extra}` needs", ["--no-build-isolation", "-e", f".[{extra}]"])

    def _pip(self, title: str, words: Words) -> None:
        pip: Words = [self.python, "-m", "pip", "install", "--progress-bar", "off", *words]
        self._demand(title, pip, "when it speaks of the network, run the same command again")

    def _demand(self, title: str, words: Words, hint: str) -> None:
        say(f"{title} ...")
        code, said = run_live(title, words, self.variables())
        if code:
            raise Refusal(f"{title} failed with exit code {code}:\n{_indent(said)}", hint)


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Hold the lock of this checkout; the system frees it even when the holder is killed."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "x.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another `./x` to finish its set-up ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _packaging() -> dict[str, Any]:
    """Return the part of pyproject.toml that says what is installed; the rest is for the lints and the tests."""
    tables = tomllib.loads(PYPROJECT.read_text())
    return {"build-system": tables["build-system"], "project": tables["project"], "maturin": tables["tool"]["maturin"]}


def _digest(tables: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(tables).encode(), digest_size=12).hexdigest()


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-30:])
