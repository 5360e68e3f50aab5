"""Puts tercet's classes in the place of the standard library's, in this interpreter and in those that tests start.

An interpreter reads this file as it starts, because its folder is on `PYTHONPATH`. What is replaced, and where the
tests are that the interpreter came without, is said by variables of the environment: see `threads.py` and `loop.py`.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import os


def replace(name: str, ours: object) -> None:
    """Replace a name of `concurrent.futures` wherever the standard library keeps it."""
    for module in (concurrent.futures, concurrent.futures._base, concurrent.futures.thread):
        if module is concurrent.futures or hasattr(module, name):
            setattr(module, name, ours)


def replace_all(names: list[str]) -> None:
    """Replace these names by those of tercet."""
    if names:
        import tercet

        for name in names:
            replace(name, getattr(tercet, name))


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


replace_all(os.environ.get("TERCET_CONFORMANCE_NAMES", "").split())
find_tests(os.environ.get("TERCET_CONFORMANCE_TESTS", ""))
place_loop(os.environ.get("TERCET_CONFORMANCE_LOOP", ""))
