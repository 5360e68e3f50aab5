"""Workloads, each imported as a user's module would be."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tercet.machine import costs

WORKLOADS = sorted(path.stem for path in Path(__file__).with_name("workloads").glob("*.py"))


@pytest.fixture(autouse=True)
def steady_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no choice depend on how busy the machine was when some engine started."""
    monkeypatch.setattr(costs, "process_start_s", 0.03)
    monkeypatch.setattr(costs, "started", lambda seconds: None)
    monkeypatch.setattr(costs, "travelled", lambda seconds: None)


@pytest.fixture(params=WORKLOADS)
def workload(request: pytest.FixtureRequest) -> ModuleType:
    """Each workload in turn."""
    return importlib.import_module(request.param)
