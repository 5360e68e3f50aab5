"""Whether a function may run in another process without changing what the program means.

A worker process has its own memory: what a task writes there, the caller never sees. Nothing can prove that a Python
function leaves shared things alone, so `study` reads its source, and that of the functions it calls in the user's own
modules, and returns every reason for doubt. In doubt a map stays in the process: silent wrongness is worse than slow.

What is not followed: code in C, installed packages and the standard library (taken to be pure, but for a short list
of functions that are known not to be), and calls through values that are only known at run time.
"""

from __future__ import annotations

import _ast as ast
import builtins
import functools
import re
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from tercet.source import is_own_file, segment, tree_of, unwrapped, walk

__all__ = ["Study", "study"]

_DEEPEST = 3
"""How many calls deep the user's own functions are read."""

_MUTATORS = frozenset(
    """
    __delitem__ __setattr__ __setitem__ acquire add append appendleft clear commit difference_update discard execute
    executemany extend extendleft insert intersection_update move_to_end notify notify_all pop popitem popleft put
    put_nowait release remove reverse rotate send sendall set setdefault sort subtract symmetric_difference_update
    update wait write writelines
    """.split()
)
_CHANGES_FIRST_ARGUMENT = frozenset(
    """
    bisect.insort bisect.insort_left bisect.insort_right heapq.heapify heapq.heappop heapq.heappush heapq.heappushpop
    heapq.heapreplace random.shuffle builtins.setattr builtins.delattr builtins.next operator.setitem operator.delitem
    operator.iadd
    """.split()
)
_CHANGES_PROCESS = frozenset(
    """
    builtins.exec builtins.eval builtins.globals builtins.input os.chdir os.putenv os.umask os.unsetenv
    locale.setlocale signal.signal sys.setrecursionlimit sys.settrace atexit.register
    """.split()
)
_SHARED = re.compile(
    r"(_thread|threading|queue|asyncio|multiprocessing|concurrent\.futures|_contextvars|contextvars|socket|_socket|ssl|_io"
    r"|io|unittest\.mock|sqlite3|select|selectors|_queue|subprocess|tempfile|mmap)(\.|$)"
)
"""Modules whose objects belong to one process: locks, queues, sockets, files, connections, context variables."""

_LOOKED_AT = 16
"""How many elements of a container are looked at to tell whether they can be changed."""

_PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None), type(Ellipsis), range)
_CONTAINERS = (list, tuple, dict, set, frozenset)
_UNCHANGING = (bool, int, float, complex, str, bytes, type(None), range, frozenset, ModuleType, type, FunctionType)
_HARMLESS = re.compile(
    r"(builtins|os|re|_struct|struct|decimal|_decimal|fractions|datetime|_datetime|zoneinfo|pathlib|uuid|logging|string|enum|array"
    r"|collections|types|functools|operator|itertools|ipaddress|numpy|pandas|hashlib|_hashlib|random|typing)(\.|$)"
)
"""Modules whose objects change only through the methods in `_MUTATORS`."""


class Study:
    """What was found in a function and in those that it calls.

    Attributes
    ----------
    doubts
        Why the function may not be pure, as sentences without a full stop; none when nothing was found.
    notes
        What a reader of the advice should know although it is no reason to stay.
    globals
        The global data that the code reads, by the name of its module and its own: a worker must see the same values.
    containers
        The containers among them, by name, to be compared before and after the first tasks.
    """

    def __init__(self) -> None:
        self.doubts: list[str] = []
        self.notes: list[str] = []
        self.globals: dict[tuple[str, str], Any] = {}
        self.containers: dict[str, Any] = {}

    def doubt(self, text: str) -> None:
        """Note a reason for doubt once."""
        if text not in self.doubts:
            self.doubts.append(text)


def study(fn: Callable[..., Any]) -> Study:
    """Look for reasons why `fn` may not run in another process without changing what the program means."""
    found = Study()
    _look_at_captured(fn, found)
    inner = unwrapped(fn)
    if isinstance(inner, FunctionType):
        tainted = _first_parameter(inner) if _is_bound(fn) else ()
        _Reader(found).read(inner, tainted, 0)
    return found


# --- what a callable carries with it --------------------------------------------------------------------------


