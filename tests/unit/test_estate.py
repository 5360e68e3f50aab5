"""`tercet.estate`: what pools of one program have in common, and what they must not have in common.

What has been begun before is gone at the start of each test, since a nursery that rests is another's.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasks_for_pools as P
import tasks_for_roots as T
import tercet
from holdings import Holdings, descendants, wait_for_ends
from stage_for_pools import Gate, Program
from tercet import estate
from tercet.process_pool import ProcessPoolExecutor

PATIENCE_S = 60

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    estate.end()
    yield
    estate.end()


def use(task: Callable[..., Any] = T.family, *args: Any, **options: Any) -> Any:
    """What a worker of a new pool says."""
    with ProcessPoolExecutor(1, **options) as executor:
        return executor.submit(task, *args).result(PATIENCE_S)


def rested() -> int:
    """The number of the nursery that rests, when it does."""
    kept = estate._estate.kept
    assert kept is not None
    assert kept.is_rested(PATIENCE_S)
    return kept.pid


def children(pid: int) -> set[int]:
    """The children of a process, with those that have ended and nobody has reaped."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:
            # The thread has ended meanwhile.
            continue
    return found


# --- what they have in common ---


def test_the_next_pool_has_what_was_imported() -> None:
    first = use()
    assert rested() == first[0]
    assert use() == first
    assert first[1] in children(os.getpid())


def test_pools_at_the_same_time_have_one_root() -> None:
    with ProcessPoolExecutor(1) as one, ProcessPoolExecutor(1) as other:
        families = [executor.submit(T.family).result(PATIENCE_S) for executor in (one, other)]
    assert families[0][0] != families[1][0]
    assert families[0][1] == families[1][1]
    assert rested() in {family[0] for family in families}


def test_a_main_module_is_read_once_for_all_pools(run: Callable[..., Program], tmp_path: Path) -> None:
    program = run(
        """
        import os, sys, time
        from tercet.process_pool import ProcessPoolExecutor

        with open(sys.argv[1], "a") as log:
            log.write("read\\n")

        def double(x): return 2 * x

        def use():
            with ProcessPoolExecutor(2) as executor:
                return executor.submit(double, 4).result()

        if __name__ == "__main__":
            # A file that has just been written may yet change unseen.
            while time.time_ns() < os.stat(__file__).st_ctime_ns + 100_000_000:
                time.sleep(0.01)
            print([use() for _ in range(3)])
        """,
        str(tmp_path / "log"),
    )
    assert program.end() == (0, "[8, 8, 8]\n", "")
    assert (tmp_path / "log").read_text() == "read\nread\n"


def test_what_workers_of_a_map_have_learnt_the_next_map_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    (tmp_path / "told_imports.py").write_text(
        f"import os\nwith open({str(log)!r}, 'a') as log: log.write(f'{{os.getpid()}}\\n')\ndef call(x): return 2 * x"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    call = importlib.import_module("told_imports").call
    wait_until_old(tmp_path / "told_imports.py")

    def use_map() -> list[str]:
        assert list(tercet.map(call, range(10), model="processes", workers=2)) == list(range(0, 20, 2))
        return log.read_text().split()

    use_map()
    nursery = rested()
    told = log.read_text().split()
    assert str(nursery) in told
    assert use_map() == told
    assert rested() == nursery
    assert use(call, 4) == 8
    assert log.read_text().split() == told


def wait_until_old(file: Path) -> None:
    """Wait until a change to a file is sure to be seen: the clock of files moves in steps."""
    while time.time_ns() < file.stat().st_ctime_ns + 100_000_000:
        time.sleep(0.01)


# --- what they see of the program ---


def test_each_pool_has_the_environment_and_the_folder_of_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, before = use()
    for value, name in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TERCET_TEST", value)
        monkeypatch.chdir(tmp_path / name)
        found = use(T.circumstances, "TERCET_TEST")
        assert (found["variable"], found["of_programs"], found["folder"]) == (value, value, str(tmp_path / name))
    monkeypatch.delenv("TERCET_TEST")
    assert use(T.circumstances, "TERCET_TEST")["variable"] is None
    assert use()[1] == before


def test_a_folder_alone_needs_no_other_nursery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nursery, _ = use()
    monkeypatch.chdir(tmp_path)
    assert use(T.circumstances, "NONE")["folder"] == str(tmp_path)
    assert rested() == nursery


def test_a_changed_environment_is_imported_in_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "curious.py").write_text("import os\nFOUND = os.environ.get('TERCET_TEST')\ndef call(): return FOUND")
    monkeypatch.syspath_prepend(str(tmp_path))
    call = importlib.import_module("curious").call
    wait_until_old(tmp_path / "curious.py")
    for value in ("one", "two"):
        monkeypatch.setenv("TERCET_TEST", value)
        assert use(call) == value


