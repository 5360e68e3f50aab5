"""The guard: a blocked loop names the line that blocks, while it does."""

from __future__ import annotations

import asyncio
import logging
import math
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import tercet
from tercet.guard import Block

LIMIT_S = 60


class Ledger:
    """Notes what a loop reports, and lets a test wait for it."""

    def __init__(self, loop: tercet.EventLoop) -> None:
        self.blocks: list[Block] = []
        self.changed = threading.Condition()
        loop.set_block_handler(self.note)

    def note(self, loop: Any, block: Block) -> None:
        with self.changed:
            self.blocks.append(block)
            self.changed.notify_all()

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(is_there, LIMIT_S), self.blocks

    def wait_for_reports(self, count: int) -> None:
        self.wait_for(lambda: len(self.blocks) >= count)

    def wait_for_end(self) -> None:
        self.wait_for(lambda: any(block.is_over for block in self.blocks))


def line_of(function: Callable[..., Any], offset: int) -> int:
    return function.__code__.co_firstlineno + offset


def test_the_line_is_reported_while_it_blocks(own_loop: tercet.EventLoop) -> None:
    ledger = Ledger(own_loop)

    def block() -> None:
        ledger.wait_for_reports(1)

    async def main() -> None:
        block()
        assert not ledger.blocks[0].is_over
        await asyncio.to_thread(ledger.wait_for_end)

    own_loop.run_until_complete(main())
    first = ledger.blocks[0]
    assert first.duration >= 0.1
    assert first.thread_id == threading.get_ident()
    assert [frame.name for frame in first.stack][:3] == ["main", "block", "wait_for_reports"]
    assert first.stack[1].filename == __file__
    assert first.stack[1].lineno == line_of(block, 1)
    assert (first.filename, first.function) == (first.stack[-1].filename, first.stack[-1].name)
    last = next(block for block in ledger.blocks if block.is_over)
    assert last.duration >= first.duration
    assert last.stack == first.stack


def test_python_that_keeps_the_gil_busy_is_named(own_loop: tercet.EventLoop) -> None:
    ledger = Ledger(own_loop)

    def spin() -> None:
        while not ledger.blocks:
            pass

    own_loop.call_soon(spin)
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    assert ledger.blocks[0].function == "spin"
    assert [frame.name for frame in ledger.blocks[0].stack] == ["spin"]


def test_native_code_that_keeps_the_gil_is_reported_when_it_is_over(own_loop: tercet.EventLoop) -> None:
    ledger = Ledger(own_loop)
    numbers = range(30_000_000)

    async def main() -> float:
        begun = time.monotonic()
        sum(numbers)
        took = time.monotonic() - begun
        await asyncio.to_thread(ledger.wait_for_end)
        return took

    took = own_loop.run_until_complete(main())
    last = next(block for block in ledger.blocks if block.is_over)
    assert last.duration >= took / 2


def test_a_block_in_a_callback_without_python_is_reported(own_loop: tercet.EventLoop) -> None:
    ledger = Ledger(own_loop)
    ended = threading.Event()
    own_loop.call_soon(threading.Lock().acquire)
    lock = threading.Lock()
    lock.acquire()

    def let_go() -> None:
        ledger.wait_for_reports(1)
        lock.release()
        ended.set()

    thread = threading.Thread(target=let_go)
    thread.start()
    own_loop.call_soon(lock.acquire)
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    thread.join(LIMIT_S)
    assert ended.is_set()
    assert ledger.blocks[0].filename is None
    assert "native code" in str(ledger.blocks[0])


def test_a_loop_that_waits_or_works_in_small_steps_is_not_reported(own_loop: tercet.EventLoop) -> None:
    ledger = Ledger(own_loop)
    other = tercet.new_event_loop()
    clock = Ledger(other)

    async def blocks_three_times() -> None:
        for count in range(1, 4):
            before = len(clock.blocks)
            # Each from a line of its own, which is what limits how often.
            exec(
                compile("\n" * count + "wait(before + 1)", "<test>", "exec"),
                {
                    "wait": clock.wait_for_reports,
                    "before": before,
                },
            )
            other._reported.clear()
            await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: other.run_until_complete(blocks_three_times()))

    async def main() -> None:
        waiting = asyncio.create_task(asyncio.sleep(LIMIT_S))
        while thread.is_alive():
            await asyncio.sleep(0)
            time.sleep(0)
        waiting.cancel()

    thread.start()
    own_loop.run_until_complete(main())
    thread.join(LIMIT_S)
    other.close()
    assert len(clock.blocks) >= 3
    assert not [block for block in ledger.blocks if block.stack and block.stack[-1].name != "main"]


