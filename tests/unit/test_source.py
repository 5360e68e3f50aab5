"""`tercet.source`: functions found behind what wraps them, and their source."""

from __future__ import annotations

import asyncio
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tercet import source


def plain(x: int) -> int:
    return x


async def coroutine(x: int, y: int = 0) -> int:
    await asyncio.sleep(0)
    return x + y


class Holder:
    async def method(self, x: int) -> int:
        return x

    @classmethod
    async def of_class(cls, x: int) -> int:
        return x

    @staticmethod
    async def static(x: int) -> int:
        return x


class AsyncCallable:
    async def __call__(self, x: int) -> int:
        return x


class PlainCallable:
    def __call__(self, x: int) -> int:
        return x


@functools.wraps(coroutine)
def wrapper(*args: Any) -> Any:
    return coroutine(*args)


@pytest.mark.parametrize(
    "fn",
    [
        coroutine,
        functools.partial(coroutine, y=1),
        functools.partial(functools.partial(coroutine, y=1)),
        Holder().method,
        Holder.of_class,
        Holder.static,
        AsyncCallable(),
        functools.partial(AsyncCallable()),
    ],
)
def test_coroutine_functions_are_seen_behind_what_wraps_them(fn: Callable[..., Any]) -> None:
    assert source.is_coroutine_function(fn)


@pytest.mark.parametrize("fn", [plain, functools.partial(plain), PlainCallable(), len, int, str.upper, lambda x: x])
def test_other_callables_are_not_coroutine_functions(fn: Callable[..., Any]) -> None:
    assert not source.is_coroutine_function(fn)


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="since Python 3.12")
def test_a_function_marked_as_a_coroutine_function_is_one() -> None:
    @inspect.markcoroutinefunction
    def marked(x: int) -> Any:
        return coroutine(x)

    assert source.is_coroutine_function(marked)


def test_names_are_those_a_person_uses() -> None:
    assert source.name_of(functools.partial(plain, 1)) == "plain"
    assert source.name_of(Holder().method) == "Holder.method"
    assert source.name_of(PlainCallable()) == "PlainCallable"


def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


@decorate
@functools.lru_cache
def decorated(
    x: int,
) -> list[int]:
    """With a docstring,
    of two lines."""
    return [
        x,
        # a comment before the end
        x + 1,
    ]


def test_the_tree_of_a_function_is_the_same_as_its_source() -> None:
    inner = source.unwrapped(decorated)
    tree = source.tree_of(inner.__code__)
    assert tree is not None
    assert tree.name == "decorated"  # type: ignore[attr-defined]


def test_the_tree_of_an_indented_function_is_found() -> None:
    def inside(x: int) -> int:
        return x * 7

    tree = source.tree_of(inside.__code__)
    assert tree is not None
    (value,) = [node for node in source.walk(tree) if type(node).__name__ == "BinOp"]
    assert source.segment(inside.__code__, value) == "x * 7"  # type: ignore[arg-type]


def test_without_a_file_there_is_no_tree() -> None:
    known: dict[str, Any] = {}
    exec(textwrap.dedent("def typed_in(x):\n    return x\n"), known)
    assert source.tree_of(known["typed_in"].__code__) is None


def test_every_function_of_the_package_can_be_read() -> None:
    """The cutting of functions out of files holds for more than what was thought of."""
    import tercet.course
    import tercet.pilot

    for module in (tercet.course, tercet.pilot, source):
        for _, found in inspect.getmembers(module, inspect.isfunction):
            assert source.tree_of(found.__code__) is not None
        for _, cls in inspect.getmembers(module, inspect.isclass):
            for _, found in inspect.getmembers(cls, inspect.isfunction):
                if found.__module__ == module.__name__ and "<" not in found.__code__.co_filename:
                    assert source.tree_of(found.__code__) is not None, found
