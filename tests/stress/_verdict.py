"""What a fault came to: the verdicts, and how they are found."""

from __future__ import annotations

import enum
import os
from typing import Any

import _tasks as T
from _pools import Call, Face, Outcome

PATIENCE_S = float(os.environ.get("TERCET_STRESS_PATIENCE_S", "8"))
INNOCENTS = 16


class Verdict(enum.StrEnum):
    """What a fault came to, from the best to the worst. A wrong result is worse than a hang: nobody notices."""

    RIGHT = "right result"
    ERROR = "named error"
    UNSAID = "error names another cause"
    BUSY = "task goes on"
    LOST = "lost tasks"
    BROKEN = "pool broken"
    UNBOUNDED = "reads without end"
    REFUSED = "refused"
    HANG = "hang"
    STALE = "wrong result"
    ORPHAN = "orphan"
    ABSENT = "-"


GOOD = {Verdict.RIGHT, Verdict.ERROR}
Found = tuple[Verdict, str]


def name_of(error: BaseException | None) -> str:
    return type(error).__name__


def amid_others(pool: Face, *guilty: Any, wants: tuple[type[BaseException], ...] = (), says: str = "") -> Found:
    """Run a guilty call among innocent ones; it has an error of its own, the others succeed, the pool stays usable.

    `wants` are the classes that the error has to have, where it is the task's own; `says` is what it has to say.
    """
    half = INNOCENTS // 2
    innocents: list[Call] = [(T.take_and_echo, 0.01, number) for number in range(INNOCENTS)]
    outcomes = pool.run([*innocents[:half], guilty, *innocents[half:]], PATIENCE_S)
    culprit, others = outcomes[half], outcomes[:half] + outcomes[half + 1 :]
    found, detail = judge(culprit, others, wants, says)
    if found is Verdict.HANG:
        return found, detail
    return worse((found, detail), usable(pool))


def judge(culprit: Outcome, others: list[Outcome], wants: tuple[type[BaseException], ...], says: str) -> Found:
    right = sum(not other.error and other.value == number for number, other in enumerate(others))
    detail = f"{name_of(culprit.error)}, {right}/{len(others)} others"
    if culprit.hangs or any(other.hangs for other in others):
        return Verdict.HANG, detail if not culprit.hangs else f"no result, {right}/{len(others)} others"
    if culprit.error is None:
        return Verdict.STALE, f"a value: {culprit.value!r:.40}"
    if right < len(others):
        return Verdict.LOST, detail
    if wants and not isinstance(culprit.error, wants):
        return Verdict.UNSAID, detail
    if says and says not in str(culprit.error).lower():
        return Verdict.UNSAID, detail
    return Verdict.ERROR, detail


def usable(pool: Face) -> Found:
    """Say whether a pool still does what it is there for."""
    outcomes = pool.run([(T.square, number) for number in range(20)], PATIENCE_S)
    if any(outcome.hangs for outcome in outcomes):
        return Verdict.HANG, "the next tasks hang"
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        return Verdict.BROKEN, f"then {name_of(errors[0])}"
    if [outcome.value for outcome in outcomes] != [number * number for number in range(20)]:
        return Verdict.STALE, "the next results are not those of the next tasks"
    return Verdict.RIGHT, ""


def worse(first: Found, second: Found) -> Found:
    """Return the worse of two, with what is known of both."""
    order = list(Verdict)
    worst = max(first[0], second[0], key=order.index)
    return worst, "; ".join(filter(None, (first[1], second[1])))
