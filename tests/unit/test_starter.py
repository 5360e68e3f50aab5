"""`tercet.starter` and `tercet.zygote`: what a worker begins with, and how it ends."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor as Standard
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import tasks_for_faults as T
from tercet import oom
from tercet.process_pool import ProcessPoolExecutor, WorkerCrashed

PATIENCE_S = 60
METHODS = [None, "fork", "forkserver", "spawn"]

pytestmark = pytest.mark.timeout(90)


def context_of(method: str | None) -> Any:
    return None if method is None else multiprocessing.get_context(method)


# --- how it begins ---


def test_a_worker_has_the_search_path_of_the_moment_it_starts(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import sys
from pathlib import Path
from tercet.process_pool import ProcessPoolExecutor

def add(name):
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    (folder / f"{name}.py").write_text(f"def call(): return {name!r}")
    sys.path.insert(0, str(folder))
    return __import__(name).call

with ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
    print(executor.submit(add("late")).result())
    print(executor.submit(add("later")).result())
"""
    )
    command = [sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late\nlater\n", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", [0, 1 << 16, 3_000_000])
def test_the_arguments_of_the_initializer_may_be_long(method: str | None, length: int) -> None:
    with ProcessPoolExecutor(1, context_of(method), T.keep_length, (b"x" * length,)) as executor:
        assert executor.submit(T.kept).result(PATIENCE_S) == [length]


def test_the_search_path_may_be_long(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"/nowhere/{number:0100}" for number in range(2000)]
    monkeypatch.setattr(sys, "path", [*sys.path, *many])
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(T.search_path).result(PATIENCE_S)[-2000:] == many


def test_why_no_process_can_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full_machine.py").write_text("import os\ndef fork(): raise BlockingIOError(11, '')\nos.fork = fork")
    monkeypatch.syspath_prepend(str(tmp_path))
    with ProcessPoolExecutor(1, preload=["full_machine"]) as executor:
        error = executor.submit(T.kept).exception(PATIENCE_S)
    assert isinstance(error, BrokenProcessPool)
    assert "could not be started: BlockingIOError: [Errno 11] Resource temporarily unavailable" in str(error)


@pytest.mark.parametrize("files", [96, 128, 192, 256])
def test_where_descriptors_run_out_fewer_workers_do_all_the_work(tmp_path: Path, files: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import resource, sys, time
import tercet
from tercet.process_pool import ProcessPoolExecutor

def wait(number):
    time.sleep(0.005)
    return number

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
    with ProcessPoolExecutor(60) as executor:
        print(list(executor.map(wait, range(200))) == list(range(200)))
    print(list(tercet.map(wait, range(200), model="processes", workers=60)) == list(range(200)))
"""
    )
    command = [sys.executable, str(program), str(files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nTrue\n", "")


# --- how it ends ---


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, Standard], ids=["tercet", "stdlib"])
@pytest.mark.parametrize("task", [T.outlast, T.mark_at_end], ids=["threads", "finalizers"])
@pytest.mark.parametrize("method", METHODS)
def test_a_worker_ends_as_processes_of_the_standard_library_do(
    kind: Any, task: Any, method: str | None, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with kind(1, context_of(method)) as executor:
        executor.submit(task, str(mark)).result(PATIENCE_S)
        assert not mark.exists()
    assert mark.exists()


# --- what its death is called ---


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the kernel counts whom it kills for want of memory."""
    file = tmp_path / "memory.events"
    file.write_text("oom 0\noom_kill 0\n")
    monkeypatch.setattr(oom, "COUNTERS", (str(file),))
    return file


@pytest.mark.parametrize("method", METHODS)
def test_a_death_for_want_of_memory_is_called_so(method: str | None, counter: Path) -> None:
    with ProcessPoolExecutor(1, context_of(method)) as executor:
        for number in (1, 2):
            error = executor.submit(T.crowded, str(counter), number).exception(PATIENCE_S)
            assert isinstance(error, WorkerCrashed)
            assert "killed by SIGKILL as memory ran out." in str(error)
            assert "\nhint: have fewer workers" in str(error)
        # The count has not risen since.
        error = executor.submit(T.crowded, str(counter), 2).exception(PATIENCE_S)
        assert isinstance(error, WorkerCrashed)
        assert "killed by SIGKILL." in str(error)
        assert "memory" not in str(error)


def test_where_nobody_counts_memory_is_a_guess(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(oom, "counters", list)
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(T.crowded, str(tmp_path / "nobody"), 1).exception(PATIENCE_S)
    assert "killed by SIGKILL.\nhint: the kernel kills the largest process when memory runs out" in str(error)
