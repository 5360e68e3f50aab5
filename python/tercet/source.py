"""Reading the source of functions, without the modules that take long to import.

`inspect`, `ast` and `tokenize` take 20 to 40 ms to import, and this is read while the first tasks run in place and
want the GIL. A syntax tree comes from the compiler itself.
"""

from __future__ import annotations

import _ast as ast
import functools
import os
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

__all__ = ["is_coroutine_function", "is_own_file", "name_of", "parse", "segment", "tree_of", "unwrapped", "walk"]

_COROUTINE = 0x80
_STANDARD = os.__file__.rpartition(os.sep)[0] + os.sep
_LINES_AFTER = 12
"""A function may go on for some lines after its last instruction: closing brackets, a comment, an ``else``."""


def unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is called in the end: behind partials, bound methods, decorators and callable objects."""
    for _ in range(16):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        elif isinstance(fn, FunctionType | BuiltinFunctionType | type):
            break
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif isinstance(call := vars(type(fn)).get("__call__"), FunctionType):
            fn = call
        else:
            break
    return fn


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether a call of `fn` gives a coroutine: also through partials, bound methods and callable objects.

    Examples
    --------
        >>> import functools
        >>> async def fetch(url, timeout): ...
        >>> is_coroutine_function(functools.partial(fetch, timeout=3))
        True
    """
    inner = unwrapped(fn)
    code = getattr(inner, "__code__", None)
    if isinstance(code, CodeType) and code.co_flags & _COROUTINE:
        return True
    # `inspect.markcoroutinefunction` leaves its mark here.
    return any(getattr(each, "_is_coroutine_marker", None) is not None for each in (fn, inner))


def name_of(fn: Any) -> str:
    """Return what a person calls a function.

    Examples
    --------
        >>> name_of(len)
        'len'
        >>> import functools
        >>> name_of(functools.partial(pow, 2))
        'pow'
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return str(name)


def is_own_file(file: str) -> bool:
    """Whether a file is the user's own: not of the standard library, not of an installed package."""
    return not file.startswith(("<frozen", _STANDARD)) and "site-packages" not in file and "dist-packages" not in file


def parse(text: str | bytes, file: str = "<unknown>") -> ast.Module:
    """Return the syntax tree of a module's text."""
    tree = compile(text, file, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node of a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in node._fields:
            child = getattr(node, name, None)
            if isinstance(child, ast.AST):
                waiting.append(child)
            elif isinstance(child, list):
                waiting.extend(part for part in child if isinstance(part, ast.AST))


@functools.lru_cache(maxsize=64)
def _lines(file: str) -> tuple[str, ...]:
    try:
        with open(file, "rb") as source:
            text = source.read().decode()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(text.splitlines(keepends=True))


@functools.lru_cache(maxsize=256)
def tree_of(code: CodeType) -> ast.AST | None:
    """Return the syntax tree of a function, or ``None`` where its source cannot be read."""
    lines = _lines(code.co_filename)
    last = max((line for _, _, line in code.co_lines() if line is not None), default=0)
    for more in range(_LINES_AFTER):
        block = _undented(lines[code.co_firstlineno - 1 : last + more])
        try:
            tree = parse(block)
        except (SyntaxError, ValueError):
            continue
        for node in walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == code.co_name:
                return node
            if isinstance(node, ast.Lambda) and code.co_name == "<lambda>":
                return node
    return None


def _undented(lines: tuple[str, ...]) -> str:
    """The lines without the indentation of the first."""
    if not lines:
        return ""
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    return "".join(line.removeprefix(margin) for line in lines)


def segment(code: CodeType, node: ast.expr) -> str:
    """Return the text of an expression in a function's source, shortened to one line."""
    line = _lines(code.co_filename)[code.co_firstlineno - 1 + node.lineno - 1]
    first = _lines(code.co_filename)[code.co_firstlineno - 1]
    text = line.removeprefix(first[: len(first) - len(first.lstrip())]).encode()
    end = node.end_col_offset if node.end_lineno == node.lineno else None
    return text[node.col_offset : end].decode(errors="replace").strip()
