"""`./x bench`, `conformance` and `stress`: the scripts of a folder, by name."""

from __future__ import annotations

import ast
from pathlib import Path

from house import process
from house.environment import Environment
from house.message import BAD_USAGE, Refusal
from house.place import ROOT

BENCHES = ROOT / "benches"


def run(folder: Path, arguments: list[str]) -> int:
    """Run one script of `folder` with the arguments that follow its name; list them all when there is no name.

    `--python VERSION` in front of the name takes another interpreter.
    """
    scripts = find(folder)
    version = arguments[1] if arguments[:1] == ["--python"] and len(arguments) > 1 else None
    arguments = arguments[2:] if version else arguments
    if not arguments:
        return _list(folder, scripts)
    name, *rest = arguments
    if name not in scripts:
        raise Refusal(f"no script named `{name}` in `{_shown(folder)}`", _known(scripts), BAD_USAGE)
    # What is timed is what people get.
    is_released = folder == BENCHES
    environment = (
        Environment.of(version, is_released=is_released) if version else Environment.default(is_released=is_released)
    ).ready()
    return process.run([environment.python, scripts[name], *rest], environment.variables())


def find(folder: Path) -> dict[str, Path]:
    """Return the scripts of `folder` by name; names that begin with `_` are their helpers, the rest is pytest's."""
    paths = sorted(folder.glob("*.py"))
    return {path.stem: path for path in paths if not path.stem.startswith(("_", "test_")) and path.stem != "conftest"}


def describe(script: Path) -> str:
    """Return the first line of a script's docstring."""
    text = ast.get_docstring(ast.parse(script.read_text())) or ""
    return text.partition("\n")[0]


def _list(folder: Path, scripts: dict[str, Path]) -> int:
    if not scripts:
        print(f"no scripts in `{_shown(folder)}` yet")
    for name, path in scripts.items():
        print(f"  {name:<20} {describe(path)}".rstrip())
    return 0


def _known(scripts: dict[str, Path]) -> str:
    return f"there are {', '.join(f'`{name}`' for name in scripts)}" if scripts else "there are no scripts yet"


def _shown(folder: Path) -> str:
    return f"{folder.relative_to(ROOT)}/" if folder.is_relative_to(ROOT) else str(folder)
