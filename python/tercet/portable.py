"""Whether a function can go to another process, and what has to go with it.

A worker starts as an interpreter that knows nothing of the program. It finds the function again by its module and
name, so `pack` refuses what has no such name (a lambda, a function inside a function, one typed into a session), and
sends along the global data that the function reads: a worker that imports the module afresh would see the values of
the import, not those of now.

The main module is special. Importing it again runs the script again, which would start the same map again where
nothing guards it by ``if __name__ == "__main__"``. Of such a script a worker reads the imports, the functions and the
classes alone.
"""

from __future__ import annotations

import _ast as ast
import functools
import sys
from _pickle import dumps, loads
from collections.abc import Callable, Iterator
from time import thread_time
from types import BuiltinFunctionType, FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from tercet.errors import NotPortable
from tercet.source import is_own_file, name_of, parse
from tercet.worker import apply

if TYPE_CHECKING:
    from tercet.purity import Study

__all__ = ["Baggage", "Journey", "can_have_workers", "pack", "try_journey"]

_CARRIED_MOST = 64 << 20
"""Global data of up to this many bytes, pickled, goes with a function."""

_LARGE = 1 << 20


class Baggage(NamedTuple):
    """What a worker process has to learn before it can run a function.

    Attributes
    ----------
    order
        What it has to take over and to learn: see ``settle`` and ``learn`` in `tercet.worker`.
    notes
        What a reader of the advice should know.
    """

    order: dict[str, Any]
    notes: tuple[str, ...]

    def for_many(self) -> Baggage:
        """Return the same for items that bring their functions along, which are like this one."""
        return self._replace(order={**self.order, "named": (apply.__module__, apply.__name__), "packed": None})


class Journey(NamedTuple):
    """What it costs to send one call to another process and its result back, as tried with real ones.

    Attributes
    ----------
    seconds
        Of processor time, to pickle and unpickle the arguments and the result.
    size
        Bytes of both.
    refusal
        Why they cannot go, or ``None``.
    """

    seconds: float
    size: int
    refusal: str | None = None


def can_have_workers() -> str | None:
    """Return why this interpreter cannot start worker processes, or ``None`` where it can."""
    if not sys.platform.startswith("linux"):
        return f"worker processes are not there yet on {sys.platform}"
    if not sys.executable or getattr(sys, "frozen", False):
        return "the program has no interpreter of its own to start workers with"
    return None


# --- the function ---------------------------------------------------------------------------------------------


def pack(fn: Callable[..., Any], found: Study, caller: int | None = None) -> Baggage:
    """Pack a function for its journey.

    Parameters
    ----------
    fn
        The function.
    found
        What `tercet.purity.study` found in it.
    caller
        The thread that asked for the map: where it stands in the main module tells whether that can be read again.

    Raises
    ------
    NotPortable
        If a worker could not find the function again.
    """
    named, packed = _address(fn)
    main, note = main_source(caller)
    modules = {name for name, _ in found.globals} | _modules_of(fn) - {apply.__module__}
    if "__main__" in modules and main is None:
        raise NotPortable(f"`{name_of(fn)}` is defined in a session, which no worker can read")
    order = {
        **surroundings(main),
        "decimal": _decimal_context(),
        "sources": sorted((name, _file_of(fn, name)) for name in modules if name != "__main__"),
        "named": named,
        "packed": packed,
        "carried": list(_carried(found, modules, main)),
    }
    notes = [note] if note is not None and "__main__" in modules else []
    return Baggage(order, (*found.notes, *notes))


def surroundings(main: tuple[str, str, bool] | None) -> dict[str, Any]:
    """Return what a worker has to take over before anything else: see ``settle`` in `tercet.worker`."""
    return {
        "path": [str(entry) for entry in sys.path],
        "argv": list(sys.argv),
        "prefix": (sys.prefix, sys.exec_prefix),
        "limits": (sys.getrecursionlimit(), sys.get_int_max_str_digits()),
        "main": main,
        "files": _own_files(),
    }


def _address(fn: Callable[..., Any]) -> tuple[tuple[str, str] | None, bytes | None]:
    """A function by module and name, or anything else that can be called pickled."""
    if isinstance(fn, FunctionType):
        qualname = fn.__qualname__
        if "<lambda>" in qualname:
            raise NotPortable("a lambda has no name by which a worker could find it")
        if "<locals>" in qualname:
            raise NotPortable(f"`{qualname}` is defined inside a function, where no worker can find it")
        if _found_under(fn.__globals__, qualname) is not fn:
            raise NotPortable(f"`{fn.__module__}.{qualname}` is no longer the function of that name")
        return (fn.__module__, qualname), None
    try:
        packed = dumps(fn, 5)
        loads(packed)
    except Exception as error:
        raise NotPortable(f"`{name_of(fn)}` cannot be pickled: {error}") from error
    return None, packed


