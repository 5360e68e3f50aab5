"""What an event loop watches, as a selector that can be looked at.

`asyncio.SelectorEventLoop` has a selector, and programs look into it. The loop's native half keeps the watches itself;
this is the window through which they are seen.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn


class Watched(Mapping[Any, selectors.SelectorKey]):
    """The descriptors that a loop watches, each with what it waits for."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def _keys(self) -> dict[int, selectors.SelectorKey]:
        keys = {}
        for fd, reads, writes in self._loop._watched():
            mask = reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE
            keys[fd] = selectors.SelectorKey(fd, fd, mask, None)
        return keys

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self._keys()[fd]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


class LoopSelector(selectors.BaseSelector):
    """The watches of a loop. To change them, call `add_reader` and its like on the loop."""

    def __init__(self, loop: Any) -> None:
        self._map: Watched | None = Watched(loop)

    def _refuse(self) -> NoReturn:
        raise RuntimeError("the selector of a tercet event loop is read-only: use `loop.add_reader` and its like")

    def register(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:  # noqa: ARG002
        """Refuse: the loop's own methods do this."""
        self._refuse()

    def unregister(self, fileobj: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: the loop's own methods do this."""
        self._refuse()

    def modify(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:  # noqa: ARG002
        """Refuse: the loop's own methods do this."""
        self._refuse()

    def select(self, timeout: float | None = None) -> NoReturn:  # noqa: ARG002
        """Refuse: the loop's turn does this."""
        self._refuse()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is watched; an empty mapping once the loop is closed."""
        return {} if self._map is None else self._map

    def close(self) -> None:
        """Forget the loop."""
        self._map = None
