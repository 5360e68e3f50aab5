"""`tercet.process_engine` and `tercet.seat`: what crosses, what does not, and how everything ends."""

from __future__ import annotations

import decimal
import gc
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tercet import estate
from tercet.errors import NotPortable, RemoteError, RemoteTraceback, WorkerDied
from tercet.portable import pack
from tercet.process_engine import ProcessEngine, _BatchSize
from tercet.purity import Study
from tercet.standing import interpreter_flags


def children() -> set[int]:
    """The child processes of this one, zombies included, but for the root that they come from."""
    estate.end()
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found.update(map(int, file.read().split()))
    return found


# --- work ---------------------------------------------------------------------------------------------------------


def test_results_come_back_in_order(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.triple, range(500)) as at:
        assert at.results() == [3 * x for x in range(500)]


def test_tasks_run_in_other_processes_and_more_than_one(bench: Any, tasks: Any, tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with bench("processes", tasks.meet, [(one, other), (other, one)]) as at:
        assert at.results() == [one, other]
    with bench("processes", tasks.who, range(20)) as at:
        assert os.getpid() not in at.results()


def test_several_seats_in_one_process_run_at_the_same_time(bench: Any, tasks: Any, tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with bench("processes", tasks.meet, [(one, other), (other, one)], seats=2) as at:
        assert at.results() == [one, other]
    with bench("processes", tasks.who, range(50), seats=2) as at:
        assert len(set(at.results())) == 1


def test_more_workers_can_be_had_later(bench: Any, tasks: Any, tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with bench("processes", tasks.meet, [(one, other), (other, one)], limit=1) as at:
        at.engine.resize(2)
        assert at.results() == [one, other]


def test_global_data_is_as_it_is_now_and_not_as_it_was_at_the_import(
    bench: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "FACTOR", 100)
    with bench("processes", tasks.triple, [1, 2]) as at:
        assert at.results() == [100, 200]


def test_objects_are_as_they_are_now_and_unchanged_ones_stay_the_same_object(
    bench: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.SETTINGS, "depth", 9)
    with bench("processes", tasks.settings_seen, [1]) as at:
        assert at.results() == [(9, True)]


def test_decimals_are_computed_as_precisely_as_here(bench: Any, tasks: Any) -> None:
    with decimal.localcontext() as context:
        context.prec = 50
        with bench("processes", tasks.third, [1]) as at:
            assert at.results() == ["0." + "3" * 50]


def test_a_single_argument_travels_without_a_tuple_around_it(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.triple, iter(range(9)), form="one") as at:
        assert at.results() == [3 * x for x in range(9)]


def test_keyword_arguments_travel(bench: Any, tasks: Any) -> None:
    items = [((1,), {"z": 5}), ((1, 2), {}), ((), {"x": 7, "y": 1})]
    with bench("processes", tasks.add, items, form="call") as at:
        assert at.results() == [6, 3, 8]


def test_large_arguments_and_results_travel(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.size, [b"x" * 5_000_000] * 4) as at:
        assert at.results() == [5_000_000] * 4
    with bench("processes", tasks.large, [5_000_000] * 4) as at:
        assert [len(result) for result in at.results()] == [5_000_000] * 4


@pytest.mark.parametrize("size", [1000, 100_000, 1_000_000])
def test_buffers_travel_beside_and_what_is_written_to_them_stays_in_the_worker(
    bench: Any, tasks: Any, size: int
) -> None:
    blocks = [tasks.Block(bytearray([number]) * size) for number in range(6)]
    with bench("processes", tasks.invert, blocks) as at:
        for number, (block, kind) in enumerate(at.results()):
            assert bytes(block.memory) == bytes([255 - number]) * size
            # A large one is read where it is.
            assert (kind == "Cargo") == (size > 500_000)
    assert all(block.memory == bytearray([number]) * size for number, block in enumerate(blocks))


def test_each_worker_draws_its_own_random_numbers(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.draw, range(64)) as at:
        assert len(set(at.results())) == 64


def test_what_tasks_print_reaches_the_terminal(bench: Any, tasks: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with bench("processes", tasks.prints, range(3), limit=1) as at:
        at.results()
    assert sorted(capfd.readouterr().out.splitlines()) == ["task 0", "task 1", "task 2"]


def test_a_map_inside_a_worker_runs_in_place(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.is_nested, [1]) as at:
        assert at.results() == [("plain", [3, 6, 9])]


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_exception_comes_at_its_place_with_its_traceback(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.fail_at, range(30)) as at:
        with pytest.raises(LookupError, match="no 7") as caught:
            at.results()
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "in fail_at" in str(caught.value.__cause__)


def test_an_exception_that_does_not_survive_pickling_arrives_as_what_it_said(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.raise_fussy, range(3)) as at, pytest.raises(RemoteError) as caught:
        at.results()
    assert caught.value.kind == "tasks_for_workers.Fussy"
    assert caught.value.text == "0 at home"
    assert "raise_fussy" in caught.value.traceback


@pytest.mark.parametrize("name", ["interrupts", "exits"])
def test_other_ways_out_of_a_task_arrive_as_well(bench: Any, tasks: Any, name: str) -> None:
    with bench("processes", getattr(tasks, name), [3]) as at, pytest.raises((KeyboardInterrupt, SystemExit)):
        at.results()


def test_a_result_that_cannot_be_pickled_names_the_culprit(bench: Any, tasks: Any) -> None:
    with (
        bench("processes", tasks.give_lock, range(3)) as at,
        pytest.raises(NotPortable, match=r"the result of `give_lock`, a `_thread\.lock`, cannot be pickled") as caught,
    ):
        at.results()
    assert any("model" in note for note in caught.value.__notes__)


def test_of_a_pure_function_such_a_result_is_made_again_here(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.give_lock, range(3), is_pure=True) as at:
        assert at.results() == [tasks.LOCK] * 3


def test_a_result_that_cannot_be_read_back_is_an_error_of_its_own(bench: Any, tasks: Any) -> None:
    with (
        bench("processes", tasks.give_what_reads_back_badly, range(2)) as at,
        pytest.raises(NotPortable, match="cannot be unpickled: LookupError: no 7"),
    ):
        at.results()


def test_an_item_that_cannot_be_pickled_is_run_here_and_the_rest_goes_on(bench: Any, tasks: Any) -> None:
    items = [*range(10), threading.Lock(), *range(5)]
    with bench("processes", repr, items) as at:
        assert at.results() == [repr(item) for item in items]
        assert any("an item was run here: it cannot be pickled" in note for note in at.engine.notes)


def test_unless_it_is_to_be_an_error(bench: Any, tasks: Any) -> None:
    with (
        bench("processes", tasks.is_locked, [threading.Lock()], is_strict=True) as at,
        pytest.raises(NotPortable, match="it cannot be pickled"),
    ):
        at.results()


def test_an_item_that_a_worker_cannot_read_is_run_here(bench: Any, tasks: Any) -> None:
    class Local:
        """Pickles by a name that only this process has."""

        def __reduce__(self) -> Any:
            return (len, (7,))

    with bench("processes", repr, [1, Local(), 2]) as at:
        results = at.results()
    assert results[0] == "1"
    assert "Local" in results[1]
    assert results[2] == "2"


# --- workers that die ---------------------------------------------------------------------------------------------


def test_the_death_of_a_worker_is_an_error_of_its_task_that_says_how(bench: Any, tasks: Any) -> None:
    with (
        bench("processes", tasks.die, range(50), stops_at_error=False) as at,
        pytest.raises(WorkerDied, match="died while it ran `die`: killed by SIGKILL") as caught,
    ):
        at.results()
    assert any("memory" in note for note in caught.value.__notes__)


def test_a_worker_that_leaves_is_named_with_its_exit_code(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.leave, [1]) as at, pytest.raises(WorkerDied, match="exit code 9"):
        at.results()


def test_a_death_takes_the_tasks_of_all_seats_of_its_process_and_no_other(
    bench: Any, tasks: Any, tmp_path: Path
) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    errors: list[BaseException] = []
    with bench("processes", tasks.die_together, [(one, other), (other, one)], seats=2, stops_at_error=False) as at:
        while len(errors) < 2:
            results, error = at.course.collect()
            assert not results
            if error is None:
                at.course.wait(None)
            else:
                errors.append(error)
    assert all(isinstance(error, WorkerDied) and "killed by SIGKILL" in str(error) for error in errors)
    one, other = str(tmp_path / "three"), str(tmp_path / "four")
    with bench("processes", tasks.meet, [(one, other), (other, one)], seats=2) as at:
        assert at.results() == [one, other]


def test_workers_that_die_while_they_learn_are_a_refusal(bench: Any, tasks: Any, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly_to_import.py"
    deadly.write_text("import os\nos._exit(3)")
    baggage = pack(tasks.triple, Study())
    lost = baggage._replace(order={**baggage.order, "sources": [("deadly_to_import", str(deadly))]})
    with bench("processes", tasks.triple, range(3), baggage=lost) as at:
        assert at.told.wait(60)
        assert "worker processes ended before they had learnt the function: exit code 3" in at.engine.refusal


def test_a_worker_killed_while_idle_is_replaced_without_a_word(bench: Any, tasks: Any) -> None:
    was_killed = threading.Event()

    def source() -> Iterator[tuple[int]]:
        yield (1,)
        was_killed.wait()
        yield (2,)

    with bench("processes", tasks.who, source(), limit=1) as at:
        first = wait_for_one(at)
        os.kill(first, 9)
        while process_state(first) not in ("Z", None):
            os.sched_yield()
        was_killed.set()
        assert wait_for_one(at) != first


def wait_for_one(at: Any) -> int:
    while True:
        results, error = at.course.collect()
        if error is not None:
            raise error
        if results:
            return int(results[0])
        at.course.wait(None)


def process_state(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return None


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [True, False])
def test_nothing_is_left_behind(bench: Any, tasks: Any, kills: bool) -> None:
    gc.collect()
    before, threads, files = children(), set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    at = bench("processes", tasks.triple, range(100))
    at.results()
    at.course.close()
    at.engine.close(30, kills=kills)
    assert children() == before
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files


def test_a_task_that_never_ends_is_killed(bench: Any, tasks: Any) -> None:
    before = children()
    at = bench("processes", tasks.sleep_long, range(2))
    at.told.wait()
    at.course.close()
    started = time.monotonic()
    at.engine.close(30, kills=True)
    assert time.monotonic() - started < 20
    assert children() == before
    assert not any(thread.is_alive() for thread in at.engine._threads)


def test_an_engine_closed_while_it_starts_leaves_nothing(bench: Any, tasks: Any) -> None:
    before = children()
    for _ in range(5):
        at = bench("processes", tasks.triple, range(10))
        at.course.close()
        at.engine.close(30, kills=True)
    assert children() == before


def test_a_function_that_cannot_be_found_is_a_refusal(bench: Any, tasks: Any) -> None:
    baggage = pack(tasks.triple, Study())
    lost = baggage._replace(order={**baggage.order, "named": ("tasks_for_workers", "nothing")})
    with bench("processes", tasks.triple, range(3), baggage=lost) as at:
        assert at.told.wait(60)
        assert "a worker process cannot find the function: AttributeError" in at.engine.refusal
        assert not at.engine.is_ready


def test_an_interpreter_that_cannot_be_started_is_a_refusal(
    bench: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with bench("processes", tasks.triple, range(3)) as at:
        assert at.told.wait(60)
        assert "no process can be started" in (at.engine.refusal or "")


def test_workers_get_the_options_of_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["error::UserWarning"])
    monkeypatch.setattr(sys, "_xoptions", {"dev": True, "utf8": "1"})
    flags = interpreter_flags()
    for words in (["-W", "error::UserWarning"], ["-X", "dev"], ["-X", "utf8=1"]):
        assert any(flags[index : index + 2] == words for index in range(len(flags)))


def test_seats_are_open_only_in_name_before_they_are_taught(bench: Any, tasks: Any) -> None:
    with bench("processes", tasks.triple, range(3)) as at:
        assert isinstance(at.engine, ProcessEngine)
        at.results()
        assert at.engine.is_ready
        assert at.engine.refusal is None


# --- how much goes at a time --------------------------------------------------------------------------------------


def sizes(size: _BatchSize, item_s: float, left: int, seats: int = 2) -> list[int]:
    found = []
    while left:
        count = min(left, size.next(left, seats))
        found.append(count)
        left -= count
        size.learn(count, count * item_s, 0.0, 100)
    return found


def test_small_items_travel_together_but_never_more_than_twice_as_many_as_before() -> None:
    found = sizes(_BatchSize(1e-5), 1e-5, 20_000)
    assert found[0] <= 2
    assert all(later <= 2 * earlier for earlier, later in itertools.pairwise(found))
    assert max(found) > 200


def test_towards_the_end_batches_shrink_so_that_the_last_ones_are_even() -> None:
    found = sizes(_BatchSize(1e-5), 1e-5, 5000)
    assert found[-1] == 1
    assert found[-3] <= 3


def test_long_items_travel_alone() -> None:
    assert set(sizes(_BatchSize(0.02), 0.02, 50)) == {1}


def test_large_items_travel_in_small_company() -> None:
    size = _BatchSize(1e-5)
    size.learn(1, 1e-5, 0.0, 2 << 20)
    for _ in range(10):
        assert size.next(None, 2) <= 2


def test_items_that_became_longer_are_no_longer_sent_in_large_batches() -> None:
    size = _BatchSize(1e-6)
    for _ in range(20):
        size.learn(size.next(None, 2), 0.001, 0.0, 10)
    before = size.next(None, 2)
    for _ in range(10):
        size.learn(3, 3 * 0.02, 0.0, 10)
    assert size.next(None, 2) == 1 < before


def test_a_worker_that_waits_long_for_its_next_batch_gets_larger_ones() -> None:
    size = _BatchSize(1e-4)
    before = size.target_s
    for _ in range(50):
        size.learn(40, 0.004, 0.002, 10)
    assert size.target_s > 5 * before