def _found_under(namespace: dict[str, Any], qualname: str) -> Any:
    first, *rest = qualname.split(".")
    found = namespace.get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found


def _modules_of(fn: Any) -> set[str]:
    """The modules that a worker has to import before it can unpickle a callable."""
    if isinstance(fn, functools.partial):
        parts = (fn.func, *fn.args, *fn.keywords.values())
        return {module for part in parts for module in _modules_of(part)}
    if isinstance(fn, MethodType):
        return _modules_of(fn.__self__) | _modules_of(fn.__func__)
    if isinstance(fn, FunctionType | BuiltinFunctionType | type):
        return {fn.__module__} if fn.__module__ else set()
    return {type(fn).__module__}


def _file_of(fn: Any, name: str) -> str | None:
    """The file of a module, also of one that was loaded by hand and stands in no list."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    while isinstance(fn, functools.partial | MethodType):
        fn = fn.func if isinstance(fn, functools.partial) else fn.__func__
    known = getattr(fn, "__globals__", {})
    file = known.get("__file__") if known.get("__name__") == name else None
    return file if isinstance(file, str) else None


def _decimal_context() -> bytes | None:
    """How precisely decimals are computed with here, where anybody uses them."""
    decimal = sys.modules.get("decimal")
    return dumps(decimal.getcontext(), 5) if decimal is not None else None


def _own_files() -> dict[str, str]:
    """The files of the user's own modules: what was loaded by hand stands on no path, and items may come from it."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and name != "__main__" and is_own_file(file):
            found[name] = file
    return found


# --- the global data it reads ---------------------------------------------------------------------------------


def _carried(found: Study, modules: set[str], main: tuple[str, str, bool] | None) -> Iterator[tuple[str, str, bytes]]:
    """Pickle the global data that a worker must see as it is now."""
    size = 0
    for (module, name), value in sorted(found.globals.items(), key=lambda entry: entry[0]):
        must_go = main is not None and main[2] and module == "__main__"
        try:
            packed = dumps(value, 5)
        except Exception as error:
            if not must_go:
                # The import of its module makes another, as it made this one.
                continue
            raise NotPortable(f"the global `{name}` that it reads cannot be pickled: {error}") from error
        size += len(packed)
        if size > _CARRIED_MOST:
            raise NotPortable(f"the global `{name}` that it reads is too large to send: {size >> 20} MB")
        if module in modules:
            yield module, name, packed


# --- the main module ------------------------------------------------------------------------------------------


def main_source(caller: int | None) -> tuple[tuple[str, str, bool] | None, str | None]:
    """How a worker reads the main module: file, package, and whether definitions alone; and a note about it."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or not isinstance(file, str):
        return None, None
    try:
        with open(file, "rb") as script:
            tree = parse(script.read(), file)
    except (OSError, SyntaxError, ValueError):
        return None, None
    is_guarded = _is_guarded(tree, _line_in(main, caller))
    note = (
        None
        if is_guarded
        else ('the script has no `if __name__ == "__main__":` around its work, so workers read its definitions alone')
    )
    return (file, getattr(main, "__package__", None) or "", not is_guarded), note


def _line_in(main: ModuleType, thread: int | None) -> int | None:
    """The line of the main module's own code in which a thread stands."""
    frame: FrameType | None = sys._current_frames().get(thread) if thread is not None else None
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None


def _is_guarded(tree: ast.Module, line: int | None) -> bool:
    """Whether running the module again under another name would leave out what runs at `line`."""
    guards = [node for node in tree.body if isinstance(node, ast.If) and _is_main_test(node.test)]
    if line is not None:
        return any(guard.body[0].lineno <= line <= (guard.body[-1].end_lineno or 0) for guard in guards)
    quiet = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return bool(guards) or all(isinstance(node, quiet) or _is_text(node) for node in tree.body)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main_test(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides) and any(
        isinstance(side, ast.Constant) and side.value == "__main__" for side in sides
    )


# --- the journey ----------------------------------------------------------------------------------------------


def try_journey(items: list[Any], results: list[Any]) -> Journey:
    """Pickle and unpickle one of some items and one of some results, where there are any."""
    seconds, size = 0.0, 0
    for what, value in (
        *(("an item", item) for item in items[-1:]),
        *(("a result", result) for result in results[-1:]),
    ):
        started = thread_time()
        try:
            packed = dumps(value, 5)
            if len(packed) <= _LARGE:
                loads(packed)
        except Exception as error:
            return Journey(seconds, size, f"{what} cannot be pickled: {error}")
        seconds += thread_time() - started
        size += len(packed)
    return Journey(seconds, size)
