"""The way of a function to another process: whether there is one, what goes along, and what speaks against it.

Three looks are taken. The source is read for what it may change (`tercet.purity`), the function is packed for the
journey (`tercet.portable`), and a real item and a real result are pickled. A fourth comes later: what tasks in place
change while the workers start, the first look has missed.
"""

from __future__ import annotations

import copy
from typing import Any

from tercet.course import Course
from tercet.engine import Work
from tercet.errors import NotPortable
from tercet.home import Home
from tercet.portable import Baggage, Journey, can_have_workers, pack, try_journey
from tercet.purity import study

__all__ = ["Passage"]

_UNLESS = "`pure=True` says that it may run there all the same"


class Passage:
    """What was found.

    Parameters
    ----------
    work
        The function, and how it is called.
    course
        Where an item may be seen that has not begun.
    home
        Where tasks run in place, and where their last result is.
    is_pure
        Whether the caller said that the function may run anywhere, or asked for processes by name.
    is_dry
        Whether no item may be touched that has not begun.

    Attributes
    ----------
    baggage
        What a worker has to learn, or ``None`` where there is no way.
    journey
        What sending an item and a result costs, where that was tried.
    notes
        What a reader of the advice should know.
    """

    def __init__(self, work: Work, course: Course, home: Home, *, is_pure: bool, is_dry: bool) -> None:
        self.baggage: Baggage | None = None
        self.journey: Journey | None = None
        self.notes: list[str] = []
        self._home = home
        self._is_pure = is_pure
        self._snapshot = _Snapshot({})
        if (why := can_have_workers()) is not None:
            self.notes.append(why)
            return
        fn = work.stands_for or work.fn
        found = study(fn)
        try:
            baggage = pack(fn, found, home.thread or None)
        except NotPortable as refusal:
            self._refuse(str(refusal))
            return
        self.notes += baggage.notes
        self.baggage = baggage if work.stands_for is None else baggage.for_many()
        for doubt in [] if is_pure else found.doubts:
            self._refuse(f"{doubt}; {_UNLESS}")
        self._try_journey([item for item, _ in home.last_call] if is_dry else course.peek())
        self._snapshot = _Snapshot(found.containers)
        home.checks_items = not is_pure

    def close(self, why: str | None = None) -> None:
        """There is no way after all."""
        self.baggage = None
        if why is not None:
            self.notes.append(why)

    def close_if_changed(self) -> bool:
        """Close the way if tasks in place were seen to change something since it was found."""
        if self._is_pure:
            return False
        name = self._snapshot.changed()
        if self._home.changed_item:
            self._refuse(f"a task changed its arguments; {_UNLESS}")
        elif name is not None:
            self._refuse(f"the global `{name}` changed while tasks ran; {_UNLESS}")
        else:
            return False
        return True

    def _refuse(self, why: str) -> None:
        self.close(f"no processes: {why}")

    def _try_journey(self, items: list[Any]) -> None:
        self.journey = try_journey(items, [result for _, result in self._home.last_call])
        # An item that cannot be sent is run here, and the others may be different; results are mostly alike.
        if self.journey.refusal is not None and self.journey.refusal.startswith("a result"):
            self._refuse(self.journey.refusal)


class _Snapshot:
    """What some containers held at one moment: all of it where they are small, otherwise how much."""

    _SMALL = 1000

    def __init__(self, containers: dict[str, Any]) -> None:
        self._then = {
            name: (value, len(value), copy.copy(value) if len(value) <= self._SMALL else None)
            for name, value in containers.items()
        }

    def changed(self) -> str | None:
        """Return the name of a container that is not as it was, or ``None``."""
        for name, (value, length, content) in self._then.items():
            try:
                if len(value) != length or (content is not None and bool(value != content)):
                    return name
            except Exception:
                return name
        return None
