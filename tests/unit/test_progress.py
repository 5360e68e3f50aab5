"""`tercet.progress`: whoever shows it is told of every item."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tercet.progress import open_progress


@pytest.mark.parametrize("wanted", [None, False])
def test_nothing_is_shown_unless_asked_for(wanted: bool | None) -> None:
    assert open_progress(wanted, 3) is None


def test_a_callable_hears_of_every_item_also_when_several_came_at_once() -> None:
    heard: list[tuple[int, int | None]] = []
    progress = open_progress(lambda done, total: heard.append((done, total)), 5)
    assert progress is not None
    for done in (1, 1, 4, 5):
        progress.show(done)
    progress.close()
    assert heard == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_callable_hears_that_the_total_is_unknown() -> None:
    heard: list[int | None] = []
    progress = open_progress(lambda done, total: heard.append(total), None)
    assert progress is not None
    progress.show(1)
    assert heard == [None]


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="progress must be True, False or a callable: 'yes'"):
        open_progress("yes", 3)  # type: ignore[arg-type]


class Bar:
    """Stands for tqdm's bar."""

    made: list[Bar] = []

    def __init__(self, total: int | None) -> None:
        self.total, self.n, self.is_closed = total, 0, False
        self.made.append(self)

    def update(self, more: int) -> None:
        self.n += more

    def close(self) -> None:
        self.is_closed = True


def put(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name.split(".")[0], ModuleType(name.split(".")[0]))
    monkeypatch.setitem(sys.modules, name, module)


def test_true_shows_tqdm_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "tqdm.auto", tqdm=Bar)
    Bar.made.clear()
    progress = open_progress(True, 9)
    assert progress is not None
    progress.show(2)
    progress.show(9)
    progress.close()
    (bar,) = Bar.made
    assert (bar.total, bar.n, bar.is_closed) == (9, 9, True)


class RichProgress:
    made: list[RichProgress] = []

    def __init__(self, *columns: object) -> None:
        self.log: list[Any] = []
        self.made.append(self)

    @staticmethod
    def get_default_columns() -> tuple[object, ...]:
        return ()

    def add_task(self, name: str, total: int | None) -> int:
        self.log.append(("task", total))
        return 7

    def start(self) -> None:
        self.log.append("start")

    def update(self, task: int, completed: int) -> None:
        self.log.append((task, completed))

    def stop(self) -> None:
        self.log.append("stop")


def test_true_shows_rich_where_there_is_no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    put(monkeypatch, "rich.progress", Progress=RichProgress)
    RichProgress.made.clear()
    progress = open_progress(True, 3)
    assert progress is not None
    progress.show(3)
    progress.close()
    assert RichProgress.made[0].log == [("task", 3), "start", (7, 3), "stop"]


def test_true_shows_nothing_where_there_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert open_progress(True, 3) is None
