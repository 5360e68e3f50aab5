"""Streams: what asyncio's own do on the standard loop is what ours do on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import socket
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import tercet
from tercet import streams

Loop = asyncio.AbstractEventLoop
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

pytestmark = pytest.mark.usefixtures("no_new_descriptors")


@pytest.fixture(params=["standard", "tercet"])
def make_reader(request: pytest.FixtureRequest) -> Callable[..., asyncio.StreamReader]:
    """Return a class of readers."""
    return {"standard": asyncio.StreamReader, "tercet": streams.StreamReader}[request.param]


async def connected(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]],
    use: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]],
    **options: Any,
) -> Any:
    """Serve one client, and return what using the connection came to once both sides are through."""
    served = asyncio.Event()

    async def serve_and_tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            served.set()

    callback = serve_and_tell if inspect.iscoroutinefunction(serve) else served.set() or serve
    server = await asyncio.start_server(callback, "127.0.0.1", 0, **options)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], **options)
        try:
            return await use(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await served.wait()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100_000):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def outcome(loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine came to, its error as words."""
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, 30))
    except Exception as error:
        return type(error), str(error)


# --- what they are --------------------------------------------------------------------------------------------


def test_a_program_gets_streams_with_native_insides(own_loop: tercet.EventLoop) -> None:
    kinds = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kinds.append((type(reader), type(writer)))
        await echo(reader, writer)

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kinds.append(type(reader))
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        writer.write(b"x")
        assert await reader.read(5) == b"x"

    own_loop.run_until_complete(connected(serve, use))
    assert sorted(map(str, kinds)) == sorted(
        map(str, [(streams.StreamReader, streams.StreamWriter), streams.StreamReader])
    )


def test_a_reader_of_somebodys_own_class_is_left_alone(loop: Loop) -> None:
    class Mine(asyncio.StreamReader):
        fed = 0

        def feed_data(self, data: bytes) -> None:
            self.fed += len(data)
            super().feed_data(data)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader = Mine(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        theirs.sendall(b"12345")
        assert await reader.readexactly(5) == b"12345"
        assert type(reader) is Mine
        assert reader.fed == 5
        transport.close()
        theirs.close()
        await protocol._get_close_waiter(None)  # type: ignore[attr-defined]

    loop.run_until_complete(main())


# --- what is awaited ------------------------------------------------------------------------------------------


def test_calls_can_be_given_to_whatever_takes_coroutines(make_loop: Any) -> None:
    async def main() -> list[bytes]:
        found = []

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"one\ntwo\nthree\nfour\nfive\nsix\n")
            task = asyncio.create_task(reader.readline(), name="line")
            assert task.get_coro().__qualname__ == "StreamReader.readline"  # type: ignore[union-attr]
            assert "StreamReader.readline" in repr(task)
            found.append(await task)
            found.append(await asyncio.wait_for(reader.readexactly(4), 20))
            found.extend(await asyncio.gather(reader.readuntil(b"\n")))
            found.append(await asyncio.ensure_future(reader.readline()))
            async with asyncio.timeout(20):
                found.append(await reader.readline())
            async with asyncio.TaskGroup() as group:
                last = group.create_task(reader.read(4))
            found.append(last.result())

        await connected(echo, use)
        return found

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(main()) == [b"one\n", b"two\n", b"three\n", b"four\n", b"five\n", b"six\n"]


