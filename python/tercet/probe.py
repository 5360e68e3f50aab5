"""What the first tasks cost, and the profile that the decision reads.

Two senses: the clocks of the thread that runs tasks one after another, and the native probe, which looks at that thread
from outside the GIL, also in the middle of a task. The clocks say how long; the probe says what it was.

A `Sight` is one stretch of time as both saw it; `profile_of` turns it into the facts that `decide` knows from any
source, so that a map and `tercet why` can never disagree about the same program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tercet.machine import machine, native

if TYPE_CHECKING:
    from tercet.home import Home
    from tercet.portable import Journey

__all__ = ["Eye", "Sight", "profile_of"]

_PROBE_HZ = 2000.0

_COMPUTES = ("cpu-gil", "cpu-nogil", "gc")
_WAITS = ("network", "disk", "pipe", "child", "sleep", "loop-idle")
_PASSES = (*_WAITS, "lock", "process-lock", "gil-held", "other")
_GLIMPSED = 10
_HAND_OVERS = 0.25
_TRIFLE = 0.005
_INSIDE = 0.8
_HORIZON_S = 1.0
"""Where nobody knows how much is left, at least so much is expected."""


class Sight(NamedTuple):
    """What tasks did in a stretch of time, one at a time in one thread.

    Attributes
    ----------
    finished
        How many tasks ended.
    wall_s, cpu_s
        Time inside tasks, and processor time of their thread.
    extra_cpu_s
        Processor time of child programs that the tasks have started.
    kinds
        Share of each kind of moment, as the probe saw it; empty where it saw nothing.
    samples
        How many moments that rests on.
    queued_s
        Time in which the thread was ready to run and had no processor, by the kernel's counter.
    """

    finished: int
    wall_s: float
    cpu_s: float
    extra_cpu_s: float = 0.0
    kinds: Mapping[str, float] = MappingProxyType({})
    samples: int = 0
    queued_s: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether a whole task was seen."""
        return self.finished > 0

    @property
    def own_s(self) -> float:
        """Wall time inside tasks, without what the thread waited for the GIL or for a processor."""
        queued_s = self.queued_s or self.wall_s * self.kinds.get("runnable", 0.0)
        others_s = queued_s + self.wall_s * self.kinds.get("gil-wait", 0.0)
        return max(self.wall_s - others_s, self.cpu_s, 0.05 * self.wall_s)

    @property
    def task_s(self) -> float:
        """Time of one task alone. One that has not ended is expected to take as long again."""
        return self.own_s / self.finished if self.finished else 2.0 * self.own_s

    def shares(self) -> dict[str, float]:
        """Share of the time inside tasks for each kind. They sum to one.

        How much of it is computing, the clock of the thread says best; the moments seen divide computing and waiting
        into kinds. Time in which the thread was ready and waited for the GIL or for a processor is not the tasks' own.
        """
        computing = min(1.0, self.cpu_s / self.own_s) if self.own_s > 0.0 else 1.0
        found = {
            **_divided(computing, _without_hand_overs(self.kinds), _COMPUTES, "cpu-gil"),
            **_divided(1.0 - computing, self.kinds, _PASSES, "other"),
        }
        whole = sum(found.values()) or 1.0
        return {name: share / whole for name, share in found.items()}

    def computing(self) -> float:
        """Share of the time that a processor is needed."""
        shares = self.shares()
        return sum(shares.get(kind, 0.0) for kind in _COMPUTES)

    def differs_from(self, other: Sight) -> bool:
        """Whether tasks have become something else: four times as long or as short, or other work."""
        ratio = self.task_s / max(other.task_s, 1e-9)
        mine, theirs = self.shares(), other.shares()
        return not 0.25 <= ratio <= 4.0 or any(abs(mine.get(k, 0.0) - theirs.get(k, 0.0)) > 0.25 for k in _COMPUTES)


def _divided(total: float, kinds: Mapping[str, float], names: tuple[str, ...], fallback: str) -> dict[str, float]:
    """`total`, divided as `kinds` are among `names`; all of it `fallback` where none of them was seen."""
    if total <= _TRIFLE:
        return {}
    seen = {name: kinds[name] for name in names if kinds.get(name, 0.0) > 0.0} or {fallback: 1.0}
    whole = sum(seen.values())
    return {name: total * share / whole for name, share in seen.items()}


def _without_hand_overs(kinds: Mapping[str, float]) -> Mapping[str, float]:
    """The same kinds, with a little computing without the GIL beside much with it taken for the GIL being passed on."""
    gil, nogil = kinds.get("cpu-gil", 0.0), kinds.get("cpu-nogil", 0.0)
    return {**kinds, "cpu-gil": gil + nogil, "cpu-nogil": 0.0} if 0.0 < nogil <= _HAND_OVERS * gil else kinds


