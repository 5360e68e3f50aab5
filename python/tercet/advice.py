"""Why a map runs the way it does, for a person and for a program.

An `Advice` is a view of one moment: what the first tasks showed, what follows from it, what was chosen, and what came
of it so far. Asked again later, a map returns a newer one; after the last result it is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

__all__ = ["Advice"]

_WORDS = {
    "cpu-gil": "computing with the GIL",
    "cpu-nogil": "computing without the GIL",
    "gc": "collecting garbage",
    "gil-held": "waiting while holding the GIL",
    "lock": "waiting for a lock",
    "process-lock": "waiting for a lock between processes",
    "network": "waiting for the network",
    "disk": "waiting for the disk",
    "pipe": "waiting for a pipe",
    "child": "waiting for a child process",
    "sleep": "sleeping",
    "loop-idle": "waiting on the event loop",
    "other": "waiting",
}
_WORKERS = {"threads": "thread", "processes": "process"}


class Advice:
    """What was measured, what follows from it, and what came of it.

    Attributes
    ----------
    function
        The name of the function.
    items
        How many items there are, ``None`` where that is unknown.
    done
        How many are done.
    model
        How the items run: ``"plain"``, ``"threads"``, ``"processes"`` or ``"event-loop"``.
    workers
        How many threads, processes, or tasks on the loop at a time.
    profile
        What was measured, as `decide` read it.
    verdict
        What `decide` answered.
    notes
        What else led to the choice: why processes were out of the question, what was run elsewhere.
    elapsed_s
        Time since the first result was asked for, up to the last result.
    in_a_row_s
        The time inside the tasks that are done: about what a plain loop would have taken.
    is_final
        Whether all results are there, or the work has ended otherwise.
    """

    __slots__ = (
        "done",
        "elapsed_s",
        "function",
        "in_a_row_s",
        "is_final",
        "items",
        "model",
        "notes",
        "profile",
        "verdict",
        "workers",
    )
    function: str
    items: int | None
    done: int
    model: str
    workers: int
    profile: Mapping[str, Any]
    verdict: Mapping[str, Any]
    notes: tuple[str, ...]
    elapsed_s: float
    in_a_row_s: float
    is_final: bool

    def __init__(
        self,
        function: str,
        *,
        items: int | None = None,
        done: int = 0,
        model: str = "plain",
        workers: int = 1,
        profile: Mapping[str, Any] | None = None,
        verdict: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        elapsed_s: float = 0.0,
        in_a_row_s: float = 0.0,
        is_final: bool = False,
    ) -> None:
        known = {
            "function": function,
            "items": items,
            "done": done,
            "model": model,
            "workers": workers,
            "profile": MappingProxyType(dict(profile or {})),
            "verdict": MappingProxyType(dict(verdict or {})),
            "notes": notes,
            "elapsed_s": elapsed_s,
            "in_a_row_s": in_a_row_s,
            "is_final": is_final,
        }
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"advice is what was known at one moment: `{name}` cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    @property
    def remedy(self) -> str:
        """What `decide` recommends, a word of the closed list; ``"cannot-tell"`` before anything was measured."""
        return str(self.verdict.get("remedy", "cannot-tell"))

    @property
    def speedup(self) -> float | None:
        """The predicted speed-up of the recommendation; ``None`` where there is no honest figure."""
        found = self.verdict.get("speedup")
        return float(found) if found is not None else None

    @property
    def achieved(self) -> float | None:
        """How many times faster than a plain loop the work was so far; ``None`` before anything is done."""
        if self.done == 0 or self.elapsed_s <= 0.0:
            return None
        return 1.0 if self.model == "plain" else self.in_a_row_s / self.elapsed_s

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, the weightiest first; then the notes."""
        return (*(str(reason["text"]) for reason in self.verdict.get("reasons", ())), *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON."""
        return {
            "function": self.function,
            "items": self.items,
            "done": self.done,
            "model": self.model,
            "workers": self.workers,
            "remedy": self.remedy,
            "speedup": self.speedup,
            "achieved": self.achieved,
            "elapsed_s": self.elapsed_s,
            "in_a_row_s": self.in_a_row_s,
            "is_final": self.is_final,
            "notes": list(self.notes),
            "profile": dict(self.profile),
            "verdict": dict(self.verdict),
        }

    def __str__(self) -> str:
        lines = [self._headline()]
        for label, text in self._rows():
            lines.append(f"  {label + ':':<12} {text}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the same as a small table, for notebooks; every text is escaped."""
        import html

        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top;padding-right:1em">{html.escape(label)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for label, text in self._rows()
        )
        return f'<table><caption style="text-align:left">{html.escape(self._headline())}</caption>{rows}</table>'

    # --- the lines ---

    def _headline(self) -> str:
        items = f"{self.items:,} items" if self.items is not None else f"{self.done:,} items so far"
        line = f"map({self.function}, {items}): {self._choice()}"
        if self.achieved is None or self.model == "plain":
            return line
        return f"{line}, {_seconds(self.elapsed_s)} (in a row about {_seconds(self.in_a_row_s)}, x{self.achieved:.1f})"

    def _choice(self) -> str:
        if self.model == "plain":
            return "the plain loop"
        if self.model == "event-loop":
            return f"the event loop, {self.workers:,} at a time"
        return _count(self.workers, _WORKERS[self.model])

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("seen", self._seen())] if self.profile else []
        if sentence := self.verdict.get("sentence"):
            rows.append(("verdict", str(sentence)))
        if predicted := self._predicted():
            rows.append(("predicted", predicted))
        rows += [("because" if index == 0 else "and", text) for index, text in enumerate(self._facts())]
        rows += [("note", note) for note in self.notes]
        if would := self._would_change():
            rows.append(("would change", would))
        return rows

    def _facts(self) -> list[str]:
        sentence = self.verdict.get("sentence")
        texts = [str(reason["text"]) for reason in self.verdict.get("reasons", ())]
        return [text for text in texts if text != sentence]

    def _seen(self) -> str:
        tasks = self.profile.get("tasks", {})
        shares = sorted(self.profile.get("shares", {}).items(), key=lambda pair: -pair[1])
        parts = [f"{share:.0%} {_WORDS.get(kind, kind)}" for kind, share in shares if share >= 0.005]
        each = tasks.get("wall_s")
        return (f"{_seconds(each)} a task: " if each else "") + ", ".join(parts)

    def _predicted(self) -> str:
        best: dict[str, tuple[float, int]] = {}
        for each in self.verdict.get("predictions", ()):
            known = best.get(each["model"])
            if known is None or each["speedup"] > known[0] * 1.02:
                best[each["model"]] = (each["speedup"], each["workers"])
        is_coroutine = self.profile.get("tasks", {}).get("is_coroutine", False)
        texts = []
        for model, (speedup, workers) in best.items():
            if is_coroutine and model != "event-loop":
                continue
            if model == "event-loop" and not is_coroutine:
                texts.append(f"event loop: `{self.function}` is no coroutine function")
            elif model == "event-loop":
                texts.append(f"event loop x{speedup:.1f}")
            else:
                texts.append(f"{_count(workers, _WORKERS[model])} x{speedup:.1f}")
        return " | ".join(texts)

    def _would_change(self) -> str:
        """What would have to be different for another verdict: the nearest thing, in words."""
        shares = self.profile.get("shares", {})
        machine = self.profile.get("machine", {})
        computing = shares.get("cpu-gil", 0.0)
        if self.model == "plain" and computing > 0.5 and self.notes:
            return "a function that workers can import and that leaves shared things alone; or `pure=True`, if it does"
        if self.model == "plain" and computing > 0.5:
            return "more work in each task, or more of them, so that starting processes pays"
        if self.model == "threads" and machine.get("has_gil", True) and 0.0 < computing < 1.0:
            bound = f"which bounds threads at x{1 / computing:.0f}"
            return f"more computing with the GIL than {computing:.0%} of a task, {bound}"
        if self.model == "processes" and machine.get("has_gil", True):
            return "a free-threaded interpreter, where threads would do the same without pickling"
        return ""


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}es" if noun.endswith("s") else f"{number:,} {noun}s"
