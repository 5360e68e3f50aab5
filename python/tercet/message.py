"""How an object becomes a message of a queue."""

from __future__ import annotations

import copyreg
from _io import BytesIO
from _pickle import PickleBuffer, Pickler
from multiprocessing.reduction import ForkingPickler
from typing import Any

__all__ = ["pack", "pickled"]

_APART = 4096
"""The bytes of a buffer that is worth being copied straight into the queue."""

_extra: dict[type, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]


class _Table:
    """What `multiprocessing` registers on top of `copyreg`, as one dictionary; made anew when there is more."""

    def __init__(self) -> None:
        self.sizes = (0, 0)
        self.merged: dict[type, Any] = {}

    def now(self) -> dict[type, Any]:
        sizes = (len(copyreg.dispatch_table), len(_extra))
        if sizes != self.sizes:
            self.merged = {**copyreg.dispatch_table, **_extra}
            self.sizes = sizes
        return self.merged


_table = _Table()


def pack(value: Any) -> bytes | tuple[bytes, list[memoryview]]:
    """Return the pickle of an object, or its pickle and the buffers that are not in it.

    What `multiprocessing` knows how to send goes as it does there; large buffers of arrays are left where they are, to
    be copied once.
    """
    stream = BytesIO()
    buffers: list[memoryview] = []

    def leave(buffer: PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART:
            return True
        buffers.append(view)
        return False

    pickler = Pickler(stream, 5, buffer_callback=leave)
    pickler.dispatch_table = _table.now()
    pickler.dump(value)
    packed = stream.getvalue()
    return (packed, buffers) if buffers else packed


def pickled(value: Any) -> bytes:
    """Return the pickle of an object, with everything in it."""
    stream = BytesIO()
    pickler = Pickler(stream, 5)
    pickler.dispatch_table = _table.now()
    pickler.dump(value)
    return stream.getvalue()
