"""A native half that says what a test wants it to say.

`FakeNative` stands for `tercet._tercet`: its verdicts are made by a function of the profile, and its probe has seen what
the test says. With it, and a clock of its own, a pilot can be led step by step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Verdict = dict[str, Any]


def make_verdict(remedy: str, workers: int | None = None, speedup: float = 4.0, **more: Any) -> Verdict:
    """A verdict with the fields that `decide` always gives."""
    known: Verdict = {
        "remedy": remedy,
        "workers": workers,
        "speedup": speedup,
        "bound": None,
        "confidence": 1.0,
        "sentence": f"the answer is {remedy}",
        "reasons": [{"weight": 1.0, "text": f"because of {remedy}"}],
        "predictions": [],
    }
    return {**known, **more}


class FakeProbe:
    """A probe that has seen what its native half was told."""

    def __init__(self, native: FakeNative, hz: float) -> None:
        self._native = native
        self.watched: list[int] = []
        self.is_stopped = False
        native.probes.append(self)

    def watch(self, thread: int) -> None:
        self.watched.append(thread)

    def read(self) -> dict[str, Any]:
        return dict(self._native.seen)

    def rest(self) -> None: ...

    def stop(self) -> None:
        self.is_stopped = True


class FakeNative:
    """The functions of `tercet._tercet` that a map uses."""

    verdict = staticmethod(make_verdict)

    def __init__(self, *, cores: float = 4.0, has_gil: bool = True) -> None:
        self.answer: Callable[[Verdict], Verdict] = (lambda profile: make_verdict("nothing", 1, 1.0))
        self.cores = cores
        self.has_gil = has_gil
        self.profiles: list[Verdict] = []
        self.probes: list[FakeProbe] = []
        self.seen: dict[str, Any] = {"samples": 0, "shares": {}, "wall_s": 0.0, "cpu_s": 0.0, "queue_delay_s": 0.0}

    def see(self, samples: int, **shares: float) -> None:
        """From now on, the probe has seen this: kinds by name, ``cpu_gil`` for ``cpu-gil``."""
        kinds = {name.replace("_", "-"): share for name, share in shares.items()}
        self.seen = {**self.seen, "samples": samples, "shares": kinds}

    def decide(self, profile: str) -> str:
        self.profiles.append(json.loads(profile))
        return json.dumps(self.answer(self.profiles[-1]))

    def machine(self) -> dict[str, Any]:
        return {"cores": self.cores, "has_gil": self.has_gil}

    def Probe(self, hz: float) -> FakeProbe:  # noqa: N802  # named as the class it stands for
        return FakeProbe(self, hz)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> FakeNative:
    """The fake in the place of the real one, in every module that asks for it."""
    fake = FakeNative()
    for module in ("machine", "pilot", "probe"):
        monkeypatch.setattr(f"tercet.{module}.native", lambda: fake)
    return fake
