"""What goes to a worker process and what comes back, as bytes.

This file is read on both sides, and by workers before anything else of tercet, so it names little.
"""

from __future__ import annotations

from _pickle import dumps, loads
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # Something whose bytes can be read; what that is called depends on the version of Python.
    Buffer: TypeAlias = Any

__all__ = ["pack", "pack_any", "run", "unpack"]


def pack(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bytes:
    """Pack a call."""
    call = (fn, args, kwargs) if kwargs else (fn, args)
    handle = modules.get("tercet.handle")
    # Where it is loaded there are queues and locks, which know how to go to a worker.
    return pack_any(call) if handle is None else handle.pack(pack_any, call)


def pack_any(value: Any) -> bytes:
    """Pack anything; what `pickle` refuses goes by `cloudpickle` where that is installed."""
    try:
        return dumps(value, 5)
    except Exception as refusal:
        return _pack_by_value(value, refusal)


def _pack_by_value(value: Any, refusal: Exception) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        refusal.add_note("hint: `pip install cloudpickle` lets lambdas and local functions go to worker processes")
        raise refusal from None
    packed: bytes = cloudpickle.dumps(value, 5)
    return packed


def run(packed: Buffer) -> tuple[bool, bytes]:
    """Run a packed call: whether it failed, and its result or its exception, packed."""
    try:
        call = loads(packed)
        value = call[0](*call[1], **call[2]) if len(call) == 3 else call[0](*call[1])
    except BaseException as error:
        return True, _pack_error(error)
    try:
        return False, pack_any(value)
    except BaseException as error:
        return True, _pack_error(error)


def _pack_error(error: BaseException) -> bytes:
    import traceback

    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
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
    try:
        packed = dumps(error, 5)
        if type(loads(packed)) is kind:
            # The name goes along: the other side may not be able to rebuild what this one can.
            return dumps((packed, name, text, trace), 5)
    except Exception:
        pass
    return dumps((None, name, text, trace), 5)


def unpack(packed: Buffer, has_failed: bool) -> Any:
    """Return the result, or the exception with the traceback of the worker as its cause."""
    if not has_failed:
        return loads(packed)
    from concurrent.futures.process import _RemoteTraceback

    from tercet.errors import RemoteError

    error, name, text, trace = loads(packed)
    try:
        rebuilt = loads(error) if error is not None else RemoteError(name, text, trace)
    except Exception:
        rebuilt = RemoteError(name, text, trace)
    rebuilt.__cause__ = _RemoteTraceback(f'\n"""\n{trace}"""')  # type: ignore[arg-type]  # the typeshed is wrong
    return rebuilt
