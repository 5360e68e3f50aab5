"""The guard of the event loop: a blocked loop names itself.

A callback, or a task between two awaits, that runs for longer than `loop.slow_callback_duration` (a tenth of a second
unless it is set) holds up everything else on the loop. A thread that needs no GIL looks at the loop a few times in that
period, and when the loop is still at the same thing it reports, while that goes on, the Python line that blocks, the
stack, and for how long it has; and once more when it is over. This works in production and costs the loop one store per
callback.

By default reports are warnings of the logger ``asyncio``: there the standard loop reports slow callbacks in debug mode,
so that is where people look and what they have configured. `set_block_handler` takes something else.

- The same line is reported once in ten seconds; the next report says how many were left out.
- Native code that keeps the GIL cannot be looked into: it is reported when it is over, or when it calls Python.
- Nothing is reported while a debugger holds the thread: when a frame of it is traced, or belongs to a debugger.
- ``loop.slow_callback_duration = math.inf`` or ``loop.is_guarded = False`` switches the guard off. Less than ten
  milliseconds counts as ten. A loop that was off when it began to run is watched from its next run on.
- The thread exists while a guarded loop runs and for a second after; a child made by `os.fork` has none until it runs a
  loop.

Examples
--------
>>> import asyncio, tercet, time
>>> seen = []
>>> async def main():
...     loop = asyncio.get_running_loop()
...     loop.set_block_handler(lambda loop, block: seen.append(block))
...     while not seen:
...         time.sleep(0.2)
...         await asyncio.sleep(0)
>>> tercet.run(main())
>>> seen[0].function, seen[0].duration >= 0.1
('main', True)
"""

from __future__ import annotations

import asyncio
import atexit
import math
import sys
import threading
import time
import traceback
from asyncio.log import logger
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeAlias

from tercet._tercet import close_guard

__all__ = ["Block", "BlockHandler", "Guarded"]

REPEAT_S = 10.0
# A program that blocks in more places than these forgets when it was told of them.
PLACES = 256
DEBUGGERS = ("bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy", "ipdb", "pudb")

Place: TypeAlias = "tuple[str, int]"
Stack: TypeAlias = "list[tuple[FrameType, int]]"


@dataclass(frozen=True)
class Block:
    """One report: what blocks a loop, and for how long.

    Parameters
    ----------
    duration
        For how many seconds, at least: so far, or in all when `is_over`.
    thread_id
        The thread that runs the loop.
    stack
        The frames of the callback, the outermost first; empty where no Python runs, or where the loop went on before it
        could be looked at.
    is_over
        Whether the loop has gone on.
    left_out
        How many blocks at the same line were not reported since the last one that was.

    Examples
    --------
    >>> import traceback
    >>> frame = traceback.FrameSummary("app.py", 12, "handle", line="time.sleep(1)")
    >>> print(Block(0.25, 1, traceback.StackSummary.from_list([frame])))
    the event loop is blocked: app.py, line 12, in handle has run for 0.250 seconds
    """

    duration: float
    thread_id: int
    stack: traceback.StackSummary = field(default_factory=traceback.StackSummary)
    is_over: bool = False
    left_out: int = 0

    @property
    def filename(self) -> str | None:
        """The file of the line that blocks, or None."""
        return self.stack[-1].filename if self.stack else None

    @property
    def lineno(self) -> int | None:
        """The number of the line that blocks, or None."""
        return self.stack[-1].lineno if self.stack else None

    @property
    def function(self) -> str | None:
        """The function that blocks, or None."""
        return self.stack[-1].name if self.stack else None

    def __str__(self) -> str:
        where = f"{self.filename}, line {self.lineno}, in {self.function}" if self.stack else "native code"
        if self.is_over:
            text = f"the event loop was blocked: {where} took {self.duration:.3f} seconds"
        else:
            text = f"the event loop is blocked: {where} has run for {self.duration:.3f} seconds"
        return f"{text}; {self.left_out} more since the last report" if self.left_out else text


BlockHandler: TypeAlias = "Callable[[Any, Block], object]"


