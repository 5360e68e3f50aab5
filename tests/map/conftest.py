"""Workloads and tasks, each loaded from its file as a user's module would be."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tercet.machine import costs

HERE = Path(__file__).parent
WORKLOADS = sorted(path.stem for path in (HERE / "workloads").glob("*.py"))


def load(path: Path) -> ModuleType:
    """Import a file under the name of its stem."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def steady_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no choice depend on how busy the machine was when some engine started."""
    monkeypatch.setattr(costs, "process_start_s", 0.03)
    monkeypatch.setattr(costs, "started", lambda seconds: None)
    monkeypatch.setattr(costs, "travelled", lambda seconds: None)


@pytest.fixture(params=WORKLOADS)
def workload(request: pytest.FixtureRequest) -> ModuleType:
    """Each workload in turn."""
    return load(HERE / "workloads" / f"{request.param}.py")


@pytest.fixture(scope="session")
def tasks() -> ModuleType:
    """Tasks for worker processes."""
    return load(HERE.parent / "unit" / "tasks_for_workers.py")
