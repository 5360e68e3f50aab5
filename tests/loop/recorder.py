"""Protocols that note what they are told, for the tests of every kind of transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

Deed = Callable[[Any], Any]
"""What a protocol does when it is told something; it is given the protocol."""


class Notes(asyncio.BaseProtocol):
    """What is the same for all: it notes each call by its name, and then does what it was given for that name."""

    def __init__(self, **deeds: Deed) -> None:
        self.loop = asyncio.get_running_loop()
        self.deeds = deeds
        self.told: list[str] = []
        self.changed = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = self.loop.create_future()
        self.transport: Any = None

    def note(self, name: str) -> None:
        self.told.append(name)
        self.changed.set()
        if deed := self.deeds.get(name):
            deed(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("connection_made")

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("connection_lost")
        self.lost.set_result(exc)

    async def until(self, is_so: Callable[[Self], bool]) -> None:
        """Wait for what is told to make this true."""
        while not is_so(self):
            self.changed.clear()
            await self.changed.wait()

    async def until_told(self, name: str) -> None:
        """Wait for a call."""
        await self.until(lambda own: name in own.told)


class Recorder(Notes, asyncio.Protocol):
    """Keeps the bytes of a stream: all of them, and the last that came by themselves."""

    def __init__(self, **deeds: Deed) -> None:
        super().__init__(**deeds)
        self.data = self.latest = b""

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        assert data
        self.data += data
        self.latest = data
        self.note("data_received")

    def eof_received(self) -> None:
        self.note("eof_received")


class DatagramRecorder(Notes, asyncio.DatagramProtocol):
    """Keeps datagrams and errors, in order."""

    def __init__(self, **deeds: Deed) -> None:
        super().__init__(**deeds)
        self.got: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert type(data) is bytes
        self.got.put_nowait((data, addr))
        self.note("datagram_received")

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)
        self.note("error_received")


def echo(own: Recorder) -> None:
    """Answer with what has just come."""
    own.transport.write(own.latest)