def test_reports_of_one_line_are_limited(own_loop: tercet.EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tercet.guard.REPEAT_S", math.inf)
    ledger = Ledger(own_loop)
    told: list[object] = []
    original = own_loop._tell_of_block

    def notice(*args: Any) -> None:
        original(*args)
        told.append(args)

    monkeypatch.setattr(own_loop, "_tell_of_block", notice)

    async def main() -> None:
        for count in range(1, 4):
            while len(told) < count:
                pass
            await asyncio.sleep(0)
        monkeypatch.setattr("tercet.guard.REPEAT_S", 0.0)
        while len(told) < 4:
            pass

    own_loop.run_until_complete(main())
    fresh = [block for block in ledger.blocks if not block.is_over and block.function == "main"]
    lines = {block.lineno for block in fresh}
    # Once for each line of the loops; what was left out is counted.
    assert len(fresh) <= len(lines) + 1


def test_what_was_left_out_is_counted(own_loop: tercet.EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tercet.guard.time.monotonic", lambda: now[0])
    assert own_loop._left_out(("a", 1)) == 0
    assert own_loop._left_out(("a", 1)) is None
    assert own_loop._left_out(("b", 1)) == 0
    assert own_loop._left_out(("a", 1)) is None
    now[0] = 10.0
    assert own_loop._left_out(("a", 1)) == 2
    assert own_loop._left_out(("a", 1)) is None


def test_the_default_is_a_warning_with_the_stack(own_loop: tercet.EventLoop) -> None:
    told = threading.Event()
    records: list[logging.LogRecord] = []

    class Bell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)
            told.set()

    def block_here() -> None:
        assert told.wait(LIMIT_S)

    logger = logging.getLogger("asyncio")
    bell = Bell()
    logger.addHandler(bell)
    try:
        own_loop.call_soon(block_here)
        own_loop.call_soon(own_loop.stop)
        own_loop.run_forever()
    finally:
        logger.removeHandler(bell)
    assert (records[0].name, records[0].levelno) == ("asyncio", logging.WARNING)
    words = records[0].getMessage()
    assert words.startswith("the event loop is blocked: ")
    assert "in wait has run for 0." in words
    assert "in block_here\n    assert told.wait(LIMIT_S)" in words


def test_whoever_reports_is_not_listed_among_the_threads_of_the_program(own_loop: tercet.EventLoop) -> None:
    ledger, before = Ledger(own_loop), set(threading.enumerate())

    def note(loop: Any, block: Block) -> None:
        # As logging does.
        assert threading.current_thread().name
        ledger.note(loop, block)

    own_loop.set_block_handler(note)

    async def main() -> None:
        ledger.wait_for_reports(1)
        while set(threading.enumerate()) - before:
            await asyncio.sleep(0)

    own_loop.run_until_complete(main())
    assert set(threading.enumerate()) <= before


def test_a_handler_that_raises_is_logged(own_loop: tercet.EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def fail(loop: Any, block: Block) -> None:
        told.set()
        raise KeyError("handler")

    own_loop.set_block_handler(fail)
    assert own_loop.get_block_handler() is fail

    async def main() -> None:
        assert told.wait(LIMIT_S)
        while not any("Unhandled error in block handler" in record.message for record in caplog.records):
            await asyncio.sleep(0)

    own_loop.run_until_complete(asyncio.wait_for(main(), LIMIT_S))


def test_a_handler_is_called() -> None:
    loop = tercet.new_event_loop()
    with pytest.raises(TypeError, match="A callable object or None is expected, got 5"):
        loop.set_block_handler(5)  # type: ignore[arg-type]
    assert loop.get_block_handler() is None
    loop.close()


@pytest.mark.parametrize("off", ["endless", "unguarded"])
def test_the_guard_can_be_switched_off(off: str) -> None:
    words = """
        import asyncio, math, threading, time, tercet
        from tercet._tercet import is_guarding

        async def main():
            assert not is_guarding()
            time.sleep(0)

        loop = tercet.new_event_loop()
        loop.set_block_handler(lambda loop, block: None)
        if OFF == "endless":
            loop.slow_callback_duration = math.inf
            assert loop.slow_callback_duration == math.inf
        else:
            loop.is_guarded = False
        loop.run_until_complete(main())
        loop.close()
        assert not is_guarding()
    """
    run_program(f"OFF = {off!r}\n" + textwrap.dedent(words))


def run_program(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_there_is_no_thread_before_a_loop_runs_and_none_after() -> None:
    run_program(
        """
        import asyncio, os, time, tercet
        from tercet._tercet import is_guarding

        def threads():
            return [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]

        loop = tercet.new_event_loop()
        assert "tercet-guard" not in threads()
        async def main():
            assert is_guarding()
            while "tercet-guard" not in threads():
                await asyncio.sleep(0)  # it names itself when it begins
        loop.run_until_complete(main())
        loop.close()
        while is_guarding():
            time.sleep(0.01)
        """
    )


def test_a_program_may_end_while_it_is_blocked() -> None:
    out = run_program(
        """
        import asyncio, sys, threading, tercet

        told = threading.Event()
        async def main():
            asyncio.get_running_loop().set_block_handler(lambda loop, block: told.set())
            told.wait(50)
            sys.exit(0)
        tercet.run(main())
        """
    )
    assert out == ""


def test_a_daemon_thread_may_be_blocked_when_the_program_ends() -> None:
    run_program(
        """
        import asyncio, threading, tercet

        told = threading.Event()
        async def main():
            asyncio.get_running_loop().set_block_handler(lambda loop, block: told.set())
            threading.Event().wait()
        threading.Thread(target=lambda: tercet.run(main()), daemon=True).start()
        assert told.wait(50)
        """
    )


def test_a_child_made_by_fork_is_guarded_when_it_runs_a_loop() -> None:
    run_program(
        """
        import asyncio, os, threading, tercet, warnings
        from tercet._tercet import is_guarding

        warnings.simplefilter("ignore", DeprecationWarning)

        async def blocked():
            told = threading.Event()
            asyncio.get_running_loop().set_block_handler(lambda loop, block: told.set())
            assert told.wait(50)

        tercet.run(blocked())
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert not is_guarding()
                tercet.run(blocked())
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        tercet.run(blocked())
        """
    )


def test_nothing_is_reported_while_a_debugger_holds_the_thread(
    own_loop: tercet.EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(own_loop)
    looked = threading.Event()
    original = own_loop._tell_of_block

    def notice(*args: Any) -> None:
        original(*args)
        looked.set()

    monkeypatch.setattr(own_loop, "_tell_of_block", notice)

    def stop_here() -> None:
        frame = sys._getframe()
        frame.f_trace = lambda *_: None
        assert looked.wait(LIMIT_S)

    own_loop.call_soon(stop_here)
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    assert looked.is_set()
    assert not ledger.blocks


def test_two_loops_in_two_threads_are_told_apart() -> None:
    found: dict[str, Block] = {}

    def run(name: str) -> None:
        loop = tercet.new_event_loop()
        ledger = Ledger(loop)
        namespace: dict[str, Any] = {"wait": ledger.wait_for_reports}
        exec(f"def {name}(): wait(1)", namespace)
        loop.call_soon(namespace[name])
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        found[name] = ledger.blocks[0]

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert {name: block.stack[0].name for name, block in found.items()} == {"one": "one", "two": "two"}


def test_patience_is_what_slow_callback_duration_says(own_loop: tercet.EventLoop) -> None:
    assert own_loop.slow_callback_duration == 0.1
    own_loop.slow_callback_duration = 0.02
    ledger = Ledger(own_loop)
    own_loop.call_soon(ledger.wait_for_reports, 1)
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    assert ledger.blocks[0].duration >= 0.02


def test_the_thread_takes_no_signals() -> None:
    run_program(
        """
        import asyncio, os, tercet

        async def main():
            while True:
                for task in os.listdir("/proc/self/task"):
                    status = dict(line.split(":", 1) for line in open(f"/proc/self/task/{task}/status"))
                    if status["Name"].strip() == "tercet-guard":
                        return int(status["SigBlk"], 16)
                await asyncio.sleep(0)  # it names itself when it begins
        blocked = tercet.run(main())
        assert blocked and blocked & 0b11 == 0b11, blocked
        """
    )


def test_a_guard_that_is_closed_watches_nothing_more() -> None:
    run_program(
        """
        import asyncio, tercet
        from tercet._tercet import close_guard, is_guarding

        async def main():
            assert is_guarding()
            close_guard()
            assert not is_guarding()
        tercet.run(main())
        tercet.run(asyncio.sleep(0))
        assert not is_guarding()
        """
    )
