"""`tercet.machine`: the facts of the machine, and costs that are learnt."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tercet import machine as module
from tercet.machine import Costs, machine, processors


def test_the_facts_are_those_that_decide_reads(native: Any) -> None:
    assert set(machine()) == {"cores", "has_gil", "thread_task_s", "process_start_s", "process_task_s"}
    assert machine()["cores"] == native.cores


def test_processors_are_counted_as_the_standard_library_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert processors() == 3
    # Before 3.13 there is no such function.
    monkeypatch.delattr(os, "process_cpu_count")
    assert processors() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1


def test_items_that_travel_together_share_the_cost_of_the_trip(native: Any) -> None:
    assert machine(10)["process_task_s"] == pytest.approx(machine(1)["process_task_s"] / 10)
    assert machine(0.1)["process_task_s"] == machine(1)["process_task_s"]


def test_the_first_start_replaces_the_guess_and_later_ones_weigh_in() -> None:
    costs = Costs()
    costs.started(0.2)
    assert costs.process_start_s == pytest.approx(0.2)
    costs.started(0.1)
    assert costs.process_start_s == pytest.approx(0.15)


def test_one_long_trip_moves_the_figure_a_little() -> None:
    costs = Costs()
    before = costs.process_trip_s
    costs.travelled(before + 0.1)
    assert before < costs.process_trip_s < before + 0.01


def test_what_is_learnt_is_what_the_profile_says(native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Costs()
    fresh.started(0.3)
    monkeypatch.setattr(module, "costs", fresh)
    assert machine()["process_start_s"] == pytest.approx(0.3)


def test_the_real_native_half_has_what_a_map_uses() -> None:
    known = module.native()
    assert known.machine()["cores"] >= 1
    assert isinstance(known.machine()["has_gil"], bool)
    assert {"decide", "Probe"} <= set(dir(known))
