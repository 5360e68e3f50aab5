"""Transports of TCP and Unix sockets, with protocols that do the unexpected."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from typing import Any

import pytest

import tercet
from recorder import Deed, Recorder

Loop = asyncio.AbstractEventLoop

pytestmark = pytest.mark.usefixtures("no_new_descriptors")


async def connected(**deeds: Deed) -> tuple[Recorder, socket.socket]:
    """Return a protocol with its transport, and the other end as a plain socket that does not block."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    far.setblocking(False)
    _, protocol = await loop.create_connection(lambda: Recorder(**deeds), sock=near)
    return protocol, far


def test_what_is_sent_arrives_and_the_order_of_calls(loop: Loop) -> None:
    async def main() -> list[Any]:
        protocol, far = await connected()
        with far:
            protocol.transport.write(b"one")
            protocol.transport.write(bytearray(b"two"))
            protocol.transport.writelines([b"th", memoryview(b"r__ee")[::1][:1], b"", b"ee"])
            got = await loop.sock_recv(far, 100)
            while len(got) < 11:
                got += await loop.sock_recv(far, 100)
            assert got == b"onetwothree"
            await loop.sock_sendall(far, b"answer")
            far.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.data == b"answer"
            return protocol.told

    told = loop.run_until_complete(main())
    assert told == ["connection_made", "data_received", "eof_received", "connection_lost"]


