"""Puts a loop where CPython's tests let one be chosen, and counts how many are made.

That is: `asyncio.SelectorEventLoop`, `asyncio.EventLoop`, and what the default policy makes, which `new_event_loop`,
`run` and `Runner` ask. `sitecustomize.py` calls `place` in the interpreter of the tests and in those that tests start.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
from typing import Any

made = 0


def kind_of(name: str) -> type[Any]:
    """Return the class of the loop called `name`."""
    if name == "tercet":
        import tercet

        loop = tercet.new_event_loop()
        loop.close()
        return type(loop)
    if name == "uvloop":
        import uvloop

        return uvloop.Loop
    if name == "rloop":
        import rloop

        return rloop.RLoop
    return asyncio.SelectorEventLoop


def counted(kind: type[Any]) -> type[Any]:
    """Return a subclass that counts, and that takes the selector which some tests give."""
    takes_selector = kind is asyncio.SelectorEventLoop

    class Placed(kind):
        def __new__(cls, *arguments: Any) -> Any:
            return super().__new__(cls)

        def __init__(self, selector: Any = None) -> None:
            global made
            made += 1
            if takes_selector:
                super().__init__(selector)
            else:
                super().__init__()
                if selector is not None:
                    selector.close()

    if not issubclass(kind, asyncio.BaseEventLoop):
        # What the tests' own tidying looks at, in every loop.
        Placed._default_executor = None
    Placed.__name__, Placed.__qualname__, Placed.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Placed


def place(name: str) -> None:
    """Put the loop called `name` in place."""
    kind = counted(kind_of(name))
    policy = asyncio.unix_events._UnixDefaultEventLoopPolicy
    policy._loop_factory = kind
    for module in (asyncio, asyncio.unix_events):
        for face in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, face):
                setattr(module, face, kind)
