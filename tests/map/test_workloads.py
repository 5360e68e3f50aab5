"""Whole workloads under `tercet.map`: the right results whatever runs them, and an engine that fits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

import tercet
from tercet.machine import machine
from tercet.source import is_coroutine_function


def run(workload: ModuleType, **options: Any) -> tuple[list[Any], tercet.Advice]:
    end = None
    if hasattr(workload, "setup"):
        place, end = workload.setup()
        items = workload.items(place)
    else:
        items = workload.items()
    try:
        results = tercet.map(workload.task, items, **options)
        return list(results), results.advice
    finally:
        if end is not None:
            end()


def test_auto_gives_the_right_results_on_an_engine_that_fits(workload: ModuleType) -> None:
    results, advice = run(workload)
    assert workload.check(results)
    assert advice.is_final
    assert advice.done == len(results)
    if machine()["cores"] >= 2:
        assert advice.model in workload.BEST, str(advice)


@pytest.mark.parametrize("model", ["plain", "threads", "processes", "event-loop"])
def test_every_model_asked_for_gives_the_right_results(workload: ModuleType, model: str) -> None:
    is_coroutine = is_coroutine_function(workload.task)
    if (model == "event-loop") != is_coroutine and not (is_coroutine and model == "plain"):
        with pytest.raises(ValueError, match=r"event loop|event-loop"):
            run(workload, model=model)
        return
    results, advice = run(workload, model=model)
    if model != "processes" or not getattr(workload, "SHARES_MEMORY", False):
        assert workload.check(results)
    assert advice.model == ("event-loop" if is_coroutine else model)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_given_number_of_workers_is_kept(workload: ModuleType, workers: int) -> None:
    results, advice = run(workload, workers=workers)
    assert workload.check(results)
    assert advice.workers in (1, workers)
