"""Transports of datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import pathlib
import socket
import warnings
import weakref
from typing import Any

import pytest

import tercet
from recorder import DatagramRecorder, Deed

Loop = asyncio.AbstractEventLoop

pytestmark = pytest.mark.usefixtures("no_new_descriptors")


async def endpoint(deeds: dict[str, Deed] | None = None, **options: Any) -> DatagramRecorder:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: DatagramRecorder(**(deeds or {})), **options)
    return protocol


async def closed(*protocols: DatagramRecorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        assert await protocol.lost is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_and_their_addresses(loop: Loop, host: str) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=(host, 0))
        name = server.transport.get_extra_info("sockname")
        near = await endpoint(local_addr=(host, 0))
        far = await endpoint(remote_addr=name[:2])
        assert far.transport.get_extra_info("peername") == name
        assert near.transport.get_extra_info("peername") is None
        assert isinstance(server.transport.get_extra_info("socket"), asyncio.trsock.TransportSocket)
        for turn in range(40):
            for client in (near, far):
                data = bytes([turn]) * (turn * 7)
                if not data:
                    continue
                client.transport.sendto(data, name if client is near else None)
                assert await server.got.get() == (data, client.transport.get_extra_info("sockname"))
                server.transport.sendto(memoryview(data), client.transport.get_extra_info("sockname"))
                assert await client.got.get() == (data, name)
        await closed(server, near, far)
        assert near.told[0] == "connection_made"
        assert near.told[-1] == "connection_lost"

    loop.run_until_complete(main())


def test_a_burst_arrives_in_order_and_others_have_their_turn(loop: Loop) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server.transport.get_extra_info("sockname"))
        for number in range(100):
            client.transport.sendto(b"%d" % number)
        assert [(await server.got.get())[0] for _ in range(100)] == [b"%d" % number for number in range(100)]
        await closed(server, client)

    loop.run_until_complete(main())


def test_a_busy_loop_hears_in_the_next_turns_what_it_has_sent_to_itself(loop: Loop) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server.transport.get_extra_info("sockname"))
        for _ in range(20):
            client.transport.sendto(b"x")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert server.got.get_nowait()[0] == b"x"
        await closed(server, client)

    loop.run_until_complete(main())


def test_what_is_ready_comes_before_what_the_selector_finds(loop: Loop) -> None:
    server = loop.run_until_complete(endpoint(local_addr=("127.0.0.1", 0)))
    client = loop.run_until_complete(endpoint(remote_addr=server.transport.get_extra_info("sockname")))
    # It is there before the first step of what is to hear of it.
    client.transport.sendto(b"x")

    async def main() -> None:
        assert server.told == ["connection_made"]
        assert (await server.got.get())[0] == b"x"
        await closed(server, client)

    loop.run_until_complete(main())


def test_closing_in_the_middle_of_a_burst_ends_it(loop: Loop) -> None:
    async def main() -> None:
        server = await endpoint({"datagram_received": lambda own: own.transport.close()}, local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server.transport.get_extra_info("sockname"))
        for _ in range(5):
            client.transport.sendto(b"x")
        await server.lost
        assert server.told.count("datagram_received") == 1
        await closed(client)

    loop.run_until_complete(main())


def test_the_addresses_that_may_be_sent_to(loop: Loop) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        name = server.transport.get_extra_info("sockname")
        client = await endpoint(remote_addr=name)
        client.transport.sendto(b"the same", (name[0], int(str(name[1]))))
        assert (await server.got.get())[0] == b"the same"
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.transport.sendto(b"x", ("127.0.0.1", 9))
        with pytest.raises(TypeError, match="data argument must be a bytes-like object, not 'str'"):
            client.transport.sendto("x")
        for wrong in (lambda: client.transport.sendto(), lambda: client.transport.sendto(b"x", None, 1)):
            with pytest.raises(TypeError):
                wrong()
        near = await endpoint(local_addr=("127.0.0.1", 0))
        near.transport.sendto(b"a name", addr=("localhost", name[1]))
        assert (await server.got.get())[0] == b"a name"
        await closed(server, client, near)

    loop.run_until_complete(main())


@pytest.mark.parametrize("address", [None, "nowhere", ("127.0.0.1",), ("127.0.0.1", 70000), ("127.0.0.1", "x")])
def test_an_address_that_is_none_ends_the_transport(loop: Loop, address: Any) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def main() -> None:
        near = await endpoint(local_addr=("127.0.0.1", 0))
        near.transport.sendto(b"x", address)
        assert isinstance(await near.lost, (TypeError, OverflowError))

    loop.run_until_complete(main())
    assert [context["message"] for context in told] == ["Fatal write error on datagram transport"]


def test_errors_are_told_to_the_protocol(loop: Loop) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            name = nobody.getsockname()
        client = await endpoint(remote_addr=name)
        client.transport.sendto(b"x")
        assert isinstance(await client.errors.get(), ConnectionRefusedError)
        near = await endpoint(local_addr=("127.0.0.1", 0))
        near.transport.sendto(b"x" * 70000, ("127.0.0.1", 9))
        error = await near.errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EMSGSIZE
        assert not near.transport.is_closing()
        await closed(client, near)

    loop.run_until_complete(main())


def test_what_a_protocol_raises_goes_to_the_handler_and_it_lives_on(loop: Loop) -> None:
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    def fail(own: DatagramRecorder) -> None:
        raise KeyError(own.told[-1])

    async def main() -> None:
        server = await endpoint({"datagram_received": fail}, local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server.transport.get_extra_info("sockname"))
        for _ in range(3):
            client.transport.sendto(b"x")
            await server.got.get()
        await closed(server, client)

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in told] == [KeyError] * 3
    assert all(context["message"].startswith("Exception in callback") for context in told)


def test_what_does_not_fit_waits_and_the_protocol_pauses(loop: Loop, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
            far.bind(str(tmp_path / "far"))
            far.setblocking(False)
            client = await endpoint(remote_addr=str(tmp_path / "far"), family=socket.AF_UNIX)
            transport = client.transport
            transport.set_write_buffer_limits(high=5000)
            assert transport.get_write_buffer_limits() == (1250, 5000)
            count = 0
            while "pause_writing" not in client.told:
                data = bytearray(b"%5d" % count * 100)
                transport.sendto(data)
                data[:] = bytes(500)
                count += 1
            assert transport.get_write_buffer_size() > 5000
            transport.close()
            assert transport.is_closing()
            got = []
            while len(got) < count:
                try:
                    got.append(far.recv(1000))
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert got == [b"%5d" % number * 100 for number in range(count)]
            assert await client.lost is None
            assert client.told[-2:] == ["resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_abort_drops_what_waits(loop: Loop, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
            far.bind(str(tmp_path / "far"))
            client = await endpoint(remote_addr=str(tmp_path / "far"), family=socket.AF_UNIX)
            while not client.transport.get_write_buffer_size():
                client.transport.sendto(b"x" * 1000)
            client.transport.abort()
            assert await client.lost is None
            far.setblocking(False)
            got = 0
            with contextlib.suppress(BlockingIOError):
                while far.recv(1000):
                    got += 1
            assert got > 0

    loop.run_until_complete(main())


def test_unix_addresses(loop: Loop, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=str(tmp_path / "server"), family=socket.AF_UNIX)
        client = await endpoint(local_addr=str(tmp_path / "client"), family=socket.AF_UNIX)
        client.transport.sendto(b"x", str(tmp_path / "server"))
        data, address = await server.got.get()
        assert (data, address) == (b"x", str(tmp_path / "client"))
        server.transport.sendto(b"y", address)
        assert await client.got.get() == (b"y", str(tmp_path / "server"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
            nobody.sendto(b"z", str(tmp_path / "server"))
        assert await server.got.get() == (b"z", None)
        await closed(server, client)

    loop.run_until_complete(main())


def test_sending_on_a_closed_transport_does_no_harm(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = await endpoint(remote_addr=("127.0.0.1", 9))
        await closed(client)
        for _ in range(10):
            client.transport.sendto(b"x")
        client.transport.close()
        client.transport.abort()

    loop.run_until_complete(main())
    assert "socket.send() raised exception." in caplog.text


def test_a_transport_is_what_it_says(own_loop: tercet.EventLoop) -> None:
    async def main() -> None:
        client = await endpoint(remote_addr=("127.0.0.1", 9))
        assert isinstance(client.transport, asyncio.DatagramTransport)
        assert isinstance(client.transport, asyncio.Transport)
        assert repr(client.transport).startswith("<DatagramTransport fd=")
        client.transport.pause_reading()
        assert not client.transport.is_reading()
        client.transport.resume_reading()
        assert client.transport.get_protocol() is client
        await closed(client)
        assert repr(client.transport) == "<DatagramTransport closed>"

    own_loop.run_until_complete(main())


def test_an_unclosed_transport_warns_and_closes(loop: Loop) -> None:
    async def main() -> weakref.ref[Any]:
        client = await endpoint(remote_addr=("127.0.0.1", 9))
        return weakref.ref(client)

    gone = loop.run_until_complete(main())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop.close()
        gc.collect()
    assert gone() is None
    assert any("unclosed transport" in str(one.message) for one in warned)
