"""`tercet.arrays`: arrays of numpy that processes share."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest

import tercet

PATIENCE_S = 60

pytestmark = pytest.mark.timeout(90)


def test_it_is_an_array_of_zeros() -> None:
    array = tercet.shared_array((3, 4), "int32")
    assert (array.shape, array.dtype, array.any()) == ((3, 4), numpy.dtype("int32"), numpy.False_)
    assert tercet.shared_array(5).tolist() == [0.0] * 5
    assert tercet.shared_array(()).shape == ()
    assert tercet.shared_array((0, 3)).size == 0
    assert isinstance(array.sum(), numpy.int64)


def test_every_start_method_passes_it_on(context: Any, sharing: Any) -> None:
    array = tercet.shared_array((100, 100))
    process = context.Process(target=sharing.fill, args=(array, 2.5))
    process.start()
    process.join(PATIENCE_S)
    assert (array == 2.5).all()


def test_a_task_of_a_pool_writes_where_it_is() -> None:
    with tercet.ProcessPoolExecutor(1) as pool:
        array = tercet.shared_array((4, 5))
        assert pool.submit(_fill, array[1:, ::-2], 1.0).result(PATIENCE_S) == 9.0
        expected = numpy.zeros((4, 5))
        expected[1:, ::-2] = 1
        assert (array == expected).all()
        assert pool.submit(_fill, array.T, 2.0).result(PATIENCE_S) == 40.0
        assert (array == 2).all()


def _fill(array: Any, value: float) -> float:
    array[...] = value
    return float(array.sum())


@pytest.fixture(autouse=True)
def _fill_is_found(sharing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}._fill", sharing.fill)


def test_what_is_computed_from_it_is_a_copy(sharing: Any) -> None:
    array = tercet.shared_array(1000)
    for other in (array + 1, array.copy(), numpy.sqrt(array)):
        restored = pickle.loads(pickle.dumps(other))
        assert (restored == other).all()
        assert type(restored) is numpy.ndarray
    with tercet.ProcessPoolExecutor(1) as pool:
        assert (pool.submit(sharing.give_back, array + 1).result(PATIENCE_S) == 1).all()


def test_it_is_pickled_for_nobody() -> None:
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        pickle.dumps(tercet.shared_array(3))


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="objects of Python cannot be shared"):
        tercet.shared_array(3, object)
    with pytest.raises(ValueError, match="negative dimensions"):
        tercet.shared_array((2, -1))
    with pytest.raises(TypeError):
        tercet.shared_array(3, "no type")


def test_the_memory_goes_with_the_last_part() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    array = tercet.shared_array(1_000_000)
    part = array[10:20]
    del array
    part[:] = 1
    assert count() == before + 1
    del part
    assert count() == before
