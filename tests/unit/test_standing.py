"""`tercet.standing`: what a process inherits, told by the kernel."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tercet import standing as standing_module
from tercet.standing import handed_on, standing


def in_a_thread(change: Callable[[], Any]) -> tuple[Any, Any]:
    """How a thread stands before and after a change that ends with it."""
    found: list[Any] = []

    def look() -> None:
        found.append(standing())
        change()
        found.append(standing())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0], found[1]


def test_who_changes_nothing_stands_as_before() -> None:
    assert standing() == standing() is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]),
        lambda: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5),
    ],
    ids=["mask", "niceness"],
)
def test_what_a_thread_changes_is_seen(change: Callable[[], Any]) -> None:
    before, after = in_a_thread(change)
    assert before != after
    assert before == standing()


def test_fewer_processors_are_seen() -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("it has one processor")
    before, after = in_a_thread(lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    assert before != after


def test_a_mask_a_limit_and_an_ignored_signal_are_seen() -> None:
    import resource

    seen = {standing()}
    mask = os.umask(0o077)
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    handler = signal.getsignal(signal.SIGUSR1)
    try:
        seen.add(standing())
        resource.setrlimit(resource.RLIMIT_CORE, (4096 if limits[0] == 0 else 0, limits[1]))
        seen.add(standing())
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        seen.add(standing())
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_CORE, limits)
        signal.signal(signal.SIGUSR1, handler)
    assert len(seen) >= 3
    assert standing() in seen


def test_what_an_interpreter_reads_at_its_start_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = standing()
    monkeypatch.setenv("TERCET_TEST", "1")
    assert standing() == before
    for name in ("PYTHONHASHSEED", "LC_ALL", "TZ"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "1")
            assert standing() != before
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert standing() != before


def test_where_nobody_tells_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> bytes:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(standing_module, "_read", refuse)
    assert standing() is None


def test_inheritable_descriptors_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "file").open("w") as file:
        assert file.fileno() not in handed()[1]
        os.set_inheritable(file.fileno(), True)
        folder, numbers = handed()
    assert folder == str(tmp_path)
    assert file.closed
    assert len(numbers) >= 1
    assert 0 not in numbers


def handed() -> tuple[str, list[int]]:
    told, fds = handed_on()
    assert told["numbers"] == fds[1:]
    folder = os.readlink(f"/proc/self/fd/{fds[0]}")
    os.close(fds[0])
    return folder, told["numbers"]