def _look_at_captured(fn: Any, found: Study) -> None:
    if isinstance(fn, functools.partial):
        for value in (*fn.args, *fn.keywords.values()):
            _look_at_value(value, "is bound to it", found)
        _look_at_captured(fn.func, found)
        return
    owner = getattr(fn, "__self__", None)
    if isinstance(fn, BuiltinFunctionType) and owner is not None and not isinstance(owner, ModuleType | type):
        if fn.__name__ in _MUTATORS or _is_shared(owner):
            found.doubt(f"it is the method `{fn.__name__}` of a `{_kind(owner)}` that the caller holds")
    elif isinstance(fn, MethodType) and _is_shared(owner):
        found.doubt(f"it is a method of a `{_kind(owner)}`, which belongs to one process")
    if isinstance(fn, FunctionType):
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                _look_at_value(cell.cell_contents, f"is captured as `{name}`", found)
            except ValueError:
                continue
        for value in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            _look_at_value(value, "is a default of it", found)


def _look_at_value(value: Any, how: str, found: Study) -> None:
    if _is_shared(value):
        found.doubt(f"a `{_kind(value)}`, which belongs to one process, {how}")
    elif isinstance(value, list | dict | set | bytearray) and how.startswith("is captured"):
        found.doubt(f"a {_kind(value)} that the caller may read afterwards {how}")


def _is_shared(value: Any) -> bool:
    kind = type(value)
    return isinstance(value, threading.local) or (
        not isinstance(value, ModuleType | type | FunctionType | BuiltinFunctionType | BaseException)
        and bool(_SHARED.match(kind.__module__ or ""))
        and kind.__name__ not in ("SimpleNamespace", "StringIO", "BytesIO")
    )


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_bound(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, MethodType):
        return not isinstance(fn.__self__, type)
    return not isinstance(fn, FunctionType | BuiltinFunctionType | type) and not hasattr(fn, "__wrapped__")


def _first_parameter(fn: FunctionType) -> tuple[str, ...]:
    return fn.__code__.co_varnames[:1]


# --- whose code it is -----------------------------------------------------------------------------------------


def _is_own(code: CodeType) -> bool:
    """Whether code is the user's own: not of the standard library, not of an installed package."""
    return is_own_file(code.co_filename)


# --- reading the source ---------------------------------------------------------------------------------------


def _bound_names(tree: ast.AST) -> set[str]:
    """Every name that is bound somewhere in a function, but for those that it declares global or nonlocal."""
    bound: set[str] = set()
    outer: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node is not tree:
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
    return bound - outer


def _root(node: ast.AST) -> str | None:
    """The name at the root of ``a.b[c].d``, or ``None`` for any other expression."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _path(node: ast.AST) -> list[str] | None:
    """``["a", "b", "c"]`` for ``a.b.c``, or ``None`` for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


_MISSING = object()
_GENERATOR = 0x20 | 0x200


def _attribute(value: Any, name: str) -> Any:
    """What an attribute is, found without running any code of the user's."""
    if value is _MISSING:
        return _MISSING
    places = value.__mro__ if isinstance(value, type) else (value, *type(value).__mro__)
    for place in places:
        try:
            found = (
                object.__getattribute__(place, "__dict__")
                if place is value
                else type.__dict__["__dict__"].__get__(place)
            )
        except AttributeError:
            continue
        if name in found:
            return found[name]
    return _MISSING


class _Reader:
    """Reads one function after another and notes what it finds."""

    def __init__(self, found: Study) -> None:
        self._found = found
        self._seen: set[tuple[CodeType, tuple[str, ...]]] = set()

    def read(self, fn: FunctionType, tainted: tuple[str, ...], depth: int) -> None:
        """Read `fn`, whose parameters in `tainted` are shared with the caller."""
        code = fn.__code__
        if (code, tainted) in self._seen or not _is_own(code):
            return
        self._seen.add((code, tainted))
        tree = tree_of(code)
        if tree is None:
            self._found.doubt(f"the source of `{fn.__qualname__}` cannot be read")
            return
        if depth == 0 and code.co_flags & _GENERATOR:
            self._found.doubt(f"`{fn.__qualname__}` is a generator function, and generators cannot be sent")
        _Function(self, self._found, fn, tree, tainted, depth).look()


