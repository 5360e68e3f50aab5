"""Becoming like the program: what a process takes over before it can run the program's functions.

A zygote starts as an interpreter that skips `site` and knows nothing of the program (`settle`), and imports what many
workers need (`prepare`). From there a worker of a map learns one function, with the global data that it reads
(`learn`).

This file is read in workers before anything else of tercet, and names nothing that takes long to import.
"""

from __future__ import annotations

import builtins
import os
import sys
from _pickle import dumps, loads
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Files", "Main", "apply", "learn", "prepare", "settle"]

_APPLY = ("tercet.worker", "apply")
"""The function that is here already."""


def settle(around: dict[str, Any]) -> None:
    """Take over what any function of the program may rely on; again, if need be, for the next pool."""
    sys.path[:] = around["path"]
    sys.argv[:] = around["argv"]
    sys.prefix, sys.exec_prefix = around["prefix"]
    sys.setrecursionlimit(around["limits"][0])
    sys.set_int_max_str_digits(around["limits"][1])
    _greet()
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Files)]
    sys.meta_path.append(Files(around["files"]))
    # Modules may have been written that were not there when somebody looked.
    sys.path_importer_cache.clear()
    main = sys.modules["__main__"]
    if not isinstance(main, Main) or "_source" in vars(main):
        sys.modules["__main__"] = sys.modules["__mp_main__"] = Main(around["main"])


def prepare(sources: list[tuple[str, str | None]], reads_main: bool) -> None:
    """Import modules, by name or from their files, and run the main module if that is asked for."""
    for module, file in sources:
        if file is None:
            __import__(module)
        else:
            _import(module, file)
    if reads_main:
        _read(sys.modules["__main__"])


def learn(lesson: dict[str, Any]) -> Callable[..., Any]:
    """Find a function, and give the global data that it reads the values of the program."""
    main = sys.modules["__main__"]
    function = _find(lesson)
    for module, name, packed in lesson["carried"]:
        if module == "__main__":
            _read(main)
        _carry(vars(sys.modules[module]), name, packed)
    return function


def _carry(module: dict[str, Any], name: str, packed: bytes) -> None:
    """Give a global the value that it has in the parent, unless it has it already: then it stays the same object."""
    try:
        if name in module and dumps(module[name], 5) == packed:
            return
    except Exception:
        pass
    module[name] = loads(packed)


def _greet() -> None:
    """Add the few built-in names that `site` adds, since it was skipped."""
    from _sitebuiltins import Quitter

    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))


class Files:
    """Finds modules that the parent has loaded from files by hand, when nobody else does."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, *_: object) -> Any:
        """Find a module, as the import system asks for it."""
        import importlib.util

        file = self._files.get(name)
        if file is None:
            return None
        folder, name_of_file = os.path.split(file)
        places = [folder] if name_of_file == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)


def apply(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `fn`: the function of work whose every item brings its own."""
    return fn(*args, **kwargs)


def _find(lesson: dict[str, Any]) -> Callable[..., Any]:
    for module, file in lesson["sources"]:
        _import(module, file)
    if lesson["named"] == _APPLY:
        return apply
    found: Any
    if lesson["packed"] is not None:
        found = loads(lesson["packed"])
    else:
        module, qualname = lesson["named"]
        found = sys.modules[module]
        for name in qualname.split("."):
            found = getattr(found, name)
    function: Callable[..., Any] = found
    return function


def _import(module: str, file: str | None) -> None:
    """Import a module by name, or from its file where that name leads elsewhere or nowhere."""
    import importlib.util

    if module == "__main__":
        return
    spec = None
    for attempt in ("as it is", "with site"):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and (file is None or _is_same(spec.origin, file)):
            importlib.import_module(module)
            return
        if attempt == "as it is":
            _run_site()
    if file is None:
        importlib.import_module(module)
        return
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import `{module}` from `{file}`")
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made
    spec.loader.exec_module(made)


def _is_same(one: str | None, other: str) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def _run_site() -> None:
    """Run the start-up hooks of installed packages, which an editable install may need to be found at all."""
    import site

    path = list(sys.path)
    site.main()
    sys.path[:] = path


class Main(ModuleType):
    """The parent's main module, read only when something in it is asked for."""

    def __init__(self, source: tuple[str, str, bool] | None) -> None:
        super().__init__("__mp_main__")
        self.__dict__["_source"] = source

    def __getattr__(self, name: str) -> Any:
        if "_source" not in self.__dict__:
            raise AttributeError(f"module `__main__` has no attribute `{name}`")
        _read(self)
        return getattr(self, name)


def _read(main: Any) -> None:
    """Run the main module, once: all of it, or its definitions alone."""
    names = vars(main)
    source = names.pop("_source", None)
    if source is None:
        return
    file, package, only_definitions = source
    with open(file, "rb") as script:
        text = script.read()
    names.update(__file__=file, __package__=package or None)
    try:
        exec(_definitions(text, file) if only_definitions else compile(text, file, "exec"), names)
    except BaseException:
        # The next who asks is to see what is wrong, too.
        names["_source"] = source
        raise


def _definitions(text: bytes, file: str) -> Any:
    """Compile a script's imports, functions and classes alone, so that nothing it does is done again."""
    import ast

    tree = ast.parse(text, file)
    tree.body = [node for node in tree.body if _is_definition(node)]
    return compile(tree, file, "exec")


def _is_definition(node: Any) -> bool:
    import ast

    if isinstance(node, ast.Try):
        return all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in node.body)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
