"""`tercet.connection`: pipes between processes, beside those of the standard library."""

from __future__ import annotations

import array
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
from typing import Any

import pytest

import tercet

PATIENCE_S = 60
FORK = multiprocessing.get_context("fork")

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=[True, False], ids=["duplex", "simplex"])
def pipe(request: pytest.FixtureRequest, shared: Any) -> Any:
    receiver, sender = shared.Pipe(request.param)
    with receiver, sender:
        yield receiver, sender


def test_objects_and_bytes_come_out_as_they_went_in(pipe: Any) -> None:
    receiver, sender = pipe
    for item in (None, 1, "text", [1, {"a": b"b"}], (1.5,)):
        sender.send(item)
        assert receiver.recv() == item
    for data in (b"", b"abc", bytearray(b"more"), memoryview(b"view"), array.array("i", [1, 2])):
        sender.send_bytes(data)
        assert receiver.recv_bytes() == bytes(data)


def test_a_part_of_the_bytes_is_sent(pipe: Any) -> None:
    receiver, sender = pipe
    sender.send_bytes(b"abcdef", 2)
    sender.send_bytes(b"abcdef", 2, 3)
    sender.send_bytes(b"abcdef", 6)
    assert [receiver.recv_bytes() for _ in range(3)] == [b"cdef", b"cde", b""]
    for arguments in ((-1,), (7,), (0, -1), (4, 3)):
        with pytest.raises(ValueError, match=r"negative|buffer length"):
            sender.send_bytes(b"abcdef", *arguments)


def test_large_messages_come_whole(pipe: Any) -> None:
    receiver, sender = pipe
    data = os.urandom(5_000_000)
    thread = threading.Thread(target=sender.send_bytes, args=(data,))
    thread.start()
    assert receiver.recv_bytes() == data
    thread.join()


def test_bytes_are_received_into_a_buffer(pipe: Any) -> None:
    receiver, sender = pipe
    sender.send_bytes(b"abc")
    room = bytearray(5)
    assert receiver.recv_bytes_into(room, 1) == 3
    assert room == b"\0abc\0"
    sender.send_bytes(array.array("i", [7, 8]))
    items = array.array("i", [0] * 4)
    assert receiver.recv_bytes_into(items, items.itemsize) == 2 * items.itemsize
    assert items.tolist() == [0, 7, 8, 0]
    for offset, words in ((-1, "negative offset"), (6, "offset too large")):
        with pytest.raises(ValueError, match=words):
            receiver.recv_bytes_into(room, offset)
    sender.send_bytes(b"too long")
    with pytest.raises(multiprocessing.BufferTooShort) as caught:
        receiver.recv_bytes_into(room)
    assert caught.value.args == (b"too long",)


def test_a_message_that_is_too_long_ends_it(pipe: Any) -> None:
    receiver, sender = pipe
    sender.send_bytes(b"abc")
    assert receiver.recv_bytes(3) == b"abc"
    with pytest.raises(ValueError, match="negative maxlength"):
        receiver.recv_bytes(-1)
    sender.send_bytes(b"abcd")
    with pytest.raises(OSError, match="bad message length"):
        receiver.recv_bytes(3)


def test_the_other_end_may_be_gone(pipe: Any) -> None:
    receiver, sender = pipe
    sender.send("last")
    sender.close()
    assert receiver.recv() == "last"
    for call in (receiver.recv, receiver.recv_bytes):
        with pytest.raises(EOFError):
            call()
    receiver.close()


def test_nobody_reads_any_more(pipe: Any) -> None:
    receiver, sender = pipe
    receiver.close()
    with pytest.raises(BrokenPipeError):
        sender.send(1)


def test_a_message_that_is_cut_short_says_so(pipe: Any) -> None:
    receiver, sender = pipe
    os.write(sender.fileno(), b"\0\0\0\x09abc")
    sender.close()
    with pytest.raises(OSError, match="got end of file during message"):
        receiver.recv_bytes()


def test_a_closed_end_says_so(shared: Any) -> None:
    here, there = shared.Pipe()
    there.close()
    assert (here.closed, there.closed) == (False, True)
    for call in (there.recv, there.poll, there.fileno, lambda: there.send(1), lambda: there.send_bytes(b"1")):
        with pytest.raises(OSError, match="handle is closed"):
            call()
    here.close()


def test_an_end_is_for_one_thing(shared: Any) -> None:
    receiver, sender = shared.Pipe(duplex=False)
    assert (receiver.readable, receiver.writable, sender.readable, sender.writable) == (True, False, False, True)
    for call in (lambda: receiver.send(1), lambda: receiver.send_bytes(b"1")):
        with pytest.raises(OSError, match="connection is read-only"):
            call()
    for call in (sender.recv, sender.recv_bytes, sender.poll, lambda: sender.recv_bytes_into(bytearray(1))):
        with pytest.raises(OSError, match="connection is write-only"):
            call()


def test_it_is_waited_for_as_the_standard_librarys(pipe: Any) -> None:
    receiver, sender = pipe
    assert (receiver.poll(), receiver.poll(0.01)) == (False, False)
    assert multiprocessing.connection.wait([receiver], 0) == []
    sender.send(1)
    assert (receiver.poll(), receiver.poll(None)) == (True, True)
    assert multiprocessing.connection.wait([receiver], PATIENCE_S) == [receiver]


# --- between processes ----------------------------------------------------------------------------------------


def test_every_start_method_passes_an_end_on(context: Any, sharing: Any) -> None:
    here, there = tercet.Pipe()
    process = context.Process(target=sharing.talk, args=(there,))
    process.start()
    there.close()
    if context.get_start_method() == "fork":
        # As in the standard library the child has both ends, so that it never sees the end of them.
        here.send("over")
        assert here.recv() == "over"
        process.kill()
    else:
        for item in (1, "text", b"x" * 300_000):
            here.send(item)
            assert here.recv() == item
        here.close()
    process.join(PATIENCE_S)
    assert process.exitcode is not None


def test_an_end_of_the_standard_librarys_understands() -> None:
    here, there = tercet.Pipe()
    other = multiprocessing.connection.Connection(os.dup(there.fileno()))
    other.send([1, 2])
    assert here.recv() == [1, 2]
    here.send({"a": b"b" * 30_000})
    assert other.recv() == {"a": b"b" * 30_000}
    other.close()


def test_it_is_the_standard_librarys() -> None:
    assert all(isinstance(end, multiprocessing.connection.Connection) for end in tercet.Pipe())


def test_ends_go_through_pipes(shared: Any) -> None:
    here, there = shared.Pipe()
    one, two = shared.Pipe()
    here.send(two)
    taken = there.recv()
    taken.send("hello")
    assert one.recv() == "hello"


def test_a_closed_end_goes_nowhere() -> None:
    here, _ = tercet.Pipe()
    here.close()
    with pytest.raises(OSError, match="handle is closed"):
        pickle.dumps(here)
