"""Whatever the items and however tasks fail, a map gives what the plain loop gives."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tercet
from tercet.executor import Executor

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=12,
)
settings_here = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def same(value: Any) -> Any:
    """Give the item back."""
    return value


def outcome(results: Any) -> tuple[list[Any], str]:
    """The results up to the first error, and the error."""
    found: list[Any] = []
    try:
        for result in results:
            found.append(result)
    except Exception as error:
        return found, repr(error)
    return found, ""


def plain(fn: Any, items: list[Any]) -> tuple[list[Any], str]:
    return outcome(fn(item) for item in items)


@pytest.mark.parametrize("model", [None, "plain", "threads"])
@settings_here
@given(items=st.lists(values, max_size=40), buffersize=st.none() | st.integers(1, 9))
def test_any_items_come_back_as_they_are(model: str | None, items: list[Any], buffersize: int | None) -> None:
    assert list(tercet.map(same, items, model=model, buffersize=buffersize)) == items


@settings(settings_here, max_examples=8)
@given(items=st.lists(values, min_size=1, max_size=40))
def test_any_items_survive_the_journey_to_processes(tasks: ModuleType, items: list[Any]) -> None:
    assert list(tercet.map(tasks.same, items, model="processes", workers=2)) == items


numbers = st.lists(st.integers(-3, 12), max_size=60)


@pytest.mark.parametrize("model", [None, "plain", "threads"])
@settings_here
@given(items=numbers, workers=st.none() | st.integers(1, 5), is_generator=st.booleans())
def test_any_mixture_of_failing_tasks_is_that_of_the_plain_loop(
    model: str | None, items: list[int], workers: int | None, is_generator: bool
) -> None:
    source = (item for item in items) if is_generator else items
    assert outcome(tercet.map(math.sqrt, source, model=model, workers=workers)) == plain(math.sqrt, items)


@settings(settings_here, max_examples=8)
@given(items=numbers)
def test_failing_tasks_in_processes(items: list[int]) -> None:
    assert outcome(tercet.map(math.sqrt, items, model="processes", workers=2)) == plain(math.sqrt, items)


@settings(settings_here, max_examples=20)
@given(items=numbers)
def test_failing_coroutines(items: list[int]) -> None:
    async def root(x: int) -> float:
        return math.sqrt(x)

    assert outcome(tercet.map(root, items)) == plain(math.sqrt, items)


@settings_here
@given(items=numbers, taken=st.integers(0, 70))
def test_stopping_anywhere_is_fine(items: list[int], taken: int) -> None:
    good = [abs(item) for item in items]
    with tercet.map(math.sqrt, good, model="threads", workers=3) as results:
        found = [result for result, _ in zip(results, range(taken), strict=False)]
    assert found == [math.sqrt(item) for item in good[:taken]]


@pytest.mark.parametrize("model", [None, "threads"])
@settings_here
@given(items=numbers)
def test_every_future_has_its_own_outcome(model: str | None, items: list[int]) -> None:
    with Executor(model) as executor:
        futures = [executor.submit(math.sqrt, item) for item in items]
        for item, future in zip(items, futures, strict=True):
            if item < 0:
                assert isinstance(future.exception(), ValueError)
            else:
                assert future.result() == math.sqrt(item)
