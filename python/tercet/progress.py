"""Telling a person how far a map has come.

`open_progress` turns what was given as ``progress=`` into one object with `Progress.show` and `Progress.close`.
It counts items, whatever is handed to the workers at a time, and it is only ever called by the thread that asks for
results, so that a callable needs no lock.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["Callback", "Progress", "check_progress", "open_progress"]

Callback = Callable[[int, int | None], object]
"""Called with the number of items done and the number of all items, or ``None`` where that is unknown."""


class Progress(Protocol):
    """Something that shows how many items are done."""

    def show(self, done: int) -> None:
        """Show that `done` items are done. Never called with a smaller number than before."""

    def close(self) -> None:
        """Show nothing more. May be called twice."""


def check_progress(wanted: bool | Callback | None) -> None:
    """Refuse what cannot show progress.

    Raises
    ------
    TypeError
        If `wanted` is neither a boolean nor callable.
    """
    if wanted is not None and not isinstance(wanted, bool) and not callable(wanted):
        raise TypeError(f"progress must be True, False or a callable: {wanted!r}")


def open_progress(wanted: bool | Callback | None, total: int | None) -> Progress | None:
    """Return what shows the progress of `total` items, or ``None`` where nothing is to be shown.

    Parameters
    ----------
    wanted
        ``True`` for a bar by tqdm or rich, whichever is installed, and nothing where neither is; or a callable.
    total
        How many items there are, where that is known.

    Raises
    ------
    TypeError
        If `wanted` is neither a boolean nor callable.
    """
    if wanted is None or wanted is False:
        return None
    check_progress(wanted)
    if callable(wanted):
        return _EachItem(wanted, total)
    for name, bar in (("tqdm.auto", _TqdmBar), ("rich.progress", _RichBar)):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        made: Progress = bar(module, total)
        return made
    return None


class _EachItem:
    """Calls back once for each item, in a row where several came home at once."""

    def __init__(self, callback: Callback, total: int | None) -> None:
        self._callback = callback
        self._total = total
        self._shown = 0

    def show(self, done: int) -> None:
        while self._shown < done:
            self._shown += 1
            self._callback(self._shown, self._total)

    def close(self) -> None:
        pass


class _TqdmBar:
    def __init__(self, module: object, total: int | None) -> None:
        self._bar = module.tqdm(total=total)  # type: ignore[attr-defined]

    def show(self, done: int) -> None:
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _RichBar:
    def __init__(self, module: object, total: int | None) -> None:
        columns = module.Progress.get_default_columns()  # type: ignore[attr-defined]
        self._bar = module.Progress(*columns)  # type: ignore[attr-defined]
        self._task = self._bar.add_task("tercet", total=total)
        self._bar.start()

    def show(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def close(self) -> None:
        self._bar.stop()