@pytest.mark.parametrize("what", ["mask", "processors"])
def test_what_cannot_be_handed_on_takes_another_root(what: str) -> None:
    mask, processors = os.umask(0o027), os.sched_getaffinity(0)
    os.umask(mask)
    _, before = use()
    try:
        if what == "mask":
            os.umask(0o077)
            wanted: Any = 0o077
        else:
            wanted = {min(processors)}
            os.sched_setaffinity(0, wanted)
        assert use(T.circumstances, "NONE")[what] == wanted
        is_same = wanted in (mask, processors)
        assert (use()[1] == before) == is_same
        # The old one has gone, and has been reaped.
        assert is_same or before not in children(os.getpid())
    finally:
        os.umask(mask)
        os.sched_setaffinity(0, processors)
    assert use(T.circumstances, "NONE")[what] == (mask if what == "mask" else processors)


def test_a_root_that_is_replaced_stays_for_its_pools() -> None:
    mask = os.umask(0o022)
    try:
        with ProcessPoolExecutor(1) as executor:
            before = executor.submit(T.family).result(PATIENCE_S)
            os.umask(0o077)
            assert use()[1] != before[1]
            assert executor.submit(T.family).result(PATIENCE_S) == before
        assert before[1] not in children(os.getpid())
    finally:
        os.umask(mask)


def test_each_pool_has_the_output_of_its_start(run: Callable[..., Program], tmp_path: Path) -> None:
    program = run(
        """
        import os, sys
        from tercet.process_pool import ProcessPoolExecutor

        def use(word):
            with ProcessPoolExecutor(1) as executor:
                executor.submit(print, word).result()

        if __name__ == "__main__":
            use("here")
            known = os.dup(1)
            for name in "ab":
                file = os.open(os.path.join(sys.argv[1], name), os.O_CREAT | os.O_WRONLY)
                os.dup2(file, 1)
                os.close(file)
                use(name)
            os.dup2(known, 1)
            use("here again")
        """,
        str(tmp_path),
    )
    assert program.end() == (0, "here\nhere again\n", "")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a\n", "b\n"]


def test_a_descriptor_that_is_inherited_has_its_number_and_ends_with_the_pool() -> None:
    for _ in range(3):
        near, far = os.pipe()
        # Where the nursery has its own, too.
        for number in (far, 3, 4, 5, 6):
            taken = number != far and os.path.exists(f"/proc/self/fd/{number}")
            if taken:
                continue
            if number != far:
                os.dup2(far, number)
            os.set_inheritable(number, True)
            assert use(T.write, number, "word") is None
            assert os.read(near, 10) == b"word"
            rested()
            os.set_inheritable(number, False)
            if number != far:
                os.close(number)
        os.close(far)
        # Nobody else has the other end.
        assert os.read(near, 10) == b""
        os.close(near)


def test_an_edited_module_is_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edited.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file.write_text("def call(): return 1")
    module = importlib.import_module("edited")
    wait_until_old(file)
    assert [use(module.call) for _ in range(3)] == [1, 1, 1]
    nursery = rested()
    file.write_text("def call(): return 2")
    module = importlib.reload(module)
    assert [use(module.call) for _ in range(3)] == [2, 2, 2]
    assert rested() != nursery
    sys.modules.pop("edited")


def test_an_edited_script_is_read_anew(run: Callable[..., Program]) -> None:
    program = run(
        """
        import os, time
        from tercet.process_pool import ProcessPoolExecutor

        def answer(): return "one"

        def use():
            with ProcessPoolExecutor(1) as executor:
                return executor.submit(answer).result()

        if __name__ == "__main__":
            while time.time_ns() < os.stat(__file__).st_ctime_ns + 100_000_000:
                time.sleep(0.01)
            found = [use(), use()]
            with open(__file__) as file:
                text = file.read()
            with open(__file__, "w") as file:
                file.write(text.replace('"one"', '"two"', 1))
            print(*found, use(), use())
        """
    )
    assert program.end() == (0, "one one two two\n", "")


