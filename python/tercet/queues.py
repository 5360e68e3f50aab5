"""`Queue`, `JoinableQueue` and `SimpleQueue`: those of `multiprocessing`, in memory that processes share.

What is different from the standard library's, and better:

- *A put is a copy into shared memory*, not a hand-over to a thread that writes a pipe. What was put is there for others
  at once, in the order of the puts, and stays when the process that put it ends. There is no thread to be joined, and
  none to be lost in a fork.
- *The object is pickled by* ``put`` *itself.* Changing it afterwards changes nothing. What cannot be pickled is told as
  the standard library does, on standard error, or raised at once with ``raises=True``.
- *A process that is killed in the middle of a put or a get* leaves the queue as it was before, and open to the others.
- *Queues are arguments of tasks* of `tercet.ProcessPoolExecutor`.

A queue has no pipe, so there is no ``_reader`` to be waited for with `multiprocessing.connection.wait`.
"""

from __future__ import annotations

import multiprocessing.queues
from types import GenericAlias
from typing import Any

from tercet import _tercet, handle

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_MOST = _tercet.SemLock.SEM_VALUE_MAX


class Queue(_tercet.SharedQueue, multiprocessing.queues.Queue):  # type: ignore[type-arg]
    """A queue between processes: `multiprocessing.Queue`.

    Parameters
    ----------
    maxsize
        How many objects there may be at a time; 0 or less for any number.
    ctx
        A context of `multiprocessing`, for programs that make the class of the standard library themselves; not used.
    raises
        Whether `put` raises what an object that cannot be pickled raises, instead of printing it.

    Examples
    --------
    >>> queue = Queue()
    >>> queue.put([1, 2])
    >>> queue.get()
    [1, 2]
    """

    def __init__(self, maxsize: int = 0, *, ctx: object = None, raises: bool = False) -> None:  # noqa: ARG002
        self._raises = raises
        self._ignore_epipe = False
        if maxsize > _MOST:
            raise OverflowError(f"maxsize must be at most {_MOST}: {maxsize}")
        self._create(max(maxsize, 0))

    # `put`, `get`, `put_nowait`, `get_nowait`, `qsize`, `empty`, `full` and `close` are native.

    def __getstate__(self) -> Any:
        return self._raises, self._ignore_epipe, handle.to_descriptor(self, self._fileno())

    def __setstate__(self, state: Any) -> None:
        self._raises, self._ignore_epipe, far = state
        self._join_fd(far.detach())

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.__getstate__())

    def _refused(self, error: Exception, obj: Any) -> None:
        if self._raises:
            raise error
        self._on_queue_feeder_error(error, obj)

    @staticmethod
    def _on_queue_feeder_error(e: Exception, obj: Any) -> None:  # noqa: ARG004 - the hook of the standard library
        import traceback

        traceback.print_exception(e)

    def join_thread(self) -> None:
        """Return: there is no thread, and what was put is where others find it."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Return: there is no thread to be waited for when the process ends."""


class JoinableQueue(Queue, multiprocessing.queues.JoinableQueue):  # type: ignore[type-arg]
    """A queue that can be waited for until all is done: `multiprocessing.JoinableQueue`.

    Parameters
    ----------
    maxsize, ctx, raises
        As for `Queue`.

    Examples
    --------
    >>> queue = JoinableQueue()
    >>> queue.put("a task")
    >>> queue.get()
    'a task'
    >>> queue.task_done()
    >>> queue.join()
    """

    def task_done(self) -> None:
        """Say that an object that was taken is done with.

        Raises
        ------
        ValueError
            There is no such object.
        """
        if not self._done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until every object that was put is done with."""
        self._join()


class SimpleQueue(_tercet.SharedQueue, multiprocessing.queues.SimpleQueue):  # type: ignore[type-arg]
    """A queue of any length between processes: `multiprocessing.SimpleQueue`.

    `put` never waits, where the standard library's waits for a reader when the pipe is full.

    Parameters
    ----------
    ctx
        A context of `multiprocessing`, as for `Queue`.

    Examples
    --------
    >>> queue = SimpleQueue()
    >>> queue.put(1)
    >>> queue.empty(), queue.get(), queue.empty()
    (False, 1, True)
    """

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002 - the standard library's
        self._create(0)

    def __getstate__(self) -> Any:
        return handle.to_descriptor(self, self._fileno())

    def __setstate__(self, state: Any) -> None:
        self._join_fd(state.detach())

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.__getstate__())

    def put(self, obj: Any) -> None:  # type: ignore[override]
        """Put an object at the end.

        Parameters
        ----------
        obj
            The object; what cannot be pickled is told at once.
        """
        self._check_open()
        self._put(obj)

    def get(self) -> Any:  # type: ignore[override]
        """Take the object at the front, and wait for one.

        Returns
        -------
        object
            The object.
        """
        self._check_open()
        return _tercet.SharedQueue.get(self)

    def empty(self) -> bool:
        """Return whether there is none at this moment."""
        self._check_open()
        return _tercet.SharedQueue.empty(self)

    @property
    def _reader(self) -> _End:
        return _End(self)

    _writer = _reader

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("handle is closed")

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]


class _End:
    """What stands for an end of the pipe that there is not, for programs that look for it."""

    def __init__(self, queue: _tercet.SharedQueue) -> None:
        self._queue = queue

    @property
    def closed(self) -> bool:
        """Whether the queue is closed in this process."""
        return self._queue._closed

    def close(self) -> None:
        """Close the queue in this process."""
        self._queue.close()


def _rebuilt(kind: Any, state: Any) -> Any:
    """Join a queue that another process has made."""
    queue = kind.__new__(kind)
    queue.__setstate__(state)
    return queue
