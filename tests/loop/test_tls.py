"""TLS connections, with contexts of the `ssl` module."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pathlib
import random
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import tercet
from recorder import Deed, Recorder, echo

Loop = asyncio.AbstractEventLoop

pytestmark = pytest.mark.usefixtures("no_new_descriptors")

CERTIFICATE = pathlib.Path(__file__).with_name("localhost.pem")
"""Of a host that nobody trusts but these tests."""


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.maximum_version = version
    return context


@contextlib.asynccontextmanager
async def served(
    on_data: Deed = lambda _: None, make: Callable[[], Any] | None = None, **options: Any
) -> AsyncIterator[tuple[tuple[str, int], list[Recorder]]]:
    """Serve; give the address and the protocols of the connections."""
    made: list[Recorder] = []

    def protocol() -> Recorder:
        made.append(make() if make else Recorder(data_received=on_data))
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=server_context(), **options)
    try:
        yield server.sockets[0].getsockname(), made
    finally:
        server.close()
        await server.wait_closed()


async def connected(address: tuple[str, int], make: Callable[[], Any] = Recorder, **options: Any) -> Any:
    loop = asyncio.get_running_loop()
    options = {"ssl": client_context(), "server_hostname": "localhost"} | options
    _, protocol = await loop.create_connection(make, *address, **options)
    return protocol


async def begun(made: list[Recorder]) -> None:
    """Wait until the first connection of a server is made."""
    while not made or made[0].transport is None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_data_of_any_size_comes_back(loop: Loop, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with served(echo) as (address, _):
            client = await connected(address, ssl=client_context(version))
            sent = b""
            for size in (1, 1000, 16384, 16385, 65536, 300_000, 1_000_000):
                piece = random.Random(size).randbytes(size)
                client.transport.write(piece)
                sent += piece
                await client.until(lambda own, sent=sent: len(own.data) >= len(sent))
            client.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            client.transport.write(b"")
            sent += b"abc"
            await client.until(lambda own: len(own.data) >= len(sent))
            assert client.data == sent
            client.transport.close()
            assert await client.lost is None
            assert client.told[-1] == "connection_lost"

    loop.run_until_complete(main())


def test_records_that_come_in_pieces(loop: Loop) -> None:
    """Whoever sends the records byte by byte is understood: through a relay that does."""

    async def relay(address: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*address)

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
            while data := await reader.read(size):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()

        await asyncio.gather(carry(reader, far_writer, 7), carry(far_reader, writer, 1000))

    async def main() -> None:
        async with served(echo) as (address, made):
            between = await asyncio.start_server(lambda r, w: relay(address, r, w), "127.0.0.1", 0)
            client = await connected(between.sockets[0].getsockname())
            data = random.Random(5).randbytes(40_000)
            client.transport.write(data)
            await client.until(lambda own: len(own.data) >= len(data))
            assert client.data == data
            assert made[0].data == data
            client.transport.close()
            await client.lost
            await made[0].lost
            between.close()
            await between.wait_closed()

    loop.run_until_complete(main())


def test_what_is_known_of_a_connection(loop: Loop) -> None:
    async def main() -> None:
        async with served(echo) as (address, _):
            client = await connected(address)
            transport = client.transport
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
            assert transport.get_extra_info("cipher")[1] == "TLSv1.3"
            assert transport.get_extra_info("compression") is None
            assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
            assert isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext)
            assert transport.get_extra_info("peername") == address
            assert transport.get_extra_info("socket").getpeername() == address
            assert transport.get_extra_info("nothing", 7) == 7
            assert not transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
                transport.write("x")
            transport.close()
            transport.close()
            await client.lost

    loop.run_until_complete(main())


def test_a_host_that_nobody_trusts(loop: Loop) -> None:
    loop.set_exception_handler(lambda *_: None)

    async def main() -> None:
        async with served() as (address, _):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connected(address, ssl=ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError):
                await connected(address, server_hostname="example.org")

    loop.run_until_complete(main())


def test_a_peer_that_speaks_something_else(loop: Loop) -> None:
    loop.set_exception_handler(lambda *_: None)

    async def main() -> None:
        async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connected(server.sockets[0].getsockname())
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_peer_that_says_nothing(loop: Loop) -> None:
    async def main() -> None:
        words = r"SSL handshake is taking longer than 0\.05 seconds"
        with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ConnectionAbortedError, match=words):
            await connected(server.getsockname(), ssl_handshake_timeout=0.05)

    loop.run_until_complete(main())


def test_each_side_learns_of_the_end(loop: Loop) -> None:
    async def main() -> None:
        async with served(lambda own: own.transport.close()) as (address, made):
            client = await connected(address)
            client.transport.write(b"end")
            assert await client.lost is None
            assert await made[0].lost is None
            assert client.told == ["connection_made", "eof_received", "connection_lost"]
            for _ in range(10):
                client.transport.write(b"too late")
            client = await connected(address)
            client.transport.abort()
            assert await client.lost is None
            await made[1].lost

    loop.run_until_complete(main())


def test_a_reader_that_pauses_holds_up_the_writer(loop: Loop) -> None:
    async def main() -> None:
        async with served() as (address, made):
            client = await connected(address)
            await begun(made)
            server = made[0]
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            data = b""
            while "pause_writing" not in client.told:
                piece = random.Random(len(data)).randbytes(100_000)
                client.transport.write(piece)
                data += piece
                await asyncio.sleep(0)
            assert client.transport.get_write_buffer_size() > 0
            assert server.data == b""
            server.transport.resume_reading()
            await server.until(lambda own: len(own.data) >= len(data))
            assert server.data == data
            await client.until_told("resume_writing")
            client.transport.close()
            assert await server.lost is None

    loop.run_until_complete(main())


def test_pausing_in_the_middle_of_what_has_come(loop: Loop) -> None:
    async def main() -> None:
        def pause(own: Recorder) -> None:
            own.transport.pause_reading()
            asyncio.get_running_loop().call_soon(own.transport.resume_reading)

        async with served(pause) as (address, made):
            client = await connected(address)
            data = random.Random(3).randbytes(2_000_000)
            client.transport.write(data)
            client.transport.close()
            await client.lost
            await made[0].lost
            assert made[0].data == data

    loop.run_until_complete(main())


class Buffered(asyncio.BufferedProtocol):
    """Receives into a small buffer of its own, and answers."""

    def __init__(self) -> None:
        self.buffer = bytearray(10_000)
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        self.transport.write(bytes(self.buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.mark.parametrize("as_view", [False, True])
def test_a_protocol_with_a_buffer_of_its_own(loop: Loop, as_view: bool) -> None:
    def make() -> Buffered:
        made = Buffered()
        if as_view:
            made.buffer = memoryview(made.buffer)  # type: ignore[assignment]
        else:
            # What the standard library slices is a copy where it is no view.
            made.buffer = memoryview(bytearray(16_384))  # type: ignore[assignment]
        return made

    async def main() -> None:
        async with served(make=make) as (address, made):
            client = await connected(address)
            data = random.Random(4).randbytes(500_000)
            client.transport.write(data)
            await client.until(lambda own: len(own.data) >= len(data))
            assert client.data == data
            client.transport.close()
            await client.lost
            await made[0].lost

    loop.run_until_complete(main())


def test_going_over_to_tls(loop: Loop) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"start\n"
            writer.write(b"go\n")
            await writer.drain()
            protocol = writer.transport.get_protocol()
            transport = await asyncio.get_running_loop().start_tls(
                writer.transport, protocol, server_context(), server_side=True
            )
            protocol._replace_writer(asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))
            transport.write(await reader.readexactly(50_000))
            transport.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Recorder()
        transport, _ = await loop.create_connection(lambda: client, *server.sockets[0].getsockname())
        transport.write(b"start\n")
        await client.until(lambda own: own.data == b"go\n")
        secure = await loop.start_tls(transport, client, client_context(), server_hostname="localhost")
        data = random.Random(8).randbytes(50_000)
        secure.write(data)
        await client.until(lambda own: len(own.data) >= 50_003)
        assert client.data[3:] == data
        assert await client.lost is None
        server.close()
        await server.wait_closed()
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(object(), client, client_context())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
            await loop.start_tls(secure, client, None)  # type: ignore[arg-type]

    if not hasattr(asyncio.StreamReaderProtocol, "_replace_writer"):
        pytest.skip("3.11.0 and later have it")
    loop.run_until_complete(main())


def test_tls_within_tls(loop: Loop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        async def serve(outer: Recorder) -> None:
            inner = Recorder(data_received=echo)
            made.append(inner)
            inner.transport = await asyncio.get_running_loop().start_tls(
                outer.transport, inner, server_context(), server_side=True
            )

        tasks = []
        async with served(make=Recorder) as (address, outers):
            client = await connected(address)
            await begun(outers)
            tasks.append(asyncio.ensure_future(serve(outers[0])))
            await asyncio.sleep(0)
            inner = Recorder()
            secure = await asyncio.get_running_loop().start_tls(
                client.transport, inner, client_context(), server_hostname="localhost"
            )
            await tasks[0]
            data = random.Random(6).randbytes(100_000)
            secure.write(data)
            await inner.until(lambda own: len(own.data) >= len(data))
            assert inner.data == data
            secure.abort()
            await inner.lost
            await made[0].lost

    loop.run_until_complete(main())


def test_an_error_of_the_protocol_ends_the_connection(loop: Loop) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    def fail(own: Recorder) -> None:
        raise KeyError("data")

    async def main() -> None:
        async with served(fail) as (address, made):
            client = await connected(address)
            client.transport.write(b"x")
            assert isinstance(await made[0].lost, KeyError)
            await client.lost

    loop.run_until_complete(main())
    assert [context["message"] for context in told] == ["Fatal error on SSL protocol"]


def test_connections_are_gone_when_they_are_over(loop: Loop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        async with served(echo) as (address, made):
            client = await connected(address)
            client.transport.write(b"x")
            await client.until(lambda own: own.data == b"x")
            client.transport.close()
            await client.lost
            await made[0].lost
            return [weakref.ref(client), weakref.ref(made.pop())]

    gone = loop.run_until_complete(main())
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_transport_that_is_closed_twice_lets_go_of_the_context(loop: Loop) -> None:
    async def main() -> tuple[Recorder, weakref.ref[ssl.SSLContext]]:
        async with served() as (address, made):
            context = client_context()
            client = await connected(address, ssl=context)
            # The protocol keeps its transport, as most do.
            for _ in range(2):
                client.transport.close()
            await client.lost
            await made[0].lost
            return client, weakref.ref(context)

    gc.collect()
    gc.disable()
    try:
        client, context = loop.run_until_complete(main())
        assert client.transport.is_closing()
        assert context() is None
    finally:
        gc.enable()


def test_a_class_of_the_programs_own(loop: Loop) -> None:
    class Counted(ssl.SSLObject):
        reads = 0

        def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002
            Counted.reads += 1
            return super().read(len, buffer) if buffer is not None else super().read(len)

    async def main() -> None:
        async with served(echo) as (address, _):
            context = client_context()
            context.sslobject_class = Counted
            client = await connected(address, ssl=context)
            data = random.Random(2).randbytes(50_000)
            client.transport.write(data)
            await client.until(lambda own: len(own.data) >= len(data))
            assert client.data == data
            assert Counted.reads > 0
            client.transport.close()
            await client.lost

    loop.run_until_complete(main())


def test_a_connection_has_no_large_buffer(own_loop: tercet.EventLoop) -> None:
    async def main() -> None:
        async with served(echo) as (address, _):
            client = await connected(address)
            protocol = client.transport._ssl_protocol
            assert isinstance(protocol, tercet.loop_tls.TlsProtocol)
            assert len(protocol._ssl_buffer) == 0
            assert protocol.max_size == 256 * 1024
            client.transport.close()
            await client.lost

    import tercet.loop_tls

    own_loop.run_until_complete(main())
