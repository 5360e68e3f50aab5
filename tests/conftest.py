"""What every test may use: the profiles of hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings

# `slow` is for the night: `HYPOTHESIS_PROFILE=slow ./x test`. No deadline: a busy machine is not a failure.
settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile("slow", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
