"""Puts tercet's classes in the place of the standard library's, in this interpreter and in those that tests start.

An interpreter reads this file as it starts, because its folder is on `PYTHONPATH`. What is replaced, and where the
tests are that the interpreter came without, is said by variables of the environment: see `_rows.py` and `loop.py`.
"""

from __future__ import annotations

import os
import sys


def replace_pairs(pairs: list[str]) -> None:
    """Replace what is named on the left by what is named on the right, where it is and in the package above."""
    from importlib import import_module

    found = []
    for pair in pairs:
        theirs, ours = (name.rpartition(".") for name in pair.split("="))
        # All of ours first: they are made of what they replace.
        found.append((import_module(theirs[0]), theirs[2], getattr(import_module(ours[0]), ours[2])))
    for module, name, ours in found:
        theirs = getattr(module, name)
        for place in (module, import_module(module.__name__.rpartition(".")[0])):
            if getattr(place, name, None) is theirs:
                setattr(place, name, ours)


def find_tests(folder: str) -> None:
    """Look for test modules in this folder as well, after those that the interpreter has."""
    if folder:
        import test

        test.__path__.append(folder)


def place_loop(name: str) -> None:
    """Put this loop in the place of the standard one."""
    if name:
        import placed_loop

        placed_loop.place(name)


for hidden in os.environ.get("TERCET_CONFORMANCE_HIDDEN", "").split():
    sys.modules[hidden] = None  # type: ignore[assignment]
replace_pairs(os.environ.get("TERCET_CONFORMANCE_PAIRS", "").split())
find_tests(os.environ.get("TERCET_CONFORMANCE_TESTS", ""))
place_loop(os.environ.get("TERCET_CONFORMANCE_LOOP", ""))