class _Function:
    """One function under study."""

    def __init__(
        self, reader: _Reader, found: Study, fn: FunctionType, tree: ast.AST, tainted: tuple[str, ...], depth: int
    ) -> None:
        self._reader = reader
        self._found = found
        self._fn = fn
        self._tree = tree
        self._depth = depth
        self._bound = _bound_names(tree)
        self._tainted = set(tainted)
        self._arguments = self._own_arguments() if depth == 0 else set()
        self._spread()

    def _text(self, node: ast.expr) -> str:
        return segment(self._fn.__code__, node)

    def look(self) -> None:
        """Note the doubts of this function, and read the functions that it calls."""
        for node in walk(self._tree):
            if isinstance(node, ast.Global):
                self._look_at_global(node)
            elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
                self._look_at_change(node, "writes to")
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self._look_at_change(node.target, "writes to")
            elif isinstance(node, ast.With | ast.AsyncWith):
                for item in node.items:
                    self._look_at_guard(item.context_expr)
            elif isinstance(node, ast.Call):
                self._look_at_call(node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._look_at_name(node.id)

    # --- names ---

    def _own_arguments(self) -> set[str]:
        """The parameters that are never bound to anything else: a change through them reaches the caller."""
        rebound = {n.id for n in walk(self._tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        code = self._fn.__code__
        return {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]} - rebound - self._tainted

    def _spread(self) -> None:
        """Follow shared things into the local names that stand for them."""
        pairs = list(self._assignments())
        grew = True
        while grew:
            grew = False
            for target, value in pairs:
                root = _root(value)
                if root is None or target in self._tainted:
                    continue
                if root in self._tainted or (self._is_outer(root) and self._is_mutable(value)):
                    self._tainted.add(target)
                    grew = True

    def _assignments(self) -> Iterator[tuple[str, ast.expr]]:
        for node in walk(self._tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, node.value
            elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                yield node.target.id, node.value
            elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
                yield node.target.id, _as_part(node.iter)

    def _is_outer(self, name: str) -> bool:
        return name not in self._bound

    def _value(self, path: list[str]) -> Any:
        """What a dotted name stands for now, without running any code of the user's."""
        first = path[0]
        if not self._is_outer(first):
            return _MISSING
        if first in self._fn.__code__.co_freevars:
            cell = (self._fn.__closure__ or ())[self._fn.__code__.co_freevars.index(first)]
            try:
                value = cell.cell_contents
            except ValueError:
                return _MISSING
        else:
            value = self._fn.__globals__.get(first, _MISSING)
            if value is _MISSING:
                value = vars(builtins).get(first, _MISSING)
        for name in path[1:]:
            value = _attribute(value, name)
        return value

    def _is_mutable(self, node: ast.AST) -> bool:
        """Whether an expression may stand for something that can be changed; unknown is yes."""
        path = _path(node)
        if path is not None:
            return not isinstance(self._value(path), _UNCHANGING)
        if isinstance(node, ast.Subscript) and (path := _path(node.value)) is not None:
            value = self._value(path)
            if isinstance(value, list | tuple | dict):
                parts = islice(value.values() if isinstance(value, dict) else value, _LOOKED_AT)
                return not all(isinstance(part, _UNCHANGING) for part in parts)
            return not isinstance(value, _UNCHANGING)
        return True

    def _look_at_name(self, name: str) -> None:
        if not self._is_outer(name):
            return
        value = self._value([name])
        if value is _MISSING or isinstance(value, ModuleType | type | BuiltinFunctionType):
            return
        if isinstance(value, FunctionType):
            if "<locals>" in value.__qualname__ and not hasattr(value, "__wrapped__") and name in self._fn.__globals__:
                self._found.doubt(f"`{name}` was made while the program ran, and a worker may have another")
            self._go_on(value, ())
            return
        if _is_shared(value):
            self._found.doubt(f"it uses `{name}`, a `{_kind(value)}`, which belongs to one process")
            return
        if name in self._fn.__globals__:
            self._found.globals[self._fn.__globals__.get("__name__", ""), name] = value
        if isinstance(value, list | dict | set | bytearray):
            self._found.containers[name] = value

    def _look_at_global(self, node: ast.Global) -> None:
        stored = {n.id for n in walk(self._tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        for name in node.names:
            if name in stored:
                self._found.doubt(f"it writes the global `{name}`")

    # --- changes ---

    def _look_at_change(self, node: ast.expr, does: str) -> None:
        root = _root(node)
        if root is None:
            return
        if root in self._tainted:
            self._found.doubt(f"it {does} `{self._text(node)}`, which others may share")
        elif isinstance(node, ast.Name):
            return
        elif self._is_outer(root):
            self._found.doubt(f"it {does} the global `{root}`")
        elif root in self._arguments:
            self._found.doubt(f"it changes its argument `{root}`")

    def _look_at_guard(self, node: ast.expr) -> None:
        path = _path(node)
        if path is None:
            return
        if path[0] in self._tainted or (self._is_outer(path[0]) and self._value(path) is not _MISSING):
            self._found.doubt(f"it enters the shared `{self._text(node)}`")

    def _look_at_call(self, node: ast.Call) -> None:
        path = _path(node.func)
        value = self._value(path) if path is not None else _MISSING
        if path is not None and value is not _MISSING:
            self._look_at_known(node, path, value)
        if isinstance(node.func, ast.Attribute):
            self._look_at_method(node.func)

    def _look_at_known(self, node: ast.Call, path: list[str], value: Any) -> None:
        name = f"{getattr(value, '__module__', None) or 'builtins'}.{getattr(value, '__name__', path[-1])}"
        name = name.replace("_heapq.", "heapq.").replace("_bisect.", "bisect.").replace("posix.", "os.")
        name = name.replace("_operator.", "operator.")
        owner = self._value(path[:-1]) if len(path) > 1 else None
        if isinstance(owner, ModuleType):
            name = f"{owner.__name__}.{path[-1]}"
        if name in _CHANGES_PROCESS:
            self._found.doubt(f"it calls `{'.'.join(path)}`, which concerns one process")
        elif name in _CHANGES_FIRST_ARGUMENT and node.args:
            self._look_at_change(_as_part(node.args[0]), "changes")
        is_draw = name.startswith(("random.", "numpy.random.")) and path[-1] not in ("seed", "default_rng")
        if is_draw and isinstance(owner, ModuleType) and not isinstance(value, type):
            note = "it draws from the global random numbers; each worker process draws its own"
            if note not in self._found.notes:
                self._found.notes.append(note)
        if isinstance(value, FunctionType):
            self._go_on(value, self._tainted_parameters(node, value))

    def _look_at_method(self, call: ast.Attribute) -> None:
        root = _root(call.value)
        if root is None:
            return
        is_shared = root in self._tainted or self._is_outer(root)
        path = _path(call.value)
        value = self._value(path) if path is not None else _MISSING
        if isinstance(value, ModuleType | type | FunctionType):
            return
        if call.attr in _MUTATORS:
            if is_shared and not isinstance(value, str | bytes | tuple | frozenset):
                self._found.doubt(f"it calls `{self._text(call)}`, which others may share")
            elif root in self._arguments and call.attr not in ("set", "wait", "send", "add"):
                self._found.doubt(f"it changes its argument `{root}`")
        elif is_shared and value is not _MISSING and not _is_harmless(value):
            self._follow_method(call, value)

    def _follow_method(self, call: ast.Attribute, value: Any) -> None:
        """A method of a shared object may change it: read it where that is possible, and doubt it where not."""
        method = _attribute(type(value), call.attr)
        if isinstance(method, FunctionType) and _is_own(method.__code__):
            self._go_on(method, _first_parameter(method))
        elif isinstance(method, FunctionType | BuiltinFunctionType) or method is _MISSING or callable(method):
            self._found.doubt(f"it calls `{self._text(call)}` of a `{_kind(value)}` that others may share")

    # --- callees ---

    def _tainted_parameters(self, node: ast.Call, callee: FunctionType) -> tuple[str, ...]:
        names = callee.__code__.co_varnames
        tainted = []
        for index, argument in enumerate(node.args):
            root = _root(argument)
            if root is not None and index < callee.__code__.co_argcount and self._shares(argument, root):
                tainted.append(names[index])
        return tuple(tainted)

    def _shares(self, argument: ast.expr, root: str) -> bool:
        return root in self._tainted or (self._is_outer(root) and self._is_mutable(argument))

    def _go_on(self, callee: FunctionType, tainted: tuple[str, ...]) -> None:
        if self._depth < _DEEPEST:
            self._reader.read(callee, tainted, self._depth + 1)


def _as_part(node: ast.expr) -> ast.expr:
    """The same expression as something that is part of its root, so that a change of it is a change of the root."""
    return (
        ast.Subscript(value=node, slice=ast.Constant(value=0), ctx=ast.Store()) if isinstance(node, ast.Name) else node
    )


def _is_harmless(value: Any) -> bool:
    return isinstance(value, _PLAIN + _CONTAINERS) or bool(_HARMLESS.match(type(value).__module__ or ""))
