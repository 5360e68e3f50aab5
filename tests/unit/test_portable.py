"""`tercet.portable`: what can go to another process, and what goes with it."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tercet import portable, source
from tercet.errors import NotPortable
from tercet.portable import can_have_workers, pack, try_journey
from tercet.purity import Study, study

RATE = 3
TABLE = {"a": [1, 2]}
LOCK = threading.Lock()


def task(x: int) -> int:
    return x * RATE + len(TABLE)


class Holder:
    def method(self, x: int) -> int:
        return x

    def __call__(self, x: int) -> int:
        return x


def order_of(fn: Callable[..., Any]) -> dict[str, Any]:
    return pack(fn, study(fn)).order


def test_a_function_goes_by_name_with_the_file_of_its_module() -> None:
    order = order_of(task)
    assert order["named"] == (__name__, "task")
    assert (__name__, __file__) in order["sources"]
    assert order["packed"] is None


def test_the_global_data_it_reads_goes_with_it() -> None:
    import pickle

    carried = {(module, name): pickle.loads(packed) for module, name, packed in order_of(task)["carried"]}
    assert carried == {(__name__, "RATE"): 3, (__name__, "TABLE"): {"a": [1, 2]}}


def test_other_callables_go_pickled() -> None:
    order = order_of(functools.partial(task, 3))
    assert order["named"] is None
    assert order["packed"] is not None
    assert (__name__, __file__) in order["sources"]
    assert order_of(len)["packed"] is not None
    assert (__name__, __file__) in order_of(Holder().method)["sources"]
    assert (__name__, __file__) in order_of(Holder())["sources"]


def inner() -> Callable[[int], int]:
    def inside(x: int) -> int:
        return x

    return inside


original = task


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: x, "a lambda has no name"),
        (inner(), "is defined inside a function"),
        (functools.partial(lambda x: x), "cannot be pickled"),
        (LOCK.acquire, "cannot be pickled"),
    ],
)
def test_what_no_worker_could_find_is_refused(fn: Callable[..., Any], why: str) -> None:
    with pytest.raises(NotPortable, match=why):
        pack(fn, Study())


def test_a_function_that_was_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "task", len)
    with pytest.raises(NotPortable, match="no longer the function of that name"):
        pack(original, Study())


def test_a_module_loaded_by_hand_goes_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "by_hand.py"
    file.write_text("def triple(x):\n    return 3 * x\n")
    module = types.ModuleType("by_hand")
    module.__file__ = str(file)
    exec(compile(file.read_text(), str(file), "exec"), vars(module))
    assert "by_hand" not in sys.modules
    assert pack(module.triple, Study()).order["sources"] == [("by_hand", str(file))]


def test_a_function_of_a_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("def typed_in(x):\n    return x\n", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(NotPortable, match="defined in a session"):
        pack(main.typed_in, Study())


def as_main(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> types.ModuleType:
    path.write_text(text)
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    exec("def task(x):\n    return x\n", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


GUARDED = """
import os
def task(x):
    return x
print("starting")
if __name__ == "__main__":
    print(list(map(task, [1])))
"""


def test_a_guarded_script_is_read_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main = as_main(monkeypatch, tmp_path / "script.py", GUARDED)
    baggage = pack(main.task, Study())
    assert baggage.order["main"] == (str(tmp_path / "script.py"), "", False)
    assert baggage.notes == ()


def test_of_a_script_without_a_guard_workers_read_the_definitions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    main = as_main(monkeypatch, tmp_path / "script.py", GUARDED.replace("if __name__", "if os.name and __name__"))
    baggage = pack(main.task, Study())
    assert baggage.order["main"] == (str(tmp_path / "script.py"), "", True)
    assert "definitions alone" in baggage.notes[0]


@pytest.mark.parametrize(
    ("text", "line", "is_guarded"),
    [
        (GUARDED, 7, True),
        (GUARDED, 5, False),
        (GUARDED, None, True),
        ("import os\nX = 1\n'text'\n", None, True),
        ("import os\nprint(1)\n", None, False),
        ("if '__main__' == __name__:\n    run()\n", 2, True),
        ("if __name__ != '__main__':\n    run()\n", 2, False),
        ("if __name__ == '__main__':\n    pass\nelse:\n    run()\n", 4, False),
    ],
)
def test_a_guard_is_one_when_the_work_stands_behind_it(text: str, line: int | None, is_guarded: bool) -> None:
    assert portable._is_guarded(source.parse(text), line) == is_guarded


def test_global_data_that_cannot_be_pickled_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main = as_main(monkeypatch, tmp_path / "script.py", "x = lambda: 1\nprint(x)\n")
    found = Study()
    found.globals["__main__", "x"] = lambda: 1
    with pytest.raises(NotPortable, match="the global `x`"):
        pack(main.task, found)


def test_too_much_global_data_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_CARRIED_MOST", 1000)
    found = Study()
    found.globals[__name__, "RATE"] = "x" * 2000
    with pytest.raises(NotPortable, match="too large to send"):
        pack(task, found)


def test_objects_that_cannot_be_pickled_are_left_to_the_import() -> None:
    found = Study()
    found.globals[__name__, "LOCK"] = LOCK
    assert pack(task, found).order["carried"] == []


def test_how_decimals_are_computed_goes_along() -> None:
    import decimal
    import pickle

    with decimal.localcontext() as context:
        context.prec = 50
        packed = pack(task, Study()).order["decimal"]
    assert packed is not None
    assert pickle.loads(packed).prec == 50


def test_a_journey_is_tried_with_real_things() -> None:
    journey = try_journey([list(range(1000))], ["result"])
    assert journey.refusal is None
    assert journey.size > 1000
    assert journey.seconds >= 0


@pytest.mark.parametrize(
    ("item", "results", "why"),
    [([LOCK], [], "an item cannot be pickled"), ([1], [LOCK], "a result cannot be pickled")],
)
def test_a_journey_that_cannot_be_made_says_whose_fault_it_is(item: Any, results: list[Any], why: str) -> None:
    refusal = try_journey(item, results).refusal
    assert try_journey([], []).refusal is None
    assert refusal is not None
    assert refusal.startswith(why)


def test_only_linux_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_have_workers() is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert "win32" in (can_have_workers() or "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "no interpreter" in (can_have_workers() or "")