class Eye:
    """Looks at the thread that runs tasks in place, with its clocks and with the native probe.

    Parameters
    ----------
    home
        That thread.
    clock
        Seconds that only go forward.
    """

    def __init__(self, home: Home, clock: Callable[[], float]) -> None:
        self._home = home
        self._clock = clock
        self._probe: Any = None
        self._mark = (0, 0.0, 0.0)
        self._children_s = 0.0
        self._since = 0.0
        self._queued_s = 0.0
        self._thread = 0
        self.blindness: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has begun to look."""
        return self._probe is not None

    @property
    def is_blind(self) -> bool:
        """Whether the clocks have to do, because there is no probe."""
        return self.blindness is not None

    def open(self) -> None:
        """Begin to look."""
        try:
            self._probe = native().Probe(_PROBE_HZ)
        except (AttributeError, OSError) as error:
            self._probe = _Blind()
            self.blindness = f"the waits of the tasks could not be told apart: {error}"
        self.begin()

    def begin(self) -> None:
        """Begin a new stretch of time."""
        self._mark, self._since = self._home.so_far(), self._clock()
        self._children_s = _children_cpu_s()
        self._thread = self._home.native_thread
        self._queued_s = _queued_s(self._thread)
        if self._thread:
            self._probe.watch(self._thread)

    def sight(self) -> Sight:
        """What the tasks in place did since the stretch began."""
        if self._home.native_thread != self._thread:
            self.begin()
        figures, now = self._home.so_far(), self._clock()
        seen = self._probe.read()
        ran, wall_s, cpu_s = (after - before for after, before in zip(figures, self._mark, strict=True))
        inside = min(1.0, wall_s / max(1e-9, now - self._since))
        kinds = _of_tasks(seen, inside, cpu_s)
        return Sight(
            finished=max(0, int(ran)),
            wall_s=max(0.0, wall_s),
            cpu_s=max(0.0, cpu_s),
            extra_cpu_s=max(0.0, _children_cpu_s() - self._children_s),
            kinds=kinds,
            samples=seen["samples"] if kinds else 0,
            queued_s=inside * max(0.0, _queued_s(self._thread) - self._queued_s),
        )

    def turn_to(self, thread: int) -> None:
        """Look at another thread: a worker whose tasks are in doubt."""
        if self._probe is not None:
            self._probe.watch(thread)

    def glimpse(self) -> Sight | None:
        """What the other thread did since then, as one unfinished task; ``None`` where too little was seen."""
        if self._probe is None or (seen := self._probe.read())["samples"] < _GLIMPSED:
            return None
        return Sight(0, seen["wall_s"], seen["cpu_s"], 0.0, seen["shares"], seen["samples"], seen["queue_delay_s"])

    def close(self) -> None:
        """Look no more."""
        if self._probe is not None:
            self._probe.stop()
            self._probe = None


def _of_tasks(seen: Mapping[str, Any], inside: float, cpu_s: float) -> Mapping[str, float]:
    """The kinds among what the probe saw that are the tasks' doing: between two results the thread is the caller's own.

    Where it computes little of its own, how computing divides is still the tasks' doing, whatever it waited for.
    """
    kinds: Mapping[str, float] = seen["shares"]
    if inside >= _INSIDE:
        return kinds
    if seen["cpu_s"] - cpu_s <= _HAND_OVERS * cpu_s:
        return {kind: share for kind, share in kinds.items() if kind in _COMPUTES}
    return {}


class _Blind:
    """Stands for the native probe where there is none: it has seen nothing."""

    def watch(self, thread: int) -> None:
        pass

    def read(self) -> dict[str, Any]:
        return {"samples": 0, "shares": {}, "wall_s": 0.0, "cpu_s": 0.0, "queue_delay_s": 0.0}

    def stop(self) -> None:
        pass


def _queued_s(thread: int) -> float:
    """How long a thread of this process was ready to run and had no processor; 0 where nobody counts it."""
    try:
        with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _children_cpu_s() -> float:
    """Processor time of the child programs that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def profile_of(
    sight: Sight,
    *,
    left: int | None,
    is_coroutine: bool,
    is_portable: bool | None = None,
    journey: Journey | None = None,
    items_per_trip: float = 1.0,
    has_processes: bool = False,
) -> dict[str, Any]:
    """Return what was seen as the profile that `decide` reads.

    Parameters
    ----------
    sight
        What tasks did.
    left
        How many items are left, where that is known.
    is_coroutine
        Whether the tasks are coroutines.
    is_portable
        Whether they may go to another process, where that was tried.
    journey
        What sending one there costs, where that was tried.
    items_per_trip
        How many items would travel together.
    has_processes
        Whether worker processes have been started already, and cost nothing more to start.
    """
    shares = sight.shares()
    task_s = max(sight.task_s, 1e-9)
    count = float(left) if left is not None else max(64.0, max(_HORIZON_S, sight.wall_s) / task_s)
    child = sight.extra_cpu_s / sight.wall_s if sight.wall_s > 0.0 else 0.0
    gil = shares.get("cpu-gil", 0.0) + shares.get("gc", 0.0)
    held = shares.get("gil-held", 0.0)
    return {
        "source": "probe",
        "samples": max(sight.samples, sight.finished),
        "wall_s": sight.wall_s,
        "phases": {"body_s": count * task_s},
        "shares": shares,
        "work": {
            "gil": gil,
            "nogil": shares.get("cpu-nogil", 0.0),
            "child_cpu": child,
            "wait": sum(shares.get(kind, 0.0) for kind in (*_WAITS, "other")),
            "lock": shares.get("lock", 0.0) + shares.get("process-lock", 0.0),
            "gil_held": held,
            "gil_serial": gil + held,
            "cpu": sum(shares.get(kind, 0.0) for kind in _COMPUTES) + child,
        },
        "tasks": {
            "count": count,
            "wall_s": task_s,
            "is_coroutine": is_coroutine,
            "is_portable": is_portable,
            "pickle_s": journey.seconds if journey is not None else 0.0,
            "pickle_bytes": float(journey.size) if journey is not None else 0.0,
        },
        "machine": {**machine(items_per_trip), **({"process_start_s": 0.0} if has_processes else {})},
    }
