"""`map`: measure the first tasks, choose the engine and its size, and run the rest on it.

The iterator that `map` returns is one of the standard library's own, made in C, over a generator that yields lists of
results: taking a result costs what taking it from a list costs. Nothing runs before the first result is asked for.
"""

from __future__ import annotations

import itertools
import operator
import time
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from types import GeneratorType, TracebackType
from typing import Any, Generic, NoReturn, TypeVar, cast

from tercet.advice import Advice
from tercet.course import Course
from tercet.engine import MODELS
from tercet.pilot import Wishes
from tercet.progress import Callback, Progress, check_progress, open_progress
from tercet.pursuit import GRACE_S, Run
from tercet.source import is_coroutine_function

__all__ = ["Map", "check_choice", "map", "why"]

T = TypeVar("T")

_AT_HAND = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset, deque, KeysView, ValuesView, ItemsView)
_WINDOW = 256
_WIDEST = 1 << 16
_TICK_S = 0.1
_FEW = 3
_SEEN_S = 0.002
_SEEN_MOST_S = 0.01


def map(
    fn: Callable[..., T],
    *iterables: Iterable[Any],
    model: str | None = None,
    workers: int | None = None,
    progress: bool | Callback | None = None,
    buffersize: int | None = None,
    timeout: float | None = None,
    pure: bool | None = None,
) -> Map[T]:
    """Call `fn` with each item and return the results in order, on the engine that fits.

    The first calls are measured in place. Tasks that wait then run in threads, tasks that compute with the GIL in
    processes, coroutine functions on an event loop, and what is too short to share stays in a plain loop. The choice
    is made again when later tasks turn out to be different.

    Parameters
    ----------
    fn
        The function, or a coroutine function.
    *iterables
        Where the arguments come from, one for each parameter, as with the built-in `map`. They may be endless: they are
        read only as far ahead as the workers need.
    model
        ``"plain"``, ``"threads"``, ``"processes"`` or ``"event-loop"``; ``None`` or ``"auto"`` chooses.
    workers
        How many threads, processes, or tasks on the loop at a time; ``None`` chooses.
    progress
        ``True`` for a bar by tqdm or rich where one of them is installed, or a callable that is given the number of
        items done and of all items.
    buffersize
        How many items may be read ahead of the results that were taken; ``None`` lets the workers decide.
    timeout
        Seconds after which a result that is still missing is a `TimeoutError`, counted from this call.
    pure
        ``True`` says that `fn` may run in another process whatever it looks like; ``False`` that it may not.

    Returns
    -------
    Map
        An iterator of the results. Its `Map.advice` says what was seen and chosen.

    Raises
    ------
    TypeError
        If `fn` cannot be called or an argument is of the wrong kind.
    ValueError
        If an argument has no such value.

    See Also
    --------
    why : The advice alone.

    Examples
    --------
    >>> list(map(pow, [2, 3, 4], [5, 2, 1]))
    [32, 9, 4]
    >>> with map(str.upper, ["ada", "grace"]) as names:
    ...     next(names)
    'ADA'
    """
    wishes = check_choice(fn, model, workers, pure)
    source, total = _items(iterables)
    if buffersize is not None:
        _check_count("buffersize", buffersize)
    check_progress(progress)
    window, widest = (_WINDOW, _WIDEST) if buffersize is None else (buffersize, buffersize)
    deadline = None if timeout is None else time.monotonic() + timeout
    course = Course(
        source,
        total,
        window,
        widest,
        is_at_hand=_are_at_hand(iterables),
        is_pinned=lambda: any(_is_pinned(each) for each in iterables),
    )
    run = Run(fn, course, wishes, form=_form(iterables), is_hosted=deadline is not None)
    return Map._over(run, progress, deadline)