def test_a_call_is_a_coroutine_by_its_methods(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    reader.feed_data(b"ab")
    for call in [reader.read(1), reader.readexactly(1)]:
        assert asyncio.iscoroutine(call)
        assert inspect.isawaitable(call)
        assert isinstance(call, Coroutine)
        with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
            call.send(1)
        if make_reader is asyncio.StreamReader:
            call.close()
            call = reader.read(1)
        else:
            # It has begun and failed; a coroutine would still be fresh.
            call.close()
            call = reader.read(1)
        with pytest.raises(StopIteration) as caught:
            call.send(None)
        assert caught.value.value in (b"a", b"b")
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            call.send(None)


def test_a_call_that_nobody_awaits_is_warned_of(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader.read' was never awaited"):
        reader.read(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.read(1).close()
        gc.collect()


def test_an_exception_is_thrown_into_a_call(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    fresh = reader.read(1)
    with pytest.raises(KeyError, match="fresh"):
        fresh.throw(KeyError("fresh"))
    waiting = reader.readline()
    assert asyncio.isfuture(waiting.send(None))
    with pytest.raises(RuntimeError, match=r"readuntil\(\) called while another coroutine is already waiting"):
        reader.readline().send(None)
    with pytest.raises(KeyError, match="waiting"):
        waiting.throw(KeyError("waiting"))
    assert reader._waiter is None
    closed = reader.read(3)
    closed.send(None)
    closed.close()
    assert reader._waiter is None
    with pytest.raises(RuntimeError, match="cannot reuse"):
        closed.send(None)


def test_a_call_is_awaited_by_one(make_reader: Any, loop: Loop) -> None:
    async def wait_for(call: Any) -> Any:
        return await call

    async def main() -> None:
        reader = make_reader(loop=loop)
        call = reader.read(1)
        first = asyncio.create_task(wait_for(call))
        second = asyncio.create_task(wait_for(call))
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            await second
        reader.feed_data(b"x")
        assert await first == b"x"

    loop.run_until_complete(main())


def test_a_cancelled_read_leaves_the_data(loop: Loop) -> None:
    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        task = asyncio.create_task(reader.readexactly(6))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        writer.write(b"abcdef")
        return await reader.readexactly(6)

    assert loop.run_until_complete(connected(echo, use)) == b"abcdef"


def test_a_timeout_leaves_the_reader_as_it_was(loop: Loop) -> None:
    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.001)
        writer.write(b"line\n")
        return await reader.readline()

    assert loop.run_until_complete(connected(echo, use)) == b"line\n"


# --- what they do ---------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Any], Any]] = {
    "read": lambda r: r.read(3),
    "read all": lambda r: r.read(),
    "read nothing": lambda r: r.read(0),
    "read by name": lambda r: r.read(n=2),
    "read a true number": lambda r: r.read(True),
    "read too much": lambda r: r.read(10**30),
    "read words": lambda r: r.read("x"),
    "read None": lambda r: r.read(None),
    "exactly": lambda r: r.readexactly(5),
    "exactly by name": lambda r: r.readexactly(n=5),
    "exactly nothing": lambda r: r.readexactly(0),
    "exactly less": lambda r: r.readexactly(-1),
    "exactly too much": lambda r: r.readexactly(50),
    "exactly a float": lambda r: r.readexactly(2.5),
    "line": lambda r: r.readline(),
    "until": lambda r: r.readuntil(b"--"),
    "until by name": lambda r: r.readuntil(separator=b"e"),
    "until one byte array": lambda r: r.readuntil(bytearray(b"e")),
    "until nothing": lambda r: r.readuntil(b""),
    "until words": lambda r: r.readuntil("x"),
    "until a number": lambda r: r.readuntil(7),
    "until either": lambda r: r.readuntil((b"e-", b"--", b"e")),
    "until none of these": lambda r: r.readuntil(()),
    "until either nothing": lambda r: r.readuntil((b"", b"e")),
    "until long or short": lambda r: r.readuntil((b"one--", b"--")),
    "next": lambda r: r.__anext__(),
    "end": lambda r: r.at_eof(),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("limit", [4, 65536])
@pytest.mark.parametrize("data", [b"", b"one--two\n--\nthree", b"\n\n", b"abcdefghijkl\nmno"])
def test_a_step_does_what_asyncio_does(name: str, limit: int, data: bytes, loop: Loop) -> None:
    found = []
    for make in (asyncio.StreamReader, streams.StreamReader):
        reader = make(limit=limit, loop=loop)
        reader.feed_data(data)
        reader.feed_eof()
        seen = []
        for _ in range(3):

            async def step(reader: Any = reader) -> Any:
                done = STEPS[name](reader)
                return await done if asyncio.iscoroutine(done) else done

            seen.append((outcome(loop, step()), bytes(reader._buffer), repr(reader)))
        found.append(seen)
    # The words about an argument that is no number or no bytes are the interpreter's.
    assert found[0] == found[1]


def test_a_long_line_is_a_value_error_with_the_reason(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(limit=3, loop=loop)
    reader.feed_data(b"too long\nok\n")
    with pytest.raises(ValueError, match="Separator is found, but chunk is longer than limit") as caught:
        loop.run_until_complete(reader.readline())
    assert isinstance(caught.value.__context__, asyncio.LimitOverrunError)
    assert caught.value.__context__.consumed == 8
    assert loop.run_until_complete(reader.readline()) == b"ok\n"


def test_the_end_comes_with_what_there_was(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    reader.feed_data(b"abc")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        loop.run_until_complete(reader.readexactly(5))
    assert (caught.value.partial, caught.value.expected) == (b"abc", 5)
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"more")
    assert reader.at_eof()


@pytest.mark.parametrize("data", [b"ab", bytearray(b"ab"), memoryview(b"ab"), [97, 98], b"", ""])
def test_a_reader_takes_what_a_bytearray_takes(data: Any, make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    reader.feed_data(data)
    reader.feed_eof()
    assert loop.run_until_complete(reader.read()) == (b"ab" if data else b"")


@pytest.mark.parametrize("data", [None, 0, 5, "words", [300], object(), memoryview(b"axbx")[::2]])
def test_a_reader_refuses_what_a_bytearray_refuses(data: Any, loop: Loop) -> None:
    found = []
    for make in (asyncio.StreamReader, streams.StreamReader):
        reader = make(loop=loop)
        try:
            found.append(reader.feed_data(data))
        except Exception as error:
            found.append((type(error), str(error)))
    assert found[0] == found[1]


def test_an_error_is_for_whoever_reads(make_reader: Any, loop: Loop) -> None:
    async def main() -> None:
        reader = make_reader(loop=loop)
        task = asyncio.create_task(reader.readline())
        await asyncio.sleep(0)
        error = KeyError("broken")
        reader.set_exception(error)
        with pytest.raises(KeyError) as caught:
            await task
        assert caught.value is error
        assert reader.exception() is error
        for step in (reader.read, reader.readline, reader.readuntil, reader.__anext__):
            with pytest.raises(KeyError, match="broken"):
                await step()
        with pytest.raises(KeyError, match="broken"):
            await reader.read(0)

    loop.run_until_complete(main())


class Valve(asyncio.Transport):
    """A transport that notes when it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


def test_the_transport_pauses_at_twice_the_limit(make_reader: Any, loop: Loop) -> None:
    reader, valve = make_reader(limit=4, loop=loop), Valve()
    reader.set_transport(valve)
    with pytest.raises(AssertionError, match="Transport already set"):
        reader.set_transport(valve)
    reader.feed_data(b"12345678")
    assert valve.told == []
    reader.feed_data(b"9")
    reader.feed_data(b"0")
    assert valve.told == ["pause"]
    assert "paused" in repr(reader)
    assert loop.run_until_complete(reader.read(5)) == b"12345"
    assert valve.told == ["pause"]
    assert loop.run_until_complete(reader.read(1)) == b"6"
    assert valve.told == ["pause", "resume"]


def test_waiting_for_more_than_the_limit_resumes_the_transport(make_reader: Any, loop: Loop) -> None:
    async def main() -> None:
        reader, valve = make_reader(limit=2, loop=loop), Valve()
        reader.set_transport(valve)
        reader.feed_data(b"12345")
        task = asyncio.create_task(reader.readexactly(7))
        await asyncio.sleep(0)
        assert valve.told == ["pause", "resume"]
        reader.feed_data(b"67")
        assert await task == b"1234567"

    loop.run_until_complete(main())


def test_a_transport_that_cannot_pause_is_forgotten(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(limit=1, loop=loop)
    reader.set_transport(asyncio.Transport())
    reader.feed_data(b"12345")
    assert reader._transport is None
    assert loop.run_until_complete(reader.read(9)) == b"12345"


def test_what_is_done_to_the_buffer_counts(make_reader: Any, loop: Loop) -> None:
    reader = make_reader(loop=loop)
    reader.feed_data(b"abcdef")
    del reader._buffer[:2]
    reader._buffer.extend(b"gh")
    assert loop.run_until_complete(reader.read(3)) == b"cde"
    reader.feed_data(b"ij\n")
    assert loop.run_until_complete(reader.readline()) == b"fghij\n"
    reader._limit = 1
    reader.feed_data(b"long\n")
    with pytest.raises(asyncio.LimitOverrunError):
        loop.run_until_complete(reader.readuntil())


def test_lines_are_iterated_over(make_reader: Any, loop: Loop) -> None:
    async def main() -> list[bytes]:
        reader = make_reader(loop=loop)
        reader.feed_data(b"1\n2\n\n3")
        reader.feed_eof()
        return [line async for line in reader]

    assert loop.run_until_complete(main()) == [b"1\n", b"2\n", b"\n", b"3"]


def test_a_limit_of_nothing_is_refused(make_reader: Any, loop: Loop) -> None:
    with pytest.raises(ValueError, match="Limit cannot be <= 0"):
        make_reader(limit=0, loop=loop)


# --- over a connection ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, 70_000, 3_000_000])
def test_what_is_sent_comes_back(size: int, loop: Loop) -> None:
    data = bytes(place * 7 % 251 for place in range(size))

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        async def send() -> None:
            for begin in range(0, size, 50_000):
                writer.write(data[begin : begin + 50_000])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        found = await reader.readexactly(size)
        assert await reader.read() == b""
        assert reader.at_eof()
        await sending
        return found

    assert loop.run_until_complete(connected(echo, use)) == data


def test_a_slow_reader_holds_up_the_writer(loop: Loop) -> None:
    async def main() -> None:
        written = asyncio.Event()
        go = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            while await reader.read(65536):
                pass
            writer.close()

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def pour() -> None:
                for _ in range(200):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
                written.set()

            pouring = asyncio.create_task(pour())
            while not writer._protocol._paused:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            assert not written.is_set()
            go.set()
            await pouring
            writer.write_eof()
            assert await reader.read() == b""

        await connected(serve, use)

    loop.run_until_complete(asyncio.wait_for(main(), 60))


def test_a_drain_of_a_lost_connection_is_an_error(loop: Loop) -> None:
    async def main() -> list[str]:
        found = []
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read(5) == b"x"
            writer.transport.abort()
            await writer.wait_closed()
            try:
                writer.write(b"late")
                await writer.drain()
            except ConnectionResetError as error:
                found.append(str(error))
            done.set()

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x")
            await done.wait()

        await connected(serve, use)
        return found

    assert loop.run_until_complete(main()) == ["Connection lost"]


def test_a_drain_raises_the_error_of_the_reader(loop: Loop) -> None:
    async def main() -> None:
        raised = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reader.set_exception(KeyError("broken"))
            with pytest.raises(KeyError, match="broken"):
                await writer.drain()
            writer.close()
            raised.set()

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raised.wait()

        await connected(serve, use)

    loop.run_until_complete(main())


def test_a_drain_of_a_closing_writer_gives_way_once(loop: Loop) -> None:
    async def main() -> bool:
        gave_way = asyncio.Event()
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_soon(gave_way.set)
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.drain()
            seen.set_result(gave_way.is_set())

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            return bool(await seen)

        return bool(await connected(serve, use))

    assert loop.run_until_complete(main())


def test_a_plain_function_serves_as_well(loop: Loop) -> None:
    async def main() -> bytes:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"welcome\n")
            writer.close()

        async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            return await reader.readline()

        line: bytes = await connected(serve, use)  # type: ignore[arg-type]
        return line

    assert loop.run_until_complete(main()) == b"welcome\n"


def test_a_reader_that_nobody_has_gets_nothing(loop: Loop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        protocol = writer._protocol  # type: ignore[attr-defined]
        writer._reader = None  # type: ignore[attr-defined]
        del reader
        gc.collect()
        transport = writer.transport
        transport._extra.setdefault("nothing", 0)  # type: ignore[attr-defined]
        theirs.sendall(b"for nobody")
        theirs.close()
        while not transport.is_closing():
            if protocol._connection_lost:
                break
            transport.close() if protocol._stream_reader is None else None
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_unix_streams(loop: Loop, tmp_path: Any) -> None:
    async def main() -> bytes:
        server = await asyncio.start_unix_server(echo, tmp_path / "socket")
        async with server:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.writelines([b"a", b"b\n"])
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

    assert loop.run_until_complete(main()) == b"ab\n"


def test_a_connection_of_streams_leaves_nothing_behind(own_loop: tercet.EventLoop) -> None:
    def count() -> int:
        gc.collect()
        return sum(isinstance(thing, streams.StreamReader | streams.StreamWriter) for thing in gc.get_objects())

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"line\n")
        await reader.readline()

    before = count()
    for _ in range(3):
        own_loop.run_until_complete(connected(echo, use))
    own_loop.run_until_complete(asyncio.sleep(0))
    assert count() == before
