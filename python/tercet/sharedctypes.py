"""`Value`, `Array`, `RawValue` and `RawArray`: those of `multiprocessing`, on memory files without a name.

They are made of the standard library's classes: what is different is where the bytes lie, the locks
(`tercet.synchronize`), and that they are arguments of tasks of `tercet.ProcessPoolExecutor`.
"""

from __future__ import annotations

import copyreg
import ctypes
import multiprocessing.sharedctypes as standard
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tercet import _tercet, handle
from tercet.synchronize import RLock

__all__ = ["Array", "RawArray", "RawValue", "Value"]


class Block:
    """Bytes that processes share: what the standard library calls a wrapper of a buffer.

    Parameters
    ----------
    size
        How many.
    """

    def __init__(self, size: int) -> None:
        self._memory = _tercet.Memory(size)

    def create_memoryview(self) -> memoryview:
        """Return the bytes."""
        return memoryview(self._memory)  # type: ignore[arg-type]

    def __getstate__(self) -> Any:
        memory = self._memory
        return handle.to_descriptor(self, memory.fileno()), memory.offset, len(memory)

    def __setstate__(self, state: Any) -> None:
        far, offset, size = state
        self._memory = _tercet.Memory._from_fd(far.detach(), offset, size)


def _typed(typecode_or_type: Any) -> Any:
    return standard.typecode_to_type.get(typecode_or_type, typecode_or_type)  # type: ignore[attr-defined]


def _placed(kind: Any, block: Block) -> Any:
    """Return an object of this type that lies in a block."""
    made = _own(kind).from_buffer(block.create_memoryview())
    made._wrapper = block
    return made


_kinds: set[Any] = set()


def _own(kind: Any) -> Any:
    """Let objects of a type be pickled by their place, by `multiprocessing` and by `pickle`."""
    if kind not in _kinds:
        known = ForkingPickler._extra_reducers.get(kind)  # type: ignore[attr-defined]
        ForkingPickler.register(kind, lambda value: _reduced(value, known))
        copyreg.pickle(kind, _reduced)
        _kinds.add(kind)
    return kind


def _reduced(value: Any, otherwise: Any = None) -> Any:
    if not isinstance(getattr(value, "_wrapper", None), Block):
        return value.__reduce_ex__(2) if otherwise is None else otherwise(value)
    if isinstance(value, ctypes.Array):
        return _rebuilt, (value._type_, value._length_, value._wrapper)  # type: ignore[attr-defined]
    return _rebuilt, (type(value), None, value._wrapper)


def _rebuilt(kind: Any, length: int | None, block: Block) -> Any:
    return _placed(kind if length is None else kind * length, block)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - the standard library's name
    """Return an object of `ctypes` that processes share: `multiprocessing.RawValue`.

    Parameters
    ----------
    typecode_or_type
        A type of `ctypes`, or the letter that `array` has for it.
    *args
        What its constructor gets.

    Returns
    -------
    object
        The object; nothing guards it.

    Examples
    --------
    >>> RawValue("i", 7).value
    7
    """
    kind = _typed(typecode_or_type)
    made = _placed(kind, Block(ctypes.sizeof(kind)))
    made.__init__(*args)
    return made


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802 - the standard library's name
    """Return an array of `ctypes` that processes share: `multiprocessing.RawArray`.

    Parameters
    ----------
    typecode_or_type
        A type of `ctypes`, or the letter that `array` has for it.
    size_or_initializer
        Its length, or its items.

    Returns
    -------
    ctypes.Array
        The array; nothing guards it.

    Examples
    --------
    >>> RawArray("i", [1, 2, 3])[:]
    [1, 2, 3]
    """
    kind = _typed(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _placed(kind * size_or_initializer, Block(ctypes.sizeof(kind) * size_or_initializer))
    kind = kind * len(size_or_initializer)
    made = _placed(kind, Block(ctypes.sizeof(kind)))
    made.__init__(*size_or_initializer)
    return made


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: object = None) -> Any:  # noqa: ARG001, N802
    """Return an object of `ctypes` that processes share, and a lock around it: `multiprocessing.Value`.

    Parameters
    ----------
    typecode_or_type, *args
        As for `RawValue`.
    lock
        The lock; ``True`` for an `RLock` of its own, ``False`` for none.
    ctx
        A context of `multiprocessing`; not used.

    Returns
    -------
    object
        The object, behind its lock.

    Examples
    --------
    >>> value = Value("d", 1.5)
    >>> with value.get_lock():
    ...     value.value += 1
    >>> value.value
    2.5
    """
    return _guarded(RawValue(typecode_or_type, *args), lock)


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: object = None) -> Any:  # noqa: ARG001, N802
    """Return an array of `ctypes` that processes share, and a lock around it: `multiprocessing.Array`.

    Parameters
    ----------
    typecode_or_type, size_or_initializer
        As for `RawArray`.
    lock, ctx
        As for `Value`.

    Returns
    -------
    object
        The array, behind its lock.

    Examples
    --------
    >>> array = Array("i", 3)
    >>> array[1] = 5
    >>> array[:]
    [0, 5, 0]
    """
    return _guarded(RawArray(typecode_or_type, size_or_initializer), lock)


def _guarded(made: Any, lock: Any) -> Any:
    if lock is False:
        return made
    if lock in (True, None):
        lock = RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    guarded = standard.synchronized(made, lock)
    guarded.__class__ = _traveller(type(guarded))
    return guarded


_travellers: dict[type, type] = {}


def _traveller(kind: type) -> type:
    """Return a class of wrappers that travels wherever what it wraps does."""
    if kind not in _travellers:
        _travellers[kind] = type(kind.__name__, (kind,), {"__reduce__": _reduce_guarded, "__module__": kind.__module__})
    return _travellers[kind]


def _reduce_guarded(guarded: Any) -> Any:
    return _guarded, (guarded._obj, guarded._lock)
