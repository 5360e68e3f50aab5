r"""Streams whose insides are native: `StreamReader`, `StreamWriter`, `StreamReaderProtocol`.

Programs go on to call `asyncio.open_connection` and `asyncio.start_server`. On tercet's loop the readers and writers
that these give are of the classes below, which are subclasses of asyncio's. They do what asyncio's do, with its limits,
errors and pauses.

A read that finds its data returns without a future. What a method returns is awaited, or given to a task, as a
coroutine is; it is one to `asyncio.iscoroutine`, though not to `inspect.iscoroutine`.

Examples
--------
>>> import asyncio, tercet
>>> async def echo(reader, writer):
...     writer.write(await reader.readline())
...     await writer.drain()
...     writer.close()
>>> async def main():
...     server = await asyncio.start_server(echo, "127.0.0.1", 0)
...     async with server:
...         reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
...         writer.write(b"hello\n")
...         line = await reader.readline()
...         writer.close()
...         return line
>>> tercet.run(main())
b'hello\n'
"""

# asyncio's functions make asyncio's objects. When such a protocol meets a transport of ours, the native half calls
# `_adopt`, which changes the classes of the protocol and of its reader. That is possible since the classes below add no
# fields: what a reader knows is in its `_native`, and what its own dictionary says of it is out of date from then on.

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tercet._tercet import Inbox, equip

__all__ = ["StreamReader", "StreamReaderProtocol", "StreamWriter"]

_DEFAULT_LIMIT = 2**16


def _kept(name: str) -> Any:
    """Return an attribute that the native half keeps."""

    def get(self: Any) -> Any:
        return getattr(self._native, name)

    def put(self: Any, value: Any) -> None:
        setattr(self._native, name, value)

    return property(get, put)


class StreamReader(asyncio.StreamReader):
    r"""An `asyncio.StreamReader` whose insides are native.

    Parameters
    ----------
    limit
        How long a line may be; a transport is paused when twice as much is unread.
    loop
        The loop; None for the current one.

    Examples
    --------
    >>> import tercet
    >>> from tercet.streams import StreamReader
    >>> async def main():
    ...     reader = StreamReader()
    ...     reader.feed_data(b"one\ntwo")
    ...     reader.feed_eof()
    ...     return [line async for line in reader]
    >>> tercet.run(main())
    [b'one\n', b'two']
    """

    _buffer = _kept("buffer")
    _eof = _kept("eof")
    _exception = _kept("exception")
    _limit = _kept("limit")
    _loop = _kept("loop")
    _paused = _kept("paused")
    _transport = _kept("transport")
    _waiter = _kept("waiter")

    def __init__(self, limit: int = _DEFAULT_LIMIT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._native = Inbox()
        super().__init__(limit, loop)

    def __repr__(self) -> str:
        # What asyncio shows, without a look at the buffer.
        size = len(self._native)
        parts = [
            "StreamReader",
            f"{size} bytes" if size else "",
            "eof" if self._eof else "",
            f"limit={self._limit}" if self._limit != _DEFAULT_LIMIT else "",
            f"waiter={self._waiter!r}" if self._waiter else "",
            f"exception={self._exception!r}" if self._exception else "",
            f"transport={self._transport!r}" if self._transport else "",
            "paused" if self._paused else "",
        ]
        return f"<{' '.join(filter(None, parts))}>"


class StreamWriter(asyncio.StreamWriter):
    """An `asyncio.StreamWriter` whose `write` and `drain` are native."""


class StreamReaderProtocol(asyncio.StreamReaderProtocol):
    """An `asyncio.StreamReaderProtocol` that gives what it receives to a native reader."""


class _Welcome:
    """What a server calls for each client: its writer becomes one of ours first."""

    __slots__ = ("callback",)

    def __init__(self, callback: Any) -> None:
        self.callback = callback

    def __call__(self, reader: Any, writer: Any) -> Any:
        if type(writer) is asyncio.StreamWriter:
            writer.__class__ = StreamWriter
        return self.callback(reader, writer)


def _adopt(protocol: Any) -> None:
    """Make a protocol of asyncio's and its reader ours, unless the reader is in use or somebody's own."""
    reader: Any = protocol._stream_reader
    is_asyncios = type(reader) is asyncio.StreamReader
    if not is_asyncios or reader._waiter is not None:
        return
    if type(reader._limit) is not int or reader._limit > sys.maxsize:
        return
    native = Inbox()
    native.limit = reader._limit
    native.loop = reader._loop
    native.plain = getattr(type(reader._loop), "create_future", None) is asyncio.BaseEventLoop.create_future
    native.buffer = reader._buffer
    native.eof = reader._eof
    native.exception = reader._exception
    native.transport = reader._transport
    native.paused = reader._paused
    reader.__class__ = StreamReader
    reader._native = native
    callback = protocol._client_connected_cb
    if callback is not None:
        protocol._client_connected_cb = _Welcome(callback)
    protocol.__class__ = StreamReaderProtocol


equip(StreamReader, StreamWriter, StreamReaderProtocol, asyncio.StreamReaderProtocol, _adopt)
