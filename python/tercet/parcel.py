"""What goes to a worker process and what comes back, as bytes.

This file is read on both sides, and by workers before anything else of tercet, so it names little.
"""

from __future__ import annotations

from _pickle import PickleBuffer, dumps, loads
from itertools import starmap
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # `_tercet.Parcel`. That it has a buffer, only C sees before 3.12.
    Parcel: TypeAlias = Any
    # What is packed: bytes, or bytes and the large buffers beside them. One that is bytes comes as bytes.
    Packed: TypeAlias = bytes | tuple[bytes, list[memoryview | bytes]]
    # An exception, packed if it survives that, its name, its text, and its traceback.
    Described: TypeAlias = tuple[bytes | None, str, str, str]
    Keep: TypeAlias = Callable[[Any], bool | None] | None

__all__ = [
    "CALL",
    "EACH",
    "EACH_STARRED",
    "LARGE",
    "PoolTask",
    "Sealed",
    "describe",
    "pack",
    "pack_any",
    "pack_args",
    "pack_error",
    "pack_plainly",
    "pack_result",
    "pack_whole",
    "rebuilt",
    "run",
    "seal",
    "unpack_error",
    "without_first_frame",
]

LARGE = 64 << 10
"""Buffers of at least this many bytes travel beside what is packed."""

CALL, EACH, EACH_STARRED = range(3)
"""What a worker does with the task of a `Pool`: call its function, or call it for each item, starred or not."""


class PoolTask:
    """Stands for the function of a task of a `Pool`: what there is to be done with it in a worker."""

    __slots__ = ("fn", "way")

    def __init__(self, fn: Callable[..., Any], way: int) -> None:
        self.fn = fn
        self.way = way


class Sealed:
    """Stands for the function of a task that is packed already."""

    __slots__ = ("packed", "size")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        whole, beside = packed if isinstance(packed, tuple) else (packed, [])
        self.size = len(whole) + sum(map(len, beside))


def seal(value: Any) -> Sealed:
    """Pack anything that pickle takes, for a worker that knows what to do with it."""
    return Sealed(_pack_with_handles(pack_plainly, value))


