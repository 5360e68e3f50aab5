"""Functions that a pool's workers are told of once, and calls that name them."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tercet import ProcessPoolExecutor

MANY = 200
"""More functions than there are places."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    lines = [f"def task_{n}(x): return {n}, x" for n in range(MANY)]
    lines += ["def fail(x): raise LookupError(x)", "def late(x): return -x", "def add(x, y=0): return x + y"]
    (tmp_path / "repertoire_shop.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("repertoire_shop")
    del sys.modules["repertoire_shop"]


def test_more_functions_than_there_are_places(shop: ModuleType) -> None:
    with ProcessPoolExecutor(2) as executor:
        order = [*range(MANY), *range(MANY - 1, -1, -1), *[0, 70, 140] * 20]
        futures = [executor.submit(getattr(shop, f"task_{n}"), k) for k, n in enumerate(order)]
        assert [future.result() for future in futures] == [(n, k) for k, n in enumerate(order)]


def test_another_function_where_one_was_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects come to stand at the address of others that are gone."""
    monkeypatch.syspath_prepend(str(tmp_path))
    with ProcessPoolExecutor(1) as executor:
        for n in range(30):
            name = f"repertoire_brief_{n}"
            (tmp_path / f"{name}.py").write_text(f"def task(): return {n}")
            module = importlib.import_module(name)
            assert executor.submit(module.task).result() == n
            del module.task
            del sys.modules[name]


@pytest.mark.parametrize("args", [(1,), ("x" * 100_000,), ([1, {"a": (2,)}],), (b"y" * 100_000, None)])
def test_any_arguments_go_with_a_name(args: tuple[Any, ...]) -> None:
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(max, [*args], key=repr).result() == max([*args], key=repr)
        assert list(executor.map(repr, args)) == [repr(arg) for arg in args]


def test_keywords_and_positions(shop: ModuleType) -> None:
    with ProcessPoolExecutor(1) as executor:
        calls = [executor.submit(shop.add, 1), executor.submit(shop.add, 1, 2), executor.submit(shop.add, 1, y=3)]
        assert [call.result() for call in calls] == [1, 3, 4]


def test_the_traceback_of_an_error_begins_in_the_function(shop: ModuleType) -> None:
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(shop.fail, "x").exception()
    assert isinstance(error, LookupError)
    assert error.__cause__ is not None
    told = str(error.__cause__)
    assert [line.strip() for line in told.splitlines() if "File" in line] == [
        f'File "{shop.__file__}", line {MANY + 1}, in fail'
    ], "".join(traceback.format_exception(error))


def test_a_function_that_a_worker_does_not_find_fails_its_tasks_and_no_other(shop: ModuleType, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(shop.late, 1).result() == -1
        exec("def new(x): return x", shop.__dict__)
        for _ in range(2):
            with pytest.raises(AttributeError, match="new"):
                executor.submit(shop.new, 1).result()
        assert executor.submit(shop.late, 2).result() == -2


def test_what_goes_by_value_is_what_it_is_at_the_time() -> None:
    """A method or a partial has a state that may change between two tasks."""
    basket = [3, 1]
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(basket.index, 1).result() == 1
        basket.insert(0, 1)
        assert executor.submit(basket.index, 1).result() == 0


def test_map_goes_through_submit_where_that_is_somebody_elses() -> None:
    class Counted(ProcessPoolExecutor):
        count = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return super().submit(fn, *args, **kwargs)

    with Counted(1) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
        assert executor.count == 2


def test_what_was_drawn_before_the_items_failed_runs(tmp_path: Path) -> None:
    def items() -> Iterator[Path]:
        yield tmp_path / "a"
        yield tmp_path / "b"
        raise LookupError("no more")

    with ProcessPoolExecutor(1) as executor, pytest.raises(LookupError, match="no more"):
        executor.map(Path.touch, items())
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
