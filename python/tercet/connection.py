"""`Pipe` and its `Connection`: those of `multiprocessing`, with the bytes sent and received natively.

The kernel's pipe or socket stays, so connections can be waited for with `multiprocessing.connection.wait` and
`selectors`, and either end may be a connection of the standard library.
"""

from __future__ import annotations

import multiprocessing.connection as standard
import os
import socket
from _pickle import loads
from multiprocessing import BufferTooShort
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tercet import _tercet, handle
from tercet.message import pickled

__all__ = ["Connection", "Pipe"]


class Connection(standard.Connection):
    """One end of a pipe: `multiprocessing.connection.Connection`.

    Parameters
    ----------
    handle
        The descriptor, which the connection closes.
    readable, writable
        What it is for.
    """

    _handle: int

    def send(self, obj: Any) -> None:
        """Send an object; it is pickled.

        Parameters
        ----------
        obj
            The object.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_writable()  # type: ignore[attr-defined]
        _tercet.send_message(self._handle, pickled(obj))

    def recv(self) -> Any:
        """Receive an object, and wait for one.

        Returns
        -------
        object
            The object.

        Raises
        ------
        EOFError
            The other end is closed, and everything was received.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        return loads(_tercet.receive_message(self._handle))  # type: ignore[arg-type]

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive the bytes of a message, and wait for one.

        Parameters
        ----------
        maxlength
            The longest message to be taken; after a longer one nothing more can be received.

        Returns
        -------
        bytes
            The message.

        Raises
        ------
        EOFError
            The other end is closed, and everything was received.
        OSError
            The message is too long.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        message = _tercet.receive_message(self._handle, maxlength)
        if message is None:
            self._bad_message_length()  # type: ignore[attr-defined]
            raise OSError("bad message length")
        return message

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive a message into a buffer, and wait for one.

        Parameters
        ----------
        buf
            Where it goes.
        offset
            Where it begins there.

        Returns
        -------
        int
            Its length.

        Raises
        ------
        multiprocessing.BufferTooShort
            It does not fit; the exception has it.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_readable()  # type: ignore[attr-defined]
        with memoryview(buf) as view, view.cast("B") as room:
            if offset < 0:
                raise ValueError("negative offset")
            if offset > room.nbytes:
                raise ValueError("offset too large")
            message = _tercet.receive_message(self._handle)
            assert message is not None
            size = len(message)
            if room.nbytes < offset + size:
                raise BufferTooShort(message)
            room[offset : offset + size] = message
            return size

    def _send_bytes(self, buf: Any) -> None:
        _tercet.send_message(self._handle, buf)

    def __reduce__(self) -> Any:
        self._check_closed()  # type: ignore[attr-defined]
        return _rebuilt, (type(self), handle.to_socket(self, self._handle), self.readable, self.writable)


def _rebuilt(kind: type[Connection], far: Any, readable: bool, writable: bool) -> Connection:
    return kind(far.detach(), readable, writable)


ForkingPickler.register(Connection, Connection.__reduce__)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802 - the standard library's name
    """Return two connections, the two ends of a pipe: `multiprocessing.Pipe`.

    Parameters
    ----------
    duplex
        Whether both can send and receive; otherwise the first one receives and the second one sends.

    Returns
    -------
    tuple of Connection
        The two ends.

    Examples
    --------
    >>> here, there = Pipe()
    >>> here.send([1, 2])
    >>> there.recv()
    [1, 2]
    >>> here.close(), there.close()
    (None, None)
    """
    if duplex:
        one, two = socket.socketpair()
        one.setblocking(True)
        two.setblocking(True)
        return Connection(one.detach()), Connection(two.detach())
    reader, writer = os.pipe()
    return Connection(reader, writable=False), Connection(writer, readable=False)