def pack(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Packed:
    """Pack a call of a function, or a `PoolTask`; or give back what is `Sealed`."""
    if type(fn) is Sealed:
        return fn.packed
    args = tuple(map(_set_apart, args))
    call: Any = (fn, args, kwargs) if kwargs else (fn, args)
    if type(fn) is PoolTask:
        call = (fn.fn, args, kwargs or {}, fn.way)
    return _pack_with_handles(pack_any, call)


def pack_args(args: tuple[Any, ...]) -> Packed:
    """Pack the arguments of a function whose name goes another way."""
    return _pack_with_handles(pack_any, tuple(map(_set_apart, args)))


def _set_apart(value: Any) -> Any:
    """Return what is packed in the place of large bytes, so that they are not copied into the pickle."""
    return PickleBuffer(value) if type(value) is bytes and len(value) >= LARGE else value


def _pack_with_handles(into_bytes: Callable[[Any], Packed], value: Any) -> Packed:
    handle = modules.get("tercet.handle")
    # Where it is loaded there are queues and locks, which know how to go to a worker.
    return into_bytes(value) if handle is None else handle.pack(into_bytes, value)


def pack_any(value: Any) -> Packed:
    """Pack anything, its large buffers apart."""
    return _pack(value, _dumps)


def pack_plainly(value: Any) -> Packed:
    """Do the same, and refuse what `pickle` refuses: a copy of a function may not do what the function does."""
    return _pack(value, _dumps_plainly)


def _pack(value: Any, into_bytes: Callable[[Any, Keep], bytes]) -> Packed:
    buffers: list[memoryview | bytes] = []

    def keep(buffer: Any) -> bool | None:
        try:
            raw = buffer.raw()
        except BufferError:
            # It is not in one run.
            return True
        if raw.nbytes < LARGE:
            return True
        # As pickle has it, which makes bytes of a buffer of bytes.
        buffers.append(raw.obj if type(raw.obj) is bytes else raw)
        return None

    packed = into_bytes(value, keep)
    return (packed, buffers) if buffers else packed


def pack_whole(value: Any) -> bytes:
    """Pack anything as one run of bytes."""
    return _dumps(value, None)


def _dumps_plainly(value: Any, keep: Keep) -> bytes:
    return dumps(value, 5, buffer_callback=keep)


def _dumps(value: Any, keep: Keep) -> bytes:
    """Pickle; what `pickle` refuses goes by `cloudpickle` where that is installed."""
    try:
        return dumps(value, 5, buffer_callback=keep)
    except Exception as refusal:
        return _dumps_by_value(value, keep, refusal)


def _dumps_by_value(value: Any, keep: Keep, refusal: Exception) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        refusal.add_note("hint: `pip install cloudpickle` lets lambdas and local functions go to worker processes")
        raise refusal from None
    packed: bytes = cloudpickle.dumps(value, 5, buffer_callback=keep)
    return packed


def run(parcel: Parcel) -> tuple[bool, Packed]:
    """Run a packed call: whether it failed, and its result or its exception, packed."""
    is_of_pool = False
    try:
        call = parcel.rebuild()
        is_of_pool = len(call) == 4
        if not is_of_pool:
            value = call[0](*call[1], **call[2]) if len(call) == 3 else call[0](*call[1])
        elif call[3] == CALL:
            value = call[0](*call[1], **call[2])
        elif call[3] == EACH:
            value = list(map(call[0], *call[1]))
        else:
            value = list(starmap(call[0], *call[1]))
    except BaseException as error:
        return True, pack_error(without_first_frame(error), is_of_pool)
    # What it was lent may go back before the result is packed.
    del call, parcel
    return pack_result(value, is_of_pool)


def pack_result(value: Any, is_of_pool: bool = False) -> tuple[bool, Packed]:
    """Pack a result: whether that failed, and the result or why."""
    try:
        return False, pack_any(_set_apart(value))
    except BaseException as error:
        return True, pack_error(_unsent(error, value) if is_of_pool else without_first_frame(error))


def without_first_frame(error: BaseException) -> BaseException:
    """Return an exception without the frame of whoever has caught it, which is not the user's."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    return error


def pack_error(error: BaseException, is_of_pool: bool = False) -> bytes:
    """Pack an exception, with its text for where it cannot be rebuilt."""
    return dumps(describe(error, is_of_pool=is_of_pool), 5)


def describe(error: BaseException, *, is_of_pool: bool = False) -> Described:
    """Return what stands for an exception: itself if it survives pickling, its name, its text and its traceback."""
    import traceback

    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        trace = f"{type(error).__name__}\n"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    packed = None
    try:
        packed = dumps(error, 5)
        if type(loads(packed)) is not kind:
            packed = None
    except Exception as refusal:
        packed = dumps(_unsent(refusal, error), 5) if is_of_pool else None
    # The name goes along: the other side may not be able to rebuild what this one can.
    return packed, name, text, trace


def _unsent(refusal: BaseException, value: Any) -> Exception:
    """Return the error that `multiprocessing.Pool` has for what cannot be sent back."""
    from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]

    try:
        error: Exception = MaybeEncodingError(refusal, value)
    except Exception:
        # It does not even have a text.
        error = MaybeEncodingError(refusal, type(value))
    return error


def unpack_error(parcel: Parcel) -> BaseException:
    """Return the exception, with the traceback of the worker as its cause."""
    from concurrent.futures.process import _RemoteTraceback

    described = loads(parcel)
    # The typeshed is wrong about it.
    return rebuilt(described, _RemoteTraceback(f'\n"""\n{described[3]}"""'))  # type: ignore[arg-type]


def rebuilt(described: Described, cause: BaseException) -> BaseException:
    """Return the exception that `describe` has described, or what stands for it, with a cause."""
    from tercet.errors import RemoteError

    packed, *words = described
    error: BaseException
    try:
        error = loads(packed) if packed is not None else RemoteError(*words)
    except Exception:
        error = RemoteError(*words)
    error.__cause__ = cause
    return error