def why(fn: Callable[..., Any], *iterables: Iterable[Any]) -> Advice:
    """Run the first tasks only, and return the advice alone.

    Their results are not kept; the items behind them are not touched.

    Parameters
    ----------
    fn
        The function, or a coroutine function.
    *iterables
        Where its arguments come from.

    Examples
    --------
    >>> why(abs, range(-10, 10)).model
    'plain'
    """
    wishes = check_choice(fn, None, None, None)
    source, total = _items(iterables)
    is_coroutine = is_coroutine_function(fn)
    course = Course(itertools.islice(source, _FEW) if is_coroutine else source, total, _WINDOW, _WIDEST)
    run = Run(fn, course, wishes, form=_form(iterables), is_dry=True, block_most=16)
    run.begin()
    try:
        while not (course.is_over or (_has_seen_enough(run) and not is_coroutine)):
            batch = run.home.run_some()
            if batch is None:
                course.wait(None)
            else:
                course.give(batch)
            _, error = course.collect()
            if error is not None:
                raise error
        run.pilot.judge()
    finally:
        run.end()
    return run.advice()


def _has_seen_enough(run: Run) -> bool:
    ran, wall_s, _ = run.home.so_far()
    return wall_s >= _SEEN_MOST_S or (ran >= _FEW and wall_s >= _SEEN_S)


class Map(itertools.chain[T], Generic[T]):
    """The results of `tercet.map`, in the order of the items.

    It is an iterator and a context manager: leaving the ``with`` block, `close`, an error, Ctrl-C or dropping the
    last reference stops the work. Tasks in threads cannot be stopped; they are given half a second, and no other
    follows.

    Examples
    --------
    >>> squares = map(abs, [-1, -2, -3])
    >>> for square in squares:
    ...     print(square)
    1
    2
    3
    >>> squares.advice.model
    'plain'
    """

    _flow: _Flow

    @classmethod
    def _over(cls, run: Run, progress: bool | Callback | None, deadline: float | None) -> Map[T]:
        flow = _Flow(run, progress, deadline)
        made = cast("Map[T]", cls.from_iterable(flow.lists()))
        made._flow = flow
        return made

    @property
    def advice(self) -> Advice:
        """What was seen, what was chosen and why, and what came of it: as far as known now, final at the end."""
        return self._flow.run.advice()

    def close(self) -> None:
        """Stop: begin nothing more, and end what runs. May be called twice, and from any thread."""
        self._flow.close()

    def __enter__(self) -> Map[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flow.close(0.0 if kind is not None and issubclass(kind, KeyboardInterrupt) else GRACE_S)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a map with work under way cannot be pickled or copied")

    def __repr__(self) -> str:
        advice = self.advice
        return f"<tercet.map {advice.function}: {advice.done} done, {advice.model}>"

    def _repr_html_(self) -> str:
        return self.advice._repr_html_()


class _Flow:
    """Results on their way to the caller, a list at a time."""

    def __init__(self, run: Run, progress: bool | Callback | None, deadline: float | None) -> None:
        self.run = run
        self._wanted = progress
        self._progress: Progress | None = None
        self._deadline = deadline
        self._latest: list[Any] = []
        self._is_closed = False

    def lists(self) -> Iterator[list[Any]]:
        """Yield results in order until all are there, and end the run in any case."""
        if self._is_closed:
            return
        run = self.run
        try:
            self._progress = open_progress(self._wanted, run.course.total)
            run.begin(needs_pilot=run.course.total is None or run.course.total > 1)
            yield from self._results()
        except KeyboardInterrupt:
            self.close(0.0)
            raise
        except BaseException:
            self.close()
            raise
        run.end(kills=False)
        self._show()
        self._hide()

    def close(self, wait_s: float = GRACE_S) -> None:
        """End the run early; what was not yet taken of the latest list is gone as well."""
        self._is_closed = True
        self.run.end(wait_s)
        self._latest.clear()
        self._hide()

    def _results(self) -> Iterator[list[Any]]:
        course, home = self.run.course, self.run.home
        is_home = self._deadline is None
        while not course.is_over and not course.is_closed:
            results, error = course.collect()
            if not results and error is None and is_home and (batch := home.run_some()) is not None:
                if not course.home_is_open:
                    self.run.pilot.call()
                if not course.skip(batch):
                    course.give(batch)
                    continue
                results = batch.results
            if results:
                self._latest = results
                self._show()
                yield results
            if error is not None:
                try:
                    raise error
                finally:
                    del error
            if not results and not course.feed():
                self._wait()

    def _wait(self) -> None:
        """Wait for news, but no longer than the caller allowed, and no longer than a person watches without a sign."""
        timeout = None if self._progress is None else _TICK_S
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("a result was not there in time")
            timeout = left_s if timeout is None else min(timeout, left_s)
        self.run.course.wait(timeout)
        self._show()

    def _show(self) -> None:
        if self._progress is not None:
            self._progress.show(self.run.course.finished)

    def _hide(self) -> None:
        if self._progress is not None:
            self._progress.close()


# --- what may be asked for ------------------------------------------------------------------------------------


def check_choice(fn: Callable[..., Any] | None, model: str | None, workers: int | None, pure: bool | None) -> Wishes:
    """Check what the caller settled, and return it.

    Raises
    ------
    TypeError
        If `fn` cannot be called, or an argument is of the wrong kind.
    ValueError
        If there is no such model or number, or the model does not fit the function.
    """
    if fn is not None and not callable(fn):
        raise TypeError(f"fn must be callable: {fn!r}")
    if model is not None and not isinstance(model, str):
        raise TypeError(f"model must be a string or None: {model!r}")
    chosen = None if model == "auto" else model
    if chosen is not None and chosen not in MODELS:
        raise ValueError(f"no model of that name, only `auto`, {', '.join(f'`{name}`' for name in MODELS)}: {model!r}")
    if workers is not None:
        _check_count("workers", workers)
    if pure is not None and not isinstance(pure, bool):
        raise TypeError(f"pure must be True, False or None: {pure!r}")
    if fn is not None and chosen is not None:
        _check_fit(fn, chosen)
    return Wishes(chosen, workers, pure)


def _check_fit(fn: Callable[..., Any], model: str) -> None:
    is_coroutine = is_coroutine_function(fn)
    if model == "event-loop" and not is_coroutine:
        raise ValueError(
            'model `event-loop` runs coroutine functions only: write `async def`, or ask for `model="threads"`'
        )
    if model in ("threads", "processes") and is_coroutine:
        raise ValueError(f'a coroutine function runs on an event loop, not in {model}: ask for `model="event-loop"`')


def _check_count(name: str, value: int) -> None:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer or None: {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer or None: {value!r}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1: {number}")


def _form(iterables: tuple[Iterable[Any], ...]) -> str:
    return "one" if len(iterables) == 1 else "many"


def _items(iterables: tuple[Iterable[Any], ...]) -> tuple[Iterator[Any], int | None]:
    """The arguments of each call, and how many calls there are where that is known."""
    if not iterables:
        raise TypeError("map needs at least one iterable after the function")
    hints = [operator.length_hint(iterable, -1) for iterable in iterables]
    known = [hint for hint in hints if hint >= 0]
    source = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
    return source, min(known) if known else None


def _are_at_hand(iterables: tuple[Iterable[Any], ...]) -> bool:
    """Whether no item has to be waited for: containers of the language, and arrays."""
    return all(isinstance(each, _AT_HAND) or type(each).__module__ == "numpy" for each in iterables)


def _is_pinned(iterable: Iterable[Any]) -> bool:
    """Whether only the thread that made a source may read it: a cursor of `sqlite3`, or a generator that holds one."""
    if isinstance(iterable, GeneratorType):
        held = iterable.gi_frame.f_locals.values() if iterable.gi_frame is not None else ()
        return any(_is_of_sqlite(value) for value in (*held, iterable.gi_yieldfrom))
    return _is_of_sqlite(iterable)


def _is_of_sqlite(value: Any) -> bool:
    return type(value).__module__ == "sqlite3"
