"""What every test may use: the profiles of hypothesis, and tasks for worker processes.

The modules of tasks are in `tests/unit`, which is on the search path of pytest, and so on that of whatever it starts:
everybody imports them by their names, and there is one of each.
"""

from __future__ import annotations

import os
from types import ModuleType

import pytest
from hypothesis import settings

import tasks_for_workers

# `slow` is for the night: `HYPOTHESIS_PROFILE=slow ./x test`. No deadline: a busy machine is not a failure.
settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile("slow", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def tasks() -> ModuleType:
    """Tasks for worker processes."""
    return tasks_for_workers