def test_a_module_of_the_same_name_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twin.py").write_text(f"def call(): return {name!r}")
    wait_until_old(tmp_path / "b" / "twin.py")
    for name in ("a", "b"):
        with monkeypatch.context() as patched:
            patched.syspath_prepend(str(tmp_path / name))
            assert use(importlib.import_module("twin").call) == name
            sys.modules.pop("twin")


# --- harm ---


def test_a_module_that_ends_its_process_hurts_its_pool_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly_at_import.py").write_text("import os\nos._exit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with ProcessPoolExecutor(1) as other:
        before = other.submit(T.family).result(PATIENCE_S)
        with ProcessPoolExecutor(1, preload=["deadly_at_import"]) as executor:
            assert executor.submit(T.family).exception(PATIENCE_S) is not None
        assert use()[1] == before[1]
        assert other.submit(T.family).result(PATIENCE_S) == before


def test_a_module_that_hangs_hurts_its_pool_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    (tmp_path / "hangs_at_import.py").write_text(f"import tasks_for_pools\ntasks_for_pools.hold(*{gate.args!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(use(preload=["hangs_at_import"])))
    thread.start()
    hanging = gate.wait()
    other = use()
    assert other[0] != hanging
    assert use() == other
    gate.open()
    thread.join()
    assert found == [(hanging, other[1])]


def test_a_module_that_starts_threads_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starts_threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    first = use(preload=["starts_threads"])
    assert use()[1] == first[1]
    assert use(preload=["starts_threads"])[1] == first[1]


@pytest.mark.parametrize(
    "deed", ["FILE = open(__file__)", "import subprocess; CHILD = subprocess.Popen(['sleep', '600'])", "1 / 0"]
)
def test_a_module_that_does_more_than_define_is_not_kept(
    deed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "doing.py").write_text(deed)
    monkeypatch.syspath_prepend(str(tmp_path))
    first = use(preload=["doing"])
    kept = estate._estate.kept
    assert kept is not None
    assert not kept.is_rested(PATIENCE_S)
    assert use() != first


def test_a_module_that_hangs_at_rest_holds_up_nobody(run: Callable[..., Program], tmp_path: Path) -> None:
    (tmp_path / "sly.py").write_text(
        "import signal\nif signal.getitimer(signal.ITIMER_REAL)[0] > 0:\n"
        "    while True: pass\ndef call(x): return 2 * x"
    )
    program = run(
        """
        import sly, tercet
        from tercet import estate

        def use():
            return sum(tercet.map(sly.call, range(10), model="processes", workers=2))

        if __name__ == "__main__":
            print(use(), use())
            print(estate._estate.kept.pid, estate._estate.root.pid)
        """
    )
    assert program.line() == "90 90"
    pids = [int(pid) for pid in program.line().split()]
    assert program.end() == (0, "", "")
    assert wait_for_ends(pids, 10) == []


# --- ends ---


def test_a_killed_root_is_replaced_and_its_pools_go_on() -> None:
    others = children(os.getpid())
    with ProcessPoolExecutor(1) as executor:
        before = executor.submit(T.family).result(PATIENCE_S)
        os.kill(before[1], signal.SIGKILL)
        assert wait_for_ends([before[1]]) == []
        assert use()[1] != before[1]
        assert executor.submit(T.family).result(PATIENCE_S)[0] == before[0]
        assert executor.submit(P.kill_self).exception(PATIENCE_S) is not None
        assert executor.submit(T.family).result(PATIENCE_S)[0] == before[0]
    assert wait_for_ends([before[0]]) == []
    assert children(os.getpid()) == others | {use()[1]}


def test_a_root_that_was_killed_at_rest_is_replaced() -> None:
    before = use()
    os.kill(before[1], signal.SIGKILL)
    assert wait_for_ends([before[1]]) == []
    after = use()
    assert before[1] not in children(os.getpid())
    assert use() == after != before


def test_a_fork_of_the_program_has_a_root_of_its_own(run: Callable[..., Program]) -> None:
    program = run(
        """
        import os
        import tasks_for_roots as tasks
        from tercet.process_pool import ProcessPoolExecutor

        def use():
            with ProcessPoolExecutor(1) as executor:
                return executor.submit(tasks.family).result()

        if __name__ == "__main__":
            first = use()
            child = os.fork()
            found = use()
            if child == 0:
                assert found[1] != first[1]
                assert tasks.parent(found[1]) == os.getpid()
                assert use() == found
                os._exit(0)
            assert found == first
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert use() == first
            print("well")
        """
    )
    assert program.end() == (0, "well\n", "")


def test_nothing_outlives_the_program(run: Callable[..., Program], gate: Gate) -> None:
    # A fork that nobody has told of, as native code makes them: it has all sockets.
    program = run(
        """
        import ctypes, os, sys
        import tasks_for_pools as tasks
        from tercet.process_pool import ProcessPoolExecutor

        if __name__ == "__main__":
            with ProcessPoolExecutor(1) as executor:
                executor.submit(tasks.who).result()
            executors = [ProcessPoolExecutor(1) for _ in range(2)]
            executors[0].submit(tasks.hold, *sys.argv[1:])
            executors[1].submit(tasks.who).result()
            if ctypes.CDLL(None).fork() == 0:
                while True: ctypes.CDLL(None).pause()
            print("ready", flush=True)
            executors[1].submit(tasks.hold, *sys.argv[1:]).result()
        """,
        *gate.args,
    )
    workers = {gate.wait(), gate.wait()}
    assert program.line() == "ready"
    pids = set(descendants(program.process.pid))
    pause = [pid for pid in children(program.process.pid) if len(descendants(pid)) == 0]
    assert workers < pids
    try:
        program.process.kill()
        program.process.wait()
        # A second is what is promised, more is what a busy machine may take.
        assert wait_for_ends(pids - set(pause), 10) == []
    finally:
        for pid in pause:
            os.kill(pid, signal.SIGKILL)


def test_a_program_leaves_with_all_that_it_has(run: Callable[..., Program]) -> None:
    program = run(
        """
        import tasks_for_roots as tasks
        from tercet.process_pool import ProcessPoolExecutor

        with ProcessPoolExecutor(1) as executor:
            print(*executor.submit(tasks.family).result(), flush=True)
        input()
        """,
        stdin_is_open=True,
    )
    nursery, known = (int(pid) for pid in program.line().split())
    lives = [os.pidfd_open(pid) for pid in (nursery, known)]
    program.end("\n")
    for life in lives:
        # Not soon, but now: the program has waited for them.
        assert os.path.exists(f"/proc/self/fdinfo/{life}")
        assert "Pid:\t-1" in Path(f"/proc/self/fdinfo/{life}").read_text()
        os.close(life)


def test_a_pool_that_nobody_uses_costs_its_program_nothing_at_the_end(run: Callable[..., Program]) -> None:
    program = run(
        """
        from tercet import estate
        from tercet.process_pool import ProcessPoolExecutor

        executor = ProcessPoolExecutor(1)
        print(estate._estate.root.pid, flush=True)
        """
    )
    known = int(program.line())
    assert program.end() == (0, "", "")
    assert not os.path.exists(f"/proc/{known}")


def test_a_worker_with_a_pool_leaves_no_root_behind() -> None:
    before = Holdings.now().processes
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(P.pool_inside, 10).result(PATIENCE_S) == 55
        inner = [pid for pid in descendants(os.getpid()) if T.parent(pid) in executor._processes]
        assert inner
    assert wait_for_ends(inner) == []
    estate.end()
    assert Holdings.now().processes <= before


def test_descriptors_and_processes_stay_as_many() -> None:
    use(), rested()
    before = Holdings.now()
    for number in range(50):
        assert use(P.echo, number) == number
    rested()
    assert Holdings.now().counts == before.counts


def test_neither_root_nor_nursery_holds_more_than_its_own(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        for _ in range(3):
            nursery, known = use()
            assert rested() == nursery
    for pid in (known, nursery):
        names = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        assert [name for name in names if name != os.devnull and "socket" not in name and "pidfd" not in name] == []
        assert len(names) <= 6
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
