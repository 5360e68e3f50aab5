"""`tercet.haste`: the interval at which threads take turns, shortened and put back."""

from __future__ import annotations

import sys

import pytest

from tercet.haste import Haste


def test_threads_take_turns_faster_while_a_pilot_decides() -> None:
    haste, before = Haste(), sys.getswitchinterval()
    with haste:
        assert sys.getswitchinterval() < before
        with haste:
            pass
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == pytest.approx(before)


def test_an_interval_that_somebody_else_has_set_meanwhile_is_left_alone() -> None:
    haste, before = Haste(), sys.getswitchinterval()
    try:
        with haste:
            sys.setswitchinterval(0.002)
        assert sys.getswitchinterval() == pytest.approx(0.002)
    finally:
        sys.setswitchinterval(before)
