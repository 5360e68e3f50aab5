"""`tercet.handle`: how shared memory gets from one process to another."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest

import tercet
from tercet import _tercet, handle, parcel


def test_a_packed_task_keeps_what_it_names() -> None:
    queue: Any = tercet.Queue()
    queue.put(1)
    packed = handle.pack(parcel.pack_any, (queue,))
    del queue
    gc.collect()
    (found,) = __import__("pickle").loads(packed)
    assert found.get_nowait() == 1


def test_without_anything_shared_a_task_is_plain_bytes() -> None:
    assert type(handle.pack(parcel.pack_any, [1])) is bytes


def test_packing_ends_where_it_fails() -> None:
    with pytest.raises(LookupError):
        handle.pack(_fail, tercet.Queue())
    with pytest.raises(RuntimeError, match="through inheritance"):
        parcel.pack_any(tercet.Queue())


def _fail(value: Any) -> bytes:
    parcel.pack_any(value)
    raise LookupError


def test_another_file_behind_the_descriptor_is_noticed() -> None:
    queue = tercet.Queue()
    fd = queue._fileno()
    far = handle._Far(os.getpid(), fd, _tercet.memory_number(fd))
    os.close(far.detach())
    gone = "which owned this shared memory, has closed it or has ended"
    with pytest.raises(FileNotFoundError, match=gone):
        handle._Far(os.getpid(), fd, 0).detach()
    with pytest.raises(FileNotFoundError, match=gone):
        handle._Far(2**22 + 1, fd, 0).detach()
