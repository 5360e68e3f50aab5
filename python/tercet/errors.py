"""What can go wrong between a caller and its workers.

Each class also inherits the standard library's class for the same accident, so that existing ``except`` clauses
keep working. A message says what happened and to what; where there is a next step, a second line names it.
"""

from __future__ import annotations

from _pickle import PicklingError
from concurrent.futures import BrokenExecutor

__all__ = ["NotPortable", "PoolTerminated", "RemoteError", "RemoteTraceback", "WorkerDied"]


class NotPortable(PicklingError):
    """Something that would have to go to another process, or come back from one, cannot be pickled.

    Examples
    --------
    >>> import pickle
    >>> issubclass(NotPortable, pickle.PicklingError)
    True
    """


class WorkerDied(BrokenExecutor):
    """A worker process ended in the middle of a task.

    The task that it ran is lost and is not run again; tasks that it had not begun go to another worker.
    """


class PoolTerminated(WorkerDied):
    """A pool was terminated before the task could begin.

    Examples
    --------
    >>> str(PoolTerminated())
    'the pool was terminated before the task began'
    """

    def __init__(self, text: str = "the pool was terminated before the task began") -> None:
        super().__init__(text)


class RemoteTraceback(Exception):
    """The traceback of a worker process, as text: the cause of the exception that the caller sees.

    Parameters
    ----------
    text
        The traceback as the worker would have printed it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """Stands for an exception of a worker process that does not survive pickling.

    Parameters
    ----------
    kind
        The name of the original exception's class, with its module.
    text
        What the original exception said.
    traceback
        The traceback of the worker, as text.

    Examples
    --------
    >>> error = RemoteError("shop.OutOfStock", "no pears", "")
    >>> str(error)
    'shop.OutOfStock: no pears'
    """

    def __init__(self, kind: str, text: str, traceback: str = "") -> None:
        super().__init__(kind, text, traceback)
        self.kind = kind
        self.text = text
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind
