"""Interpreters to look into, a place for what the watched programs talk to, and the watch itself."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import pythons

HERE = Path(__file__).resolve().parent
LIMIT_S = 60
USED = "asyncio, concurrent.futures.process, ctypes, hashlib, json, multiprocessing, queue, socketserver, subprocess"


# --- interpreters ---------------------------------------------------------------------------------------------


def find_interpreters() -> dict[str, str]:
    """Every CPython to look into: the one that runs, then the others of this machine, the system's own among them."""
    found = {"running": sys.executable}
    known = {os.path.realpath(sys.executable)}
    for name, path in [*pythons.find_all().items(), ("system", "/usr/bin/python3")]:
        if os.path.exists(path) and os.path.realpath(path) not in known and is_watchable(path):
            known.add(os.path.realpath(path))
            found[name] = path
    return found


def is_watchable(path: str) -> bool:
    """Whether it is a CPython from 3.10 to 3.15 with a GIL."""
    ask = "import sys; print(sys.version_info[:2] in [(3, n) for n in range(10, 16)] and 't' not in sys.abiflags)"
    answer = subprocess.run([path, "-Sc", ask], capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip() == "True"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that asks for a `python` all of them; those beyond one or two are slow."""
    if "python" in metafunc.fixturenames:
        quick = {"running", "3.13"} if metafunc.definition.path.stem in ("test_states", "test_attach") else {"running"}
        found = find_interpreters()
        marks = {name: () if name in quick else (pytest.mark.slow,) for name in found}
        metafunc.parametrize("python", [pytest.param(path, id=name, marks=marks[name]) for name, path in found.items()])


# --- what is watched --------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What one watch reported, and what the program printed meanwhile."""

    report: dict[str, Any]
    printed: str
    errors: str = ""
    said: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        first = self.printed.partition("\n")[0]
        if first.startswith("{"):
            self.said = json.loads(first)

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the whole program."""
        return self.report["shares"]

    def thread(self, name: str = "main") -> dict[str, Any]:
        """The entry of the thread that the program called `name`."""
        (entry,) = [thread for thread in self.report["threads"] if thread["tid"] == self.said[name]]
        return entry


Watcher = Callable[..., Watch]


@pytest.fixture(scope="session", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let interpreters keep what they compile, or the programs would spend their time on importing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp().parent / "compiled"))
        yield


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watcher:
    """Launch a program under `tercet why --json`: `watch("app.py", "argument", python=..., options=[...])`."""

    warm: set[str] = set()
    door = threading.Lock()

    def warm_up(python: str) -> None:
        """Compile what the programs import, once for each interpreter."""
        with door:
            if python not in warm:
                subprocess.run([python, "-c", f"import {USED}"], check=True)
                warm.add(python)

    def run(*words: str | Path, python: str = sys.executable, options: tuple[str, ...] = (), **rest: Any) -> Watch:
        warm_up(python)
        file = tmp_path_factory.mktemp("watch") / "why.json"
        command = [sys.executable, "-m", "tercet", "why", "--json", "--output", file, "--python", python]
        done = subprocess.run(
            [*command, *options, *words],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            **{"stdin": subprocess.DEVNULL, **rest},
        )
        assert done.returncode == 0, done.stderr
        return Watch(json.loads(file.read_text()), done.stdout, done.stderr)

    return run


# --- what the programs talk to ----------------------------------------------------------------------------------


class World:
    """The far ends of sockets and pipes: each gives one byte every 50 ms, or answers one after 50 ms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._over = threading.Event()
        self._numbers = iter(range(10_000))

    def close(self) -> None:
        """Let every far end stop."""
        self._over.set()

    def place(self, state: str) -> str:
        """Return what `states.py` is to be told about where its state happens."""
        make = getattr(self, f"_{state.removesuffix('_timeout')}", None)
        return make() if make else str(self.folder)

    def _tcp(self) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._give_to_first, listener)
        return str(listener.getsockname()[1])

    def _unix(self) -> str:
        path = str(self.folder / f"socket{next(self._numbers)}")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self._start(self._give_to_first, listener)
        return path

    def _udp(self) -> str:
        answerer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answerer.bind(("127.0.0.1", 0))
        self._start(self._answer, answerer)
        return str(answerer.getsockname()[1])

    def _pipe(self) -> str:
        path = str(self.folder / f"pipe{next(self._numbers)}")
        os.mkfifo(path)
        self._start(self._give, os.open(path, os.O_RDWR))
        return path

    def _imports(self) -> str:
        folder = self.folder / "modules"
        if not folder.exists():
            folder.mkdir()
            body = "".join(f"def f{n}(a, b=1, *c, **d):\n    return [a, {{b: c}}, d]\n\n" for n in range(300))
            for number in range(2000):
                (folder / f"module_{number}.py").write_text(body)
        return str(folder)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _give_to_first(self, listener: socket.socket) -> None:
        with listener:
            line, _ = listener.accept()
        with line, contextlib.suppress(OSError):
            while not self._over.wait(0.05):
                line.sendall(b"x")

    def _give(self, fd: int) -> None:
        os.set_blocking(fd, False)
        with contextlib.suppress(BlockingIOError):
            while not self._over.wait(0.05):
                os.write(fd, b"x")
        os.close(fd)

    def _answer(self, answerer: socket.socket) -> None:
        answerer.settimeout(LIMIT_S)
        with answerer, contextlib.suppress(OSError):
            while not self._over.is_set():
                _, asker = answerer.recvfrom(1)
                self._over.wait(0.05)
                answerer.sendto(b"x", asker)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The far ends of sockets and pipes."""
    with contextlib.closing(World(tmp_path_factory.mktemp("world"))) as world:
        yield world
