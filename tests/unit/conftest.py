"""A native half that says what a test wants it to say.

`FakeNative` stands for `tercet._tercet`: its verdicts are made by a function of the profile, and its probe has seen
what the test says. With it, and a clock of its own, a pilot can be led step by step.
"""

from __future__ import annotations

import contextvars
import importlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

import tasks_for_sharing
from stage_for_pools import gate, run  # noqa: F401 - fixtures

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
        self.answer: Callable[[Verdict], Verdict] = lambda profile: make_verdict("nothing", 1, 1.0)
        self.cores = cores
        self.has_gil = has_gil
        self.profiles: list[Verdict] = []
        self.probes: list[FakeProbe] = []
        self.seen: dict[str, Any] = {"samples": 0, "shares": {}, "wall_s": 0.0, "cpu_s": 0.0, "queue_delay_s": 0.0}

    def see(self, samples: int, cpu_s: float = 0.0, **shares: float) -> None:
        """From now on, the probe has seen this: kinds by name, ``cpu_gil`` for ``cpu-gil``."""
        kinds = {name.replace("_", "-"): share for name, share in shares.items()}
        self.seen = {**self.seen, "samples": samples, "wall_s": samples / 2000, "cpu_s": cpu_s, "shares": kinds}

    def decide(self, profile: str) -> str:
        self.profiles.append(json.loads(profile))
        return json.dumps(self.answer(self.profiles[-1]))

    def machine(self) -> dict[str, Any]:
        return {"cores": self.cores, "has_gil": self.has_gil}

    def Probe(self, hz: float) -> FakeProbe:
        return FakeProbe(self, hz)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> FakeNative:
    """The fake in the place of the real one, in every module that asks for it."""
    fake = FakeNative()
    for module in ("machine", "pilot", "probe"):
        monkeypatch.setattr(f"tercet.{module}.native", lambda: fake)
    return fake


@pytest.fixture(scope="session")
def sharing() -> ModuleType:
    """What other processes do with what they share."""
    return tasks_for_sharing


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def context(request: pytest.FixtureRequest) -> Any:
    """Each start method of `multiprocessing`."""
    import multiprocessing

    return multiprocessing.get_context(request.param)


@pytest.fixture(params=["stdlib", "tercet"])
def shared(request: pytest.FixtureRequest) -> Any:
    """Where queues, locks and values come from: the standard library is right, and tercet does the same."""
    if request.param == "tercet":
        return importlib.import_module("tercet")
    import multiprocessing

    return multiprocessing.get_context("fork")


class Bench:
    """An engine at work on real items, with everything that a run would do around it."""

    def __init__(self, name: str, fn: Callable[..., Any], items: Iterable[Any], **more: Any) -> None:
        from tercet.course import Course
        from tercet.engine import Work, open_engine
        from tercet.portable import pack
        from tercet.purity import study

        listed = items if isinstance(items, Iterator) else list(items)
        self.told = threading.Event()
        given = {key: more.pop(key) for key in ("form", "is_pure", "is_strict", "stops_at_error") if key in more}
        work = Work(fn, contextvars.copy_context(), told=self.told.set, **given)
        is_ready = isinstance(listed, Iterator) or "form" in given
        source = iter(listed) if is_ready else ((item,) for item in listed)
        total = None if isinstance(listed, Iterator) else len(listed)
        self.course = Course(source, total, more.pop("window", 1000), 10_000, is_at_hand=total is not None)
        self.course.close_home(None)
        limit = more.pop("limit", 2)
        options = {"baggage": pack(fn, study(fn)), "workers": limit, **more} if name == "processes" else more
        self.engine = open_engine(name, work, self.course, **options)
        self.engine.resize(limit)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.course.close()
        self.engine.close(30, kills=True)

    def results(self) -> list[Any]:
        """All results in order, up to the first error, which is raised."""
        found: list[Any] = []
        while not self.course.is_over:
            some, error = self.course.collect()
            found += some
            if error is not None:
                raise error
            if not some:
                self.course.wait(None)
        return found


@pytest.fixture
def bench() -> type[Bench]:
    """Where an engine is tried on its own."""
    return Bench
