"""`tercet.message`: how an object becomes a message."""

from __future__ import annotations

import copyreg
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy
import pytest

from tercet.message import pack, pickled


class Registered: ...


def test_small_buffers_stay_in_the_pickle() -> None:
    packed = pack([numpy.zeros(10)])
    assert isinstance(packed, bytes)
    assert (pickle.loads(packed)[0] == 0).all()


def test_large_buffers_are_left_where_they_are() -> None:
    array = numpy.zeros(10_000)
    packed = pack([array, array])
    assert isinstance(packed, tuple)
    data, buffers = packed
    assert len(data) < 1000
    assert [buffer.nbytes for buffer in buffers] == [80_000]
    assert buffers[0].obj is not None
    array[0] = 1
    assert pickle.loads(data, buffers=[bytearray(buffers[0])])[1][0] == 1


def test_what_is_pickled_whole_is_one() -> None:
    assert len(pickled(numpy.zeros(10_000))) > 80_000


@pytest.mark.parametrize("register", [ForkingPickler.register, copyreg.pickle])
def test_what_is_registered_later_is_known(register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", ForkingPickler._extra_reducers)
    kind = type("Kind", (), {})
    register(kind, lambda value: (str, ("found",)))
    assert pickle.loads(pickled(kind())) == "found"