class Guarded:
    """What the guard adds to a loop."""

    _block_handler: BlockHandler | None = None
    _slow_callback_duration: float = 0.1
    _is_guarded: bool = True

    def __init__(self, *args: Any) -> None:
        # Only the thread of the guard touches these.
        self._reported: dict[Place, tuple[float, int]] = {}
        self._open_block: Block | None = None
        super().__init__(*args)
        self._apply_patience()

    @property
    def slow_callback_duration(self) -> float:
        """How many seconds a callback may run until it is reported."""
        return self._slow_callback_duration

    @slow_callback_duration.setter
    def slow_callback_duration(self, value: float) -> None:
        self._slow_callback_duration = value
        self._apply_patience()

    @property
    def is_guarded(self) -> bool:
        """Whether a blocked loop is reported."""
        return self._is_guarded

    @is_guarded.setter
    def is_guarded(self, value: bool) -> None:
        self._is_guarded = bool(value)
        self._apply_patience()

    def _apply_patience(self) -> None:
        patience = self._slow_callback_duration
        is_on = self._is_guarded and math.isfinite(patience)
        self._set_patience(patience if is_on else None)  # type: ignore[attr-defined]

    def set_block_handler(self, handler: BlockHandler | None) -> None:
        """Say who is told when a callback blocks the loop.

        Parameters
        ----------
        handler
            Called as ``handler(loop, block)``, in a thread of its own, while the loop is blocked and again when it goes
            on. It must not wait for the loop. None for the default, which logs a warning.

        Raises
        ------
        TypeError
            When the handler cannot be called.

        Examples
        --------
        >>> import tercet
        >>> loop = tercet.new_event_loop()
        >>> loop.set_block_handler(lambda loop, block: print(block))
        >>> loop.set_block_handler(None)
        >>> loop.close()
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._block_handler = handler

    def get_block_handler(self) -> BlockHandler | None:
        """Return who is told when a callback blocks the loop, or None for the default.

        Returns
        -------
        callable or None
            What `set_block_handler` was given.
        """
        return self._block_handler

    def default_block_handler(self, block: Block) -> None:
        """Log a warning that says what blocks the loop, with the stack.

        Parameters
        ----------
        block
            What blocks it.
        """
        trace = "".join(block.stack.format()).rstrip() if not block.is_over else ""
        logger.warning("%s%s%s", block, "\n" if trace else "", trace)

    # --- for the native half, in the thread of the guard --------------------------------------------------------

    def _stack_of(self, thread: int) -> Stack:
        """Return the frames of the callback that a thread runs, the innermost first, each with its line."""
        frame = sys._current_frames().get(thread)
        found = []
        while frame is not None and frame.f_code is not _TURNS:
            found.append((frame, frame.f_lineno))
            frame = frame.f_back
        return found

    def _tell_of_block(self, thread: int, duration: float, stack: Stack | None) -> None:
        self._open_block = None
        if stack is None:
            self._tell(Block(duration, thread, is_over=True))
            return
        if any(_is_debugged(frame) for frame, _ in stack):
            return
        place = (stack[0][0].f_code.co_filename, stack[0][1]) if stack else ("", 0)
        left_out = self._left_out(place)
        if left_out is None:
            return
        summary = traceback.StackSummary.extract(reversed(stack))
        block = Block(duration, thread, summary, left_out=left_out)
        self._open_block = block
        self._tell(block)

    def _tell_of_end(self, thread: int, duration: float) -> None:
        block, self._open_block = self._open_block, None
        if block is not None:
            self._tell(Block(max(duration, block.duration), thread, block.stack, is_over=True))

    def _left_out(self, place: Place) -> int | None:
        """Return how many blocks at a place were left out since the last report, or None to leave out this one."""
        now = time.monotonic()
        told, left_out = self._reported.get(place, (-math.inf, 0))
        if now - told < REPEAT_S:
            self._reported[place] = (told, left_out + 1)
            return None
        if len(self._reported) >= PLACES:
            self._reported.clear()
        self._reported[place] = (now, 0)
        return left_out

    def _tell(self, block: Block) -> None:
        try:
            if self._block_handler is None:
                self.default_block_handler(block)
            else:
                self._block_handler(self, block)
        except Exception:
            logger.error("Unhandled error in block handler", exc_info=True)
        finally:
            _leave_the_list()


def _leave_the_list() -> None:
    """Take out what `threading` lists for the guard's thread when `logging` has asked who it is: nobody can join it."""
    stand_in = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    if isinstance(stand_in, threading._DummyThread):
        with threading._active_limbo_lock:  # type: ignore[attr-defined]
            threading._active.pop(stand_in.ident, None)  # type: ignore[attr-defined]


def _is_debugged(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return frame.f_trace is not None or (isinstance(module, str) and module.partition(".")[0] in DEBUGGERS)


# What runs the turns: the frames above it are none of a callback's.
_TURNS = asyncio.BaseEventLoop.run_forever.__code__

atexit.register(close_guard)
