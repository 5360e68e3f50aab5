"""`tercet.futures`: futures, `wait` and `as_completed`."""

from __future__ import annotations

import concurrent.futures

import pytest

import tercet


def test_programs_may_put_our_functions_in_the_place_of_the_standard_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent.futures, "wait", tercet.wait)
    monkeypatch.setattr(concurrent.futures, "as_completed", tercet.as_completed)
    mixed = {concurrent.futures.Future(), tercet.Future()}
    for future in mixed:
        future.set_result(1)
    assert tercet.wait(mixed, timeout=10).done == mixed
    assert set(tercet.as_completed(mixed, timeout=10)) == mixed
