"""`tercet.errors`: standard classes underneath, and pickles that survive."""

from __future__ import annotations

import pickle
from concurrent.futures import BrokenExecutor

import pytest

from tercet.errors import NotPortable, RemoteError, RemoteTraceback, WorkerDied


@pytest.mark.parametrize(("ours", "standard"), [(NotPortable, pickle.PicklingError), (WorkerDied, BrokenExecutor)])
def test_existing_except_clauses_keep_working(ours: type[Exception], standard: type[Exception]) -> None:
    with pytest.raises(standard):
        raise ours("oh")


def test_a_remote_error_says_what_the_original_said() -> None:
    error = RemoteError("shop.OutOfStock", "no pears", "Traceback ...")
    assert str(error) == "shop.OutOfStock: no pears"
    assert (error.kind, error.text, error.traceback) == ("shop.OutOfStock", "no pears", "Traceback ...")
    assert str(RemoteError("shop.OutOfStock", "")) == "shop.OutOfStock"


@pytest.mark.parametrize("error", [NotPortable("a"), WorkerDied("b"), RemoteError("c", "d", "e"), RemoteTraceback("f")])
def test_every_error_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.args, str(copy)) == (error.args, str(error))
