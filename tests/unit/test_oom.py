"""`tercet.oom`: what tells a process that memory has killed from one that anybody else has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet import oom
from tercet.oom import KillCount, counters


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel counts."""
    file = tmp_path / "memory.events"
    file.write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n")
    monkeypatch.setattr(oom, "COUNTERS", (str(file),))
    return file


def test_kills_of_the_past_do_not_count(events: Path) -> None:
    assert KillCount().take() is False


def test_each_kill_accounts_for_one_death(events: Path) -> None:
    count = KillCount()
    events.write_text("oom_kill 5\n")
    assert [count.take() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["", "oom_kill many\n", "oom_kill_disable 0\nunder_oom 0\n"])
def test_a_file_that_does_not_tell_leaves_it_to_the_next(events: Path, text: str) -> None:
    events.write_text(text)
    # The last of them is the kernel's own, of the whole machine.
    assert oom._kills(str(events)) is None
    assert KillCount().take() in (False, None)


def test_where_nobody_counts_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, "counters", lambda: ["/nowhere/memory.events"])
    assert KillCount().take() is None


def test_the_group_of_this_process_comes_before_the_machine(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("0::/user.slice/shop.scope\n")
    assert counters(str(groups)) == [
        "/sys/fs/cgroup/user.slice/shop.scope/memory.events",
        "/sys/fs/cgroup/memory.events",
        "/proc/vmstat",
    ]


def test_groups_of_the_first_version(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("5:cpu,cpuacct:/a\n4:memory:/docker/1\n1:name=systemd:/\n0::/\n")
    assert counters(str(groups)) == [
        "/sys/fs/cgroup/memory/docker/1/memory.oom_control",
        "/sys/fs/cgroup/memory/memory.oom_control",
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory.events",
        "/proc/vmstat",
    ]


def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert counters(str(tmp_path / "none")) == ["/proc/vmstat"]
    (tmp_path / "odd").write_text("what is this\n")
    assert counters(str(tmp_path / "odd")) == ["/proc/vmstat"]
