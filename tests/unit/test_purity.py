"""`tercet.purity`: what a function may be seen to change, and what is no reason for doubt.

The functions stand in this module as a user would write them, so that their source and their globals are real.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import math
import os
import random
import re
import threading
import unittest.mock
from collections.abc import Callable
from typing import Any

import pytest

from tercet.purity import study

BOARD: dict[str, int] = {}
SEEN: list[int] = []
TABLE = [3, 1, 2]
ROWS = [[1, 2], [3, 4]]
SETTINGS = {"depth": 3, "names": {"a": 1}}
LIMIT = 100
COUNT = 0
LOCK = threading.Lock()
LOCAL = threading.local()
PATTERN = re.compile(r"\d+")
HEAP: list[int] = []


class Account:
    total = 0

    def __init__(self) -> None:
        self.balance = 0

    def pay(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def worth(self) -> int:
        return self.balance * 2

    def __call__(self, amount: int) -> int:
        self.balance += amount
        return self.balance


ACCOUNT = Account()

# --- pure, or as good as ---------------------------------------------------------------------------------------


def primes(span: tuple[int, int]) -> int:
    found = 0
    for x in range(*span):
        for d in range(2, math.isqrt(x) + 1):
            if x % d == 0:
                break
        else:
            found += 1
    return found


def sieve(limit: int) -> int:
    flags = [True] * limit
    for n in range(2, LIMIT):
        for multiple in range(n * n, limit, n):
            flags[multiple] = False
    return sum(flags)


def looks_up(x: int) -> int:
    value = TABLE[x % 3]
    value += 1
    return value + SETTINGS["depth"]


def local_copy(x: int) -> list[int]:
    mine = list(TABLE)
    mine.append(x)
    mine[0] = x
    mine.sort()
    return mine


def own_object(x: int) -> int:
    account = Account()
    account.balance = 3
    return account.pay(x)


def with_inner(x: int) -> int:
    total = 0

    def add(y: int) -> None:
        nonlocal total
        total += y

    add(x)
    return total


def reads_text(line: str) -> list[str]:
    return PATTERN.findall(line.strip().lower())


def opens_file(name: str) -> int:
    with open(name) as file:
        return len(file.read())


def calls_others(x: int) -> int:
    return looks_up(x) + sieve(x) + max(map(len, ["a"]))


def rebinds_argument(row: dict[str, int]) -> dict[str, int]:
    row = dict(row)
    row["x"] = 1
    return row


def reads_environment(name: str) -> str | None:
    return os.environ.get(name)


def seeded(x: int) -> float:
    generator = random.Random(x)
    return generator.random()


def reads_shared_object(x: int) -> int:
    return ACCOUNT.worth() + x


def comprehends(x: int) -> list[int]:
    return [row[0] + x for row in ROWS]


@functools.lru_cache
def remembered(x: int) -> int:
    return x * 2


PURE: list[Callable[..., Any]] = [
    primes,
    sieve,
    looks_up,
    local_copy,
    own_object,
    with_inner,
    reads_text,
    opens_file,
    calls_others,
    rebinds_argument,
    reads_environment,
    seeded,
    reads_shared_object,
    comprehends,
    remembered,
    functools.partial(primes),
    math.factorial,
    len,
    str.upper,
    Account,
]


@pytest.mark.parametrize("fn", PURE, ids=lambda fn: getattr(fn, "__name__", "partial"))
def test_a_function_that_leaves_shared_things_alone_raises_no_doubt(fn: Callable[..., Any]) -> None:
    assert study(fn).doubts == []


# --- in doubt ----------------------------------------------------------------------------------------------------


def keeps_score(side: str) -> str:
    BOARD[side] = BOARD.get(side, 0) + 1
    return side


def adds_in_place(side: str) -> None:
    BOARD[side] += 1


def appends(x: int) -> None:
    SEEN.append(x)


def deletes(side: str) -> None:
    del BOARD[side]


def writes_global(x: int) -> int:
    global COUNT
    COUNT += x
    return COUNT


def through_a_name(side: str) -> None:
    board = BOARD
    board[side] = 1


def through_a_part(x: int) -> None:
    row = ROWS[x]
    row.append(1)


def through_a_loop(x: int) -> None:
    for row in ROWS:
        row[0] = x


def deep_inside(x: int) -> None:
    SETTINGS["names"]["b"] = x  # type: ignore[index]


def through_a_method(x: int) -> int:
    return ACCOUNT.pay(x)


def through_a_class(x: int) -> None:
    Account.total += x


def through_a_helper(x: int) -> None:
    helper(x)


def helper(x: int) -> None:
    SEEN.append(x)


def hands_it_on(x: int) -> None:
    fill(SEEN, x)


def fill(target: list[int], x: int) -> None:
    target.append(x)


def pushes(x: int) -> None:
    heapq.heappush(HEAP, x)


def shuffles(x: int) -> None:
    random.shuffle(TABLE)


def takes_lock(x: int) -> int:
    with LOCK:
        return x


def uses_local(x: int) -> Any:
    return LOCAL.value


def changes_argument(row: list[int]) -> int:
    row.sort()
    return row[0]


def writes_argument(row: dict[str, int]) -> dict[str, int]:
    row["x"] = 1
    return row


def grows_default(x: int, seen: list[int] = []) -> int:  # noqa: B006
    seen.append(x)
    return len(seen)


def changes_directory(name: str) -> None:
    os.chdir(name)


def evaluates(text: str) -> Any:
    return eval(text)


def yields(x: int) -> Any:
    yield x


def sets_attribute(x: int) -> None:
    setattr(ACCOUNT, "balance", x)  # noqa: B010


def calls_the_patched(x: int) -> int:
    return PATCHED(x)


def _made() -> Callable[[int], int]:
    return lambda x: x


PATCHED = _made()
MOCKED = unittest.mock.Mock()


def calls_the_mocked(x: int) -> Any:
    return MOCKED(x)


def memo(n: int) -> int:
    if n not in BOARD:
        BOARD[n] = n  # type: ignore[index]
    return BOARD[n]  # type: ignore[index]


DOUBTFUL: list[tuple[Callable[..., Any], str]] = [
    (keeps_score, "writes to the global `BOARD`"),
    (adds_in_place, "writes to the global `BOARD`"),
    (appends, "calls `SEEN.append`"),
    (deletes, "writes to the global `BOARD`"),
    (writes_global, "writes the global `COUNT`"),
    (through_a_name, "`board[side]`"),
    (through_a_part, "calls `row.append`"),
    (through_a_loop, "`row[0]`"),
    (deep_inside, "writes to the global `SETTINGS`"),
    (through_a_method, "`self.balance`"),
    (through_a_class, "writes to the global `Account`"),
    (through_a_helper, "calls `SEEN.append`"),
    (hands_it_on, "calls `target.append`"),
    (pushes, "changes the global `HEAP`"),
    (shuffles, "changes the global `TABLE`"),
    (takes_lock, "`LOCK`"),
    (uses_local, "`LOCAL`"),
    (changes_argument, "changes its argument `row`"),
    (writes_argument, "changes its argument `row`"),
    (grows_default, "changes its argument `seen`"),
    (changes_directory, "calls `os.chdir`"),
    (evaluates, "calls `eval`"),
    (yields, "is a generator function"),
    (sets_attribute, "changes the global `ACCOUNT`"),
    (calls_the_patched, "`PATCHED` was made while the program ran"),
    (calls_the_mocked, "`MOCKED`"),
    (memo, "writes to the global `BOARD`"),
    (ACCOUNT, "`self.balance`"),
    (ACCOUNT.pay, "`self.balance`"),
    (SEEN.append, "the method `append` of a `list`"),
    (functools.partial(fill, SEEN), "changes its argument `target`"),
    (functools.partial(primes, LOCK), "`_thread.lock`"),
]


@pytest.mark.parametrize(("fn", "why"), DOUBTFUL, ids=lambda value: getattr(value, "__name__", ""))
def test_a_function_that_may_change_shared_things_is_in_doubt(fn: Callable[..., Any], why: str) -> None:
    doubts = study(fn).doubts
    assert any(why in doubt for doubt in doubts), doubts


def test_what_a_closure_captures_is_looked_at() -> None:
    lock, seen = threading.Lock(), [1]

    def locks(x: int) -> int:
        with lock:
            return x

    def reads(x: int) -> int:
        return seen[0] + x

    assert any("captured as `lock`" in doubt for doubt in study(locks).doubts)
    assert any("captured as `seen`" in doubt for doubt in study(reads).doubts)


def test_a_function_whose_source_is_unknown_is_in_doubt() -> None:
    known: dict[str, Any] = {}
    exec("def typed_in(x):\n    return x\n", known)
    assert study(known["typed_in"]).doubts == ["the source of `typed_in` cannot be read"]


def draws(x: int) -> float:
    return random.random() * x


def test_global_random_numbers_are_noted_and_no_reason_to_stay() -> None:
    found = study(draws)
    assert found.doubts == []
    assert any("random numbers" in note for note in found.notes)


def test_the_global_data_that_code_reads_is_listed() -> None:
    found = study(calls_others)
    names = {name for _, name in found.globals}
    assert names == {"TABLE", "SETTINGS", "LIMIT"}
    assert set(found.containers) == {"TABLE", "SETTINGS"}
    assert found.containers["TABLE"] is TABLE


def test_a_doubt_is_noted_once() -> None:
    doubts = study(keeps_score).doubts
    assert len(doubts) == len(set(doubts))


def test_functions_that_call_one_another_come_to_an_end() -> None:
    assert study(ping).doubts == []


def ping(x: int) -> int:
    return pong(x - 1) if x else 0


def pong(x: int) -> int:
    return ping(x - 1) if x else 1


def test_studying_runs_nothing_of_the_program() -> None:
    class Trap:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    known = {"__name__": "trap", "TRAP": Trap()}
    source = functools.partial(exec, "def f(x):\n    return TRAP.load(x)\n", known)
    with contextlib.suppress(AssertionError):
        source()
    study(known["f"])  # type: ignore[arg-type]
