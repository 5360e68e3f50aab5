"""`tercet.inheritance`: whether what a nursery has imported may serve another pool."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tercet.inheritance import Imports

AROUND: dict[str, Any] = {"argv": ["app.py"], "environ": {b"A": b"1"}, "main": None, "prefix": ("/", "/"), "files": {}}


@pytest.fixture(autouse=True)
def _unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main module that nobody has read."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module, in its file, that is imported by whoever asks for it."""
    file = tmp_path / "just_imported.py"
    file.write_text("def call(): return 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "just_imported", raising=False)
    return file


def imported(since_ns: int | None = None) -> Imports:
    """What is known after a module was imported: long after it was written, if nothing else is said."""
    found = Imports()
    found.begin(AROUND)
    __import__("just_imported")
    found.end(time.time_ns() + 10**9 if since_ns is None else since_ns, is_complete=True)
    return found


def test_who_has_imported_nothing_is_of_use_to_everybody() -> None:
    found = Imports()
    found.begin(AROUND)
    found.end(time.time_ns(), is_complete=True)
    assert found.hold({**AROUND, "environ": {}})


def test_imports_hold_while_nothing_changes(module: Path) -> None:
    found = imported()
    assert found.hold(AROUND)
    assert found.hold({**AROUND, "files": {"just_imported": str(module), "another": "/another.py"}})
    # Nobody has read a main module.
    assert found.hold({**AROUND, "main": ("/app.py", "", True)})


@pytest.mark.parametrize("name", ["argv", "environ", "prefix"])
def test_imports_depend_on_what_is_around_them(module: Path, name: str) -> None:
    assert not imported().hold({**AROUND, name: "other"})


def test_the_module_of_a_name_is_to_be_the_programs(module: Path) -> None:
    assert not imported().hold({**AROUND, "files": {"just_imported": "/elsewhere/just_imported.py"}})


@pytest.mark.parametrize("change", ["written", "touched", "replaced", "gone"])
def test_a_changed_file_is_seen(module: Path, change: str) -> None:
    found = imported()
    if change == "written":
        module.write_text("def call(): return 2")
    elif change == "touched":
        os.utime(module, ns=(1, 1))
    elif change == "replaced":
        stamp = module.stat()
        other = module.with_suffix(".new")
        other.write_text("def call(): return 3")
        os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        other.replace(module)
    else:
        module.unlink()
    assert not found.hold(AROUND)


def test_a_file_that_was_being_written_is_not_trusted(module: Path) -> None:
    assert not imported(module.stat().st_ctime_ns + 1).hold(AROUND)


def test_a_failed_import_is_no_good() -> None:
    found = Imports()
    found.begin(AROUND)
    found.end(time.time_ns(), is_complete=False)
    assert not found.are_harmless()
