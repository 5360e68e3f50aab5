"""Transports of pipes, and child processes."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import pathlib
import signal
import socket
import sys
import threading
import warnings
from typing import Any

import pytest

import tercet
from recorder import Recorder

Loop = asyncio.AbstractEventLoop

pytestmark = pytest.mark.usefixtures("no_new_descriptors")


async def reader_and_writer() -> tuple[Recorder, Recorder]:
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    _, reader = await loop.connect_read_pipe(Recorder, io.FileIO(out, "rb"))
    _, writer = await loop.connect_write_pipe(Recorder, io.FileIO(into, "wb"))
    return reader, writer


def test_what_is_written_is_read_and_the_end_is_told(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = await reader_and_writer()
        assert isinstance(reader.transport, asyncio.ReadTransport)
        assert isinstance(writer.transport, asyncio.WriteTransport)
        assert isinstance(reader.transport.get_extra_info("pipe"), io.FileIO)
        assert reader.transport.get_extra_info("nothing", 5) == 5
        writer.transport.write(b"one ")
        writer.transport.write(bytearray(b"two "))
        writer.transport.writelines([b"th", memoryview(b"ree")])
        writer.transport.write(b"")
        assert writer.transport.can_write_eof()
        writer.transport.write_eof()
        assert await writer.lost is None
        assert await reader.lost is None
        assert reader.data == b"one two three"
        assert reader.told[0] == "connection_made"
        assert reader.told[-2:] == ["eof_received", "connection_lost"]

    loop.run_until_complete(main())


def test_a_busy_loop_hears_in_the_next_turns_what_it_has_written_to_itself(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = await reader_and_writer()
        for _ in range(20):
            writer.transport.write(b"x")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert "data_received" in reader.told
            reader.told.clear()
        writer.transport.close()
        await reader.lost

    loop.run_until_complete(main())


def test_a_full_pipe_pauses_the_writer(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = await reader_and_writer()
        reader.transport.pause_reading()
        data = bytes(range(256)) * 4000
        writer.transport.write(data[:500_000])
        writer.transport.write(bytearray(data[500_000:]))
        await writer.until_told("pause_writing")
        assert 0 < writer.transport.get_write_buffer_size() < len(data)
        writer.transport.close()
        reader.transport.resume_reading()
        assert await writer.lost is None
        assert await reader.lost is None
        assert reader.data == data
        assert writer.told == ["connection_made", "pause_writing", "resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_the_writer_learns_that_nobody_reads(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = await reader_and_writer()
        reader.transport.close()
        assert await reader.lost is None
        assert await writer.lost is None
        for _ in range(10):
            writer.transport.write(b"too late")
        reader, writer = await reader_and_writer()
        reader.transport.pause_reading()
        writer.transport.write(bytes(1_000_000))
        reader.transport.close()
        assert isinstance(await writer.lost, BrokenPipeError)

    loop.run_until_complete(main())


def test_abort_drops_what_waits(loop: Loop) -> None:
    async def main() -> None:
        reader, writer = await reader_and_writer()
        reader.transport.pause_reading()
        writer.transport.write(bytes(1_000_000))
        writer.transport.abort()
        assert await writer.lost is None
        reader.transport.resume_reading()
        assert await reader.lost is None
        assert len(reader.data) < 1_000_000

    loop.run_until_complete(main())


def test_what_is_no_pipe_is_refused(loop: Loop, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        with open(tmp_path / "file", "wb+") as file:
            with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets and character devices"):
                await loop.connect_write_pipe(Recorder, file)

    loop.run_until_complete(main())


def test_sockets_and_terminals_are_pipes_too(loop: Loop) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        _, reader = await loop.connect_read_pipe(Recorder, near)
        far.send(b"socket")
        far.close()
        await reader.lost
        assert reader.data == b"socket"
        master, slave = os.openpty()
        _, reader = await loop.connect_read_pipe(Recorder, io.FileIO(master, "rb"))
        _, writer = await loop.connect_write_pipe(Recorder, io.FileIO(slave, "wb"))
        writer.transport.write(b"terminal")
        await reader.until_told("data_received")
        writer.transport.close()
        await writer.lost
        # The end of a terminal is an error, which is not for the exception handler.
        assert isinstance(await reader.lost, OSError)
        assert reader.data == b"terminal"

    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    loop.run_until_complete(main())
    assert told == []


def test_unclosed_transports_warn_and_close(loop: Loop) -> None:
    loop.run_until_complete(reader_and_writer())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop.close()
        gc.collect()
    assert sum("unclosed transport" in str(one.message) for one in warned) == 2


def run_child(loop: Loop, *words: str, given: bytes | None = None, **options: Any) -> tuple[Any, bytes, bytes]:
    async def main() -> tuple[Any, bytes, bytes]:
        child = await asyncio.create_subprocess_exec(*words, stdin=-1, stdout=-1, stderr=-1, **options)
        out, error = await child.communicate(given)
        return child.returncode, out, error

    if sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(None)
    return loop.run_until_complete(main())


def test_children_and_what_they_say(loop: Loop) -> None:
    data = os.urandom(300_000)
    assert run_child(loop, "cat", given=data) == (0, data, b"")
    assert run_child(loop, "sh", "-c", "echo no >&2; exit 3") == (3, b"", b"no\n")
    assert run_child(loop, "sh", "-c", "kill -9 $$") == (-9, b"", b"")
    with pytest.raises(FileNotFoundError):
        run_child(loop, "/nowhere/to/be/found")


def test_a_child_in_its_own_pipe(own_loop: tercet.EventLoop) -> None:
    """A pipe can be opened by its name; a pair of sockets cannot."""
    assert run_child(own_loop, "sh", "-c", "cat /dev/stdin", given=b"x") == (0, b"x", b"")


def test_children_need_no_thread_and_leave_no_zombie(own_loop: tercet.EventLoop) -> None:
    async def main() -> None:
        children = [await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1) for _ in range(10)]
        assert threading.active_count() == before
        for child in children:
            assert child._transport.get_extra_info("subprocess").pid == child.pid
            child.stdin.close()
        assert [await child.wait() for child in children] == [0] * 10
        for child in children:
            with pytest.raises(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)

    before = threading.active_count()
    own_loop.run_until_complete(main())


def test_signals_reach_a_child(loop: Loop) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec("sleep", "1000")
        child.send_signal(signal.SIGTERM)
        assert await child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            child.kill()
        child = await asyncio.create_subprocess_exec("sleep", "1000")
        waits = asyncio.ensure_future(child.wait())
        await asyncio.sleep(0)
        waits.cancel()
        child._transport.close()
        assert await child.wait() == -signal.SIGKILL

    if sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(None)
    loop.run_until_complete(main())


def test_a_child_that_was_waited_for_already(own_loop: tercet.EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec("sleep", "1000")
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED)
        assert await child.wait() == 255

    own_loop.run_until_complete(main())
    assert "exit status already read" in caplog.text


def test_a_loop_that_is_closed_before_its_children(own_loop: tercet.EventLoop) -> None:
    child = own_loop.run_until_complete(started())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own_loop.close()
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        del child
        gc.collect()


async def started() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec("sleep", "1000")
