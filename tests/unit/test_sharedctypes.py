"""`tercet.sharedctypes`: values and arrays of `ctypes`, beside those of the standard library."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.sharedctypes
import pickle
from typing import Any

import pytest

import tercet

PATIENCE_S = 60
FORK = multiprocessing.get_context("fork")

pytestmark = pytest.mark.timeout(90)


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_int)]


def test_values_hold_what_they_are_given(shared: Any) -> None:
    assert [shared.Value(*pair).value for pair in (("i", -7), ("d", 1.5), ("c", b"x"), ("q",))] == [-7, 1.5, b"x", 0]
    value = shared.Value(Point, 1.5, 2)
    value.y += 1
    assert (value.x, value.y) == (1.5, 3)
    assert shared.RawValue("H", 9).value == 9


def test_arrays_hold_what_they_are_given(shared: Any) -> None:
    array = shared.Array("i", range(5))
    array[1:3] = [7, 8]
    assert (len(array), array[:], array[-1]) == (5, [0, 7, 8, 3, 4], 4)
    assert shared.Array("d", 3)[:] == [0.0] * 3
    assert shared.RawArray(ctypes.c_short, [1, 2])[:] == [1, 2]
    text = shared.Array("c", 4)
    text.value = b"ab"
    assert (text.value, text.raw) == (b"ab", b"ab\0\0")
    assert shared.Array("i", 0)[:] == []
    assert sum(shared.RawArray("B", 10_000_000)) == 0


def test_a_lock_may_be_brought(shared: Any) -> None:
    lock = shared.Lock()
    assert shared.Value("i", lock=lock).get_lock() is lock
    assert shared.Array("i", 1, lock=lock).get_lock() is lock
    assert not hasattr(shared.Value("i", lock=False), "get_lock")
    assert isinstance(shared.Array("i", 1, lock=False), ctypes.Array)
    with pytest.raises(AttributeError, match="has no method 'acquire'"):
        shared.Value("i", lock="no lock")
    with shared.Value("i") as held:
        assert held is True


def test_what_is_wrong_is_refused(shared: Any) -> None:
    with pytest.raises(TypeError):
        shared.Value("i", "text")
    with pytest.raises(TypeError):
        shared.RawValue("?!")
    with pytest.raises(ValueError, match=r"."):
        shared.RawArray("i", -1)


def test_they_are_pickled_for_nobody(shared: Any) -> None:
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        pickle.dumps(shared.Value("i"))


def test_no_increment_is_lost(shared: Any, sharing: Any) -> None:
    value = shared.Value("i")
    adding = [FORK.Process(target=sharing.add, args=(value, 2000)) for _ in range(3)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    assert value.value == 6000


def test_every_start_method_passes_them_on(context: Any, sharing: Any) -> None:
    values = [tercet.Value("i", index) for index in range(3)]
    processes = [context.Process(target=sharing.add, args=(value, 10)) for value in values]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert [value.value for value in values] == [10, 11, 12]


@pytest.mark.parametrize(
    "make", [lambda: tercet.RawValue("i"), lambda: tercet.RawArray("d", 3), lambda: tercet.Value(Point)]
)
def test_a_pool_passes_each_on(make: Any, sharing: Any) -> None:
    with tercet.ProcessPoolExecutor(1) as pool:
        assert pool.submit(repr, make()).result(PATIENCE_S)


def test_they_are_the_standard_librarys() -> None:
    assert isinstance(tercet.Value("i"), multiprocessing.sharedctypes.Synchronized)
    assert isinstance(tercet.Array("i", 1), multiprocessing.sharedctypes.SynchronizedArray)
    assert isinstance(tercet.Array("c", 1), multiprocessing.sharedctypes.SynchronizedString)


def test_other_objects_of_ctypes_are_pickled_as_before() -> None:
    tercet.RawValue("i")
    assert pickle.loads(pickle.dumps(ctypes.c_int(5))).value == 5
    mine, theirs = tercet.RawValue("i", 1), multiprocessing.RawValue("i", 2)
    assert (mine.value, theirs.value) == (1, 2)