def test_data_is_copied_when_it_can_change(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            data = bytearray(b"before")
            protocol.transport.write(data)
            data[:] = b"after!"
            assert await loop.sock_recv(far, 100) == b"before"
            protocol.transport.close()
            await protocol.lost

    loop.run_until_complete(main())


def test_a_write_is_sent_where_that_can_be_seen(loop: Loop) -> None:
    protocol, far = loop.run_until_complete(connected())
    with far:
        # The loop does not run.
        protocol.transport.write(b"x")
        assert far.recv(10) == b"x"

        async def main() -> None:
            protocol.transport.write(b"y")
            assert protocol.transport.get_write_buffer_size() == 0
            assert far.recv(10) == b"y"
            protocol.transport.write(b"z")
            protocol.transport.write_eof()
            assert far.recv(10) == b"z"
            assert far.recv(10) == b""
            with pytest.raises(RuntimeError, match="after write_eof"):
                protocol.transport.write(b"late")
            protocol.transport.close()
            await protocol.lost

        loop.run_until_complete(main())


def test_a_busy_loop_hears_in_the_next_turns_what_it_has_sent_to_itself(loop: Loop) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        _, protocol = await loop.create_connection(Recorder, sock=near)
        _, other = await loop.create_connection(Recorder, sock=far)

        async def hear(what: str) -> None:
            # The loop has something to do in every turn; the first one may have begun already.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert what in other.told
            other.told.clear()

        for _ in range(20):
            protocol.transport.write(b"x")
            await hear("data_received")
            protocol.transport.write(bytes(100_000))
            await hear("data_received")
            await other.until(lambda own: own.data.endswith(bytes(100_000)))
            other.data = b""
        other.told.clear()
        protocol.transport.write_eof()
        await hear("eof_received")
        other.transport.close()
        await protocol.lost

    loop.run_until_complete(main())


def test_a_busy_loop_hears_soon_of_an_end_that_it_has_made(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            found: list[bytes] = []
            loop.add_reader(far, lambda: found.append(far.recv(10)))
            protocol.transport.abort()
            await protocol.lost
            # The callback of the reader is called in the turn after the one that finds it.
            for _ in range(2):
                await asyncio.sleep(0)
            assert found
            loop.remove_reader(far)

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_what_was_written_before_the_end_arrives(loop: Loop, end: str) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            protocol.transport.write(b"last words")
            getattr(protocol.transport, end)()
            assert far.recv(100) == b"last words"
            assert protocol.transport.is_closing()
            assert await protocol.lost is None
            assert protocol.told.count("connection_lost") == 1

    loop.run_until_complete(main())


def test_flow_control(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            transport = protocol.transport
            assert transport.get_write_buffer_limits() == (16384, 65536)
            big = bytes(range(256)) * 16384
            transport.write(big)
            assert protocol.told[-1] == "pause_writing"
            assert transport.get_write_buffer_size() > 65536
            transport.close()
            got = b""
            while len(got) < len(big):
                got += await loop.sock_recv(far, 1 << 20)
            assert got == big
            assert await protocol.lost is None
            assert protocol.told[1:] == ["pause_writing", "resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_limits(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            protocol.transport.set_write_buffer_limits(high=0)
            assert protocol.transport.get_write_buffer_limits() == (0, 0)
            protocol.transport.set_write_buffer_limits(low=100)
            assert protocol.transport.get_write_buffer_limits() == (100, 400)
            with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                protocol.transport.set_write_buffer_limits(high=1, low=2)
            protocol.transport.close()
            await protocol.lost

    loop.run_until_complete(main())


def test_pausing(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            protocol.transport.pause_reading()
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            far.send(b"x")
            # A byte through another pair of sockets comes later than one that was ready before.
            near, other = socket.socketpair()
            with near, other:
                near.setblocking(False)
                other.send(b"y")
                await loop.sock_recv(near, 1)
            assert protocol.data == b""
            protocol.transport.resume_reading()
            assert protocol.transport.is_reading()
            far.close()
            await protocol.lost
            assert protocol.data == b"x"

    loop.run_until_complete(main())


DEEDS: dict[str, Deed] = {
    "close": lambda protocol: protocol.transport.close(),
    "abort": lambda protocol: protocol.transport.abort(),
    "write": lambda protocol: protocol.transport.write(b"w" * 10),
    "write much": lambda protocol: protocol.transport.write(b"w" * 1_000_000),
    "size": lambda protocol: protocol.transport.get_write_buffer_size(),
    "pause": lambda protocol: (
        protocol.transport.pause_reading(),
        protocol.loop.call_soon(protocol.transport.resume_reading),
    ),
    "protocol": lambda protocol: protocol.transport.set_protocol(protocol),
    "eof": lambda protocol: protocol.transport.write_eof(),
    "raise": lambda protocol: 1 // 0,
    "collect": lambda protocol: gc.collect(),
    "limits": lambda protocol: protocol.transport.set_write_buffer_limits(0),
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "pause_writing", "connection_lost"]
)
def test_protocols_may_do_anything_anywhere(loop: Loop, where: str, deed: str) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> list[Any]:
        protocol, far = await connected(**{where: DEEDS[deed]})
        if where == "pause_writing":
            protocol.transport.write(b"p" * 3_000_000)
        try:
            far.send(b"data")
            far.shutdown(socket.SHUT_WR)
            # The far end takes everything, so that whatever was written is sent.
            while await loop.sock_recv(far, 1 << 20):
                pass
        except OSError:
            pass
        far.close()
        if (where, deed) == ("connection_lost", "raise"):
            while not reports:
                await asyncio.sleep(0)
        else:
            await protocol.lost
        return protocol.told

    told = loop.run_until_complete(asyncio.wait_for(main(), 30))
    assert told[0] == "connection_made"
    assert told.count("connection_lost") == 1
    assert told[-1] == "connection_lost"
    assert bool(reports) == (deed == "raise" and where in told)


def test_an_error_of_the_protocol_is_fatal_and_reported(loop: Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> None:
        protocol, far = await connected(data_received=lambda _: 1 // 0)
        with far:
            far.send(b"x")
            assert isinstance(await protocol.lost, ZeroDivisionError)
            assert reports[0]["message"] == "Fatal error: protocol.data_received() call failed."
            assert reports[0]["protocol"] is protocol
            assert reports[0]["transport"] is protocol.transport

    loop.run_until_complete(main())


def test_a_reset_is_told_and_not_reported(loop: Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            _, protocol = await loop.create_connection(Recorder, *server.getsockname())
            far, _ = server.accept()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            error = await protocol.lost
            assert isinstance(error, ConnectionResetError)
            assert error.errno == 104
            for _ in range(10):
                protocol.transport.write(b"late")

    loop.run_until_complete(main())
    assert reports == []


def test_a_protocol_is_replaced(loop: Loop) -> None:
    async def main() -> None:
        protocol, far = await connected()
        with far:
            other = Recorder()
            protocol.transport.set_protocol(other)
            assert protocol.transport.get_protocol() is other
            far.send(b"x")
            far.close()
            await other.lost
            assert (protocol.told, other.data) == (["connection_made"], b"x")

    loop.run_until_complete(main())


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, loop: Loop, size: int) -> None:
        self.buffer = bytearray(size)
        self.data = b""
        self.lost = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> Any:
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost.set_result(error)


@pytest.mark.parametrize("size", [0, 1, 3, 1000])
def test_buffered_protocols(loop: Loop, size: int) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))

    async def main() -> None:
        near, far = socket.socketpair()
        with far:
            _, protocol = await loop.create_connection(lambda: Buffered(loop, size), sock=near)
            far.send(b"0123456789")
            far.shutdown(socket.SHUT_WR)
            error = await protocol.lost
            if size:
                assert (error, protocol.data) == (None, b"0123456789")
            else:
                assert isinstance(error, RuntimeError)
                assert reports[0]["message"] == "Fatal error: protocol.get_buffer() call failed."

    loop.run_until_complete(main())


def test_extra_info(loop: Loop) -> None:
    async def main() -> None:
        made: asyncio.Future[Recorder] = loop.create_future()
        server = await loop.create_server(lambda: Recorder(connection_made=made.set_result), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(Recorder, *address)
        far = (await made).transport
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(far, asyncio.Transport)
        assert transport.get_extra_info("peername") == address == far.get_extra_info("sockname")
        assert far.get_extra_info("peername") == transport.get_extra_info("sockname")
        assert far.get_extra_info("nothing", 7) == 7
        sock = far.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()
        await client.lost
        await made.result().lost
        assert far.get_extra_info("peername") == transport.get_extra_info("sockname")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_an_unclosed_transport_warns_and_is_closed(loop: Loop) -> None:
    async def main() -> socket.socket:
        protocol, far = await connected()
        protocol.transport.pause_reading()
        return far

    far = loop.run_until_complete(main())
    with far:
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            gc.collect()
        assert far.recv(1) == b""


def test_a_transport_takes_attributes_and_methods_of_others(loop: Loop) -> None:
    class Held:
        pass

    async def main() -> weakref.ref[Any]:
        protocol, far = await connected()
        transport, written = protocol.transport, []
        transport.write = written.append
        transport.held, transport.itself = Held(), transport
        transport.write(b"one")
        del transport.write
        transport.write(b"two")
        transport.close()
        await protocol.lost
        assert (written, far.recv(10)) == ([b"one"], b"two")
        far.close()
        return weakref.ref(transport.held)

    gone = loop.run_until_complete(main())
    gc.collect()
    assert gone() is None


def test_cycles_of_transports_are_collected(loop: Loop) -> None:
    async def main() -> weakref.ref[Any]:
        protocol, far = await connected()
        protocol.transport.close()
        await protocol.lost
        far.close()
        return weakref.ref(protocol.transport)

    gone = loop.run_until_complete(main())
    gc.collect()
    assert gone() is None


def test_the_loop_ends_while_transports_are_open(own_loop: tercet.EventLoop) -> None:
    protocol, far = own_loop.run_until_complete(connected())
    protocol.transport.write(b"x")
    own_loop.close()
    with far:
        assert far.recv(1) == b"x"
        del protocol
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            gc.collect()
        assert far.recv(1) == b""


def test_operations_on_one_socket_after_another_of_the_same_number(loop: Loop) -> None:
    async def main() -> None:
        numbers = set()
        for place in range(20):
            near, far = socket.socketpair()
            near.setblocking(False)
            numbers.add(near.fileno())
            loop.call_soon(far.send, bytes([place]))
            assert await loop.sock_recv(near, 10) == bytes([place])
            loop.call_soon(far.send, b"again")
            assert await loop.sock_recv(near, 10) == b"again"
            near.close()
            far.close()
        assert len(numbers) < 20

    loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_who_stops_waiting_watches_no_more(loop: Loop) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(near, 10), 0.001)
            assert not loop.remove_reader(near)
            far.send(b"x")
            assert await loop.sock_recv(near, 10) == b"x"

    loop.run_until_complete(main())


def test_sendfile_over_a_transport(loop: Loop, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 50_000)

    async def main() -> None:
        protocol, far = await connected()
        with far, path.open("rb") as file:
            protocol.transport.write(b"head")
            sending = loop.create_task(loop.sendfile(protocol.transport, file))
            got = b""
            while len(got) < 500_004:
                got += await loop.sock_recv(far, 1 << 20)
            assert await sending == 500_000
            assert got == b"head" + path.read_bytes()
            protocol.transport.write(b"tail")
            assert await loop.sock_recv(far, 10) == b"tail"
            protocol.transport.close()
            await protocol.lost

    loop.run_until_complete(main())


def test_many_connections_and_one_server(loop: Loop) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        async def ask(place: int) -> None:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"%05d" % place)
            assert await reader.read() == b"%05d" % place
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*(ask(place) for place in range(200)))
        server.close()
        await server.wait_closed()

    loop.run_until_complete(asyncio.wait_for(main(), 60))
