"""Callbacks, timers and threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from typing import Any

import pytest

import tercet

Loop = asyncio.AbstractEventLoop
RUNS_HANDLER_IN_CONTEXT = hasattr(asyncio.Handle, "get_context")
"""Since Python 3.12 a handle tells its context, and the loop enters it for the exception handler."""


def turn(loop: Loop) -> None:
    """Run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("count", range(6))
def test_callbacks_get_their_arguments(loop: Loop, count: int) -> None:
    seen: list[tuple[int, ...]] = []
    handle = loop.call_soon(lambda *args: seen.append(args), *range(count))
    turn(loop)
    assert seen == [tuple(range(count))]
    assert isinstance(handle, asyncio.Handle)
    assert not handle.cancelled()


def test_callbacks_come_in_order_and_new_ones_in_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    turn(loop)
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "third"]


def test_a_cancelled_handle_is_not_called_and_lets_go_of_its_call(loop: Loop) -> None:
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    handle = loop.call_soon(pytest.fail, held)
    del held
    handle.cancel()
    gc.collect()
    assert gone() is None
    assert handle.cancelled()
    turn(loop)


def test_a_callback_may_cancel_itself(loop: Loop) -> None:
    seen: list[Any] = []

    def callback(*args: Any) -> None:
        handle.cancel()
        gc.collect()
        seen.append(args)

    handle = loop.call_soon(callback, "a" * 100, ["b"])
    turn(loop)
    assert seen == [("a" * 100, ["b"])]
    assert handle.cancelled()
    assert "callback" not in repr(handle)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_contexts(loop: Loop, method: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []
    mine = contextvars.copy_context()
    mine.run(variable.set, "mine")
    schedule = getattr(loop, method)
    variable.set("current")
    schedule(lambda: seen.append(variable.get()))
    variable.set("later")
    schedule(lambda: (seen.append(variable.get()), variable.set("changed")), context=mine)
    schedule(lambda: seen.append(variable.get()), context=mine)
    turn(loop)
    assert seen == ["current", "mine", "changed"]
    assert variable.get() == "later"


def test_an_error_goes_to_the_handler_outside_of_what_the_callback_ran_in(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="of the loop")
    seen: list[str] = []
    reports: list[dict[str, Any]] = []
    context = contextvars.copy_context()
    context.run(variable.set, "of the callback")

    def handler(_: Loop, report: dict[str, Any]) -> None:
        seen.append(variable.get())
        if not RUNS_HANDLER_IN_CONTEXT:
            # Nobody has entered it.
            context.run(seen.append, "entered")
        reports.append(report)

    loop.set_exception_handler(handler)
    handle = loop.call_soon(lambda: 1 // 0, context=context)
    loop.call_soon(reports.append, {}, context=context)
    turn(loop)
    assert seen == (["of the callback"] if RUNS_HANDLER_IN_CONTEXT else ["of the loop", "entered"])
    assert isinstance(reports[0]["exception"], ZeroDivisionError)
    assert reports[0]["handle"] is handle
    assert reports[0]["message"].startswith("Exception in callback test_an_error")
    assert reports[1] == {}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_loop_leaves_the_rest_for_later(loop: Loop, kind: type[BaseException]) -> None:
    def end() -> None:
        raise kind

    seen: list[str] = []
    loop.call_soon(end)
    loop.call_soon(seen.append, "rest")
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    assert seen == []
    turn(loop)
    assert seen == ["rest"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda loop: loop.call_soon(), "missing 1 required positional argument: 'callback'"),
        (lambda loop: loop.call_soon(print, wrong=1), "unexpected keyword argument 'wrong'"),
        (lambda loop: loop.call_at(1), "missing 1 required positional argument: 'callback'"),
        (lambda loop: loop.call_later(None, print), "None"),
    ],
)
def test_wrong_arguments(loop: Loop, call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call(loop)


def test_everything_refuses_a_closed_loop(loop: Loop) -> None:
    loop.close()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.call_soon_threadsafe(print),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    loop.close()


def test_timers_come_in_the_order_of_their_deadlines(loop: Loop) -> None:
    seen: list[int] = []
    now = loop.time()
    for place, delay in enumerate([0.003, 0.001, 0.002]):
        timer = loop.call_at(now + delay, seen.append, place)
        assert isinstance(timer, asyncio.TimerHandle)
        assert timer.when() == now + delay
    loop.call_at(now + 0.004, loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 0]


def test_equal_deadlines_keep_their_order(own_loop: tercet.EventLoop) -> None:
    seen: list[int] = []
    when = own_loop.time()
    for place in range(50):
        own_loop.call_at(when, seen.append, place)
    own_loop.call_later(0, own_loop.stop)
    own_loop.run_forever()
    assert seen == list(range(50))


def test_a_timer_is_never_early(own_loop: tercet.EventLoop) -> None:
    late: list[float] = []
    delays = [place * 1.7e-4 for place in range(60)]

    def note(when: float) -> None:
        late.append(time.monotonic() - when)
        if len(late) == len(delays):
            own_loop.stop()

    for delay in delays:
        when = own_loop.time() + delay
        own_loop.call_at(when, note, when)
    own_loop.run_forever()
    assert min(late) >= 0


@pytest.mark.parametrize("schedule", ["call_soon", "call_later"])
def test_a_handle_that_goes_tells_those_who_refer_to_it(loop: Loop, schedule: str) -> None:
    delay = (0,) if schedule == "call_later" else ()
    handle = getattr(loop, schedule)(*delay, lambda: None)
    while_alive: list[bool] = []
    reference = weakref.ref(handle, lambda reference: while_alive.append(reference() is not None))
    assert reference() is handle
    while not while_alive:
        turn(loop)
        handle = None
        gc.collect()
    assert while_alive == [False]
    assert reference() is None


def test_timers_that_are_called_off_do_not_pile_up(own_loop: tercet.EventLoop) -> None:
    class Held:
        pass

    handles = [own_loop.call_later(3600, print, Held()) for _ in range(1000)]
    for handle in handles:
        handle.cancel()
    gone = [weakref.ref(handle) for handle in handles]
    del handles, handle
    gc.collect()
    assert sum(ref() is not None for ref in gone) < 600


def test_comparing_timers(loop: Loop) -> None:
    early, late = loop.call_at(1e9, print), loop.call_at(2e9, print)
    assert early < late
    assert late >= early
    assert hash(early) == hash(1e9)
    assert early != late
    assert "when=1000000000.0" in repr(early)


def test_other_threads_wake_the_loop(loop: Loop) -> None:
    seen: list[int] = []

    def work() -> None:
        for place in range(1000):
            loop.call_soon_threadsafe(seen.append, place)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert seen == list(range(1000))


def test_the_order_of_one_thread_is_kept_before_the_loop_runs(loop: Loop) -> None:
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    turn(loop)
    assert seen == [1, 2, 3]


def test_two_loops_in_two_threads(make_loop: Any) -> None:
    async def ping_pong(count: int) -> int:
        for _ in range(count):
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, int)
        return count

    def work(results: list[int]) -> None:
        loop = make_loop()
        results.append(loop.run_until_complete(ping_pong(50)))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    results: list[int] = []
    threads = [threading.Thread(target=work, args=(results,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [50, 50]


def test_a_loop_runs_once_at_a_time(loop: Loop) -> None:
    async def nested() -> None:
        loop.run_forever()

    with pytest.raises(RuntimeError, match="already running"):
        loop.run_until_complete(nested())


def test_cycles_through_handles_are_collected(make_loop: Any) -> None:
    def make() -> weakref.ref[Loop]:
        loop = make_loop()
        timer = loop.call_later(3600, lambda: loop)
        handle = loop.call_soon(lambda: (loop, timer, handle))
        loop.close()
        return weakref.ref(loop)

    gone = make()
    gc.collect()
    assert gone() is None


class Keeper:
    """Something that keeps the handles of its own method: part of a cycle as long as a handle has its call."""

    handles: list[Any]

    def called(self, *args: object) -> None:
        pass


KEPT: contextvars.ContextVar[Any] = contextvars.ContextVar("KEPT")


@pytest.mark.parametrize("ending", ["run", "raises", "due", "letter", "cancelled", "cancelled timers"])
def test_a_handle_that_outlives_its_wait_can_be_garbage(loop: Loop, ending: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    def schedule(keeper: Keeper) -> list[Any]:
        # A handle keeps its context even when it has lost its call.
        context = contextvars.copy_context()
        context.run(KEPT.set, keeper)
        if ending == "due":
            return [loop.call_later(0, keeper.called, context=context)]
        if ending == "cancelled timers":
            return [loop.call_later(3600, keeper.called, context=context) for _ in range(100)]
        if ending == "letter":
            handles: list[Any] = []
            send = lambda: handles.append(loop.call_soon_threadsafe(keeper.called, context=context))  # noqa: E731
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()
            return handles
        return [loop.call_soon(fail if ending == "raises" else keeper.called, context=context)]

    async def main() -> weakref.ref[Keeper]:
        keeper = Keeper()
        keeper.handles = schedule(keeper)
        if ending.startswith("cancelled"):
            for handle in keeper.handles:
                handle.cancel()
        await asyncio.sleep(0.001)
        return weakref.ref(keeper)

    loop.set_exception_handler(lambda *_: None)
    gone = loop.run_until_complete(main())
    gc.collect()
    assert gone() is None


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_nobody_closes_is_garbage_with_all_that_waits_in_it(make_loop: Any) -> None:
    def run() -> weakref.ref[Keeper]:
        loop, keeper = make_loop(), Keeper()

        def schedule() -> None:
            soon = loop.call_soon(keeper.called, loop)
            letter = loop.call_soon_threadsafe(keeper.called, loop)
            keeper.handles = [soon, letter, loop.call_later(3600, keeper.called, loop)]
            loop.stop()

        loop.call_soon(schedule)
        loop.run_forever()
        return weakref.ref(keeper)

    gone = run()
    gc.collect()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("end", ["run", "cancelled", "left"])
@pytest.mark.parametrize("when", ["while it waits", "while it runs"])
def test_a_context_that_holds_itself_is_garbage_with_its_handle(make_loop: Any, end: str, when: str) -> None:
    """The copy that a handle makes can be asked for at any time, and then belongs to others as well."""
    variable: contextvars.ContextVar[Keeper] = contextvars.ContextVar("variable")
    loop, gone, contexts = make_loop(), [], []

    def note(keeper: Keeper) -> None:
        if when == "while it runs":
            keeper.handles = [shown._context for shown in contexts]
            gc.collect()

    async def main() -> None:
        keeper = Keeper()
        variable.set(keeper)
        gone.append(weakref.ref(keeper))
        for handle in (loop.call_soon(note, keeper), loop.call_later(0, note, keeper)):
            contexts.append(handle)
            if when == "while it waits":
                keeper.handles = [*keeper.handles, handle._context] if hasattr(keeper, "handles") else [handle._context]
            if end == "cancelled":
                handle.cancel()
        gc.collect()
        if end != "left":
            await asyncio.sleep(0.001)

    contextvars.Context().run(loop.run_until_complete, main())
    contexts.clear()
    loop.close()
    gc.collect()
    assert gone[0]() is None


def test_handles_are_made_anew_where_others_have_been() -> None:
    """Memory of handles is used again; nothing of the old one is left in it, and the collector may look at any time."""
    loop, seen = tercet.new_event_loop(), []

    async def main() -> None:
        for number in range(3):
            kept = [loop.call_soon(seen.append, number, context=contextvars.copy_context()) for _ in range(50)]
            kept += [loop.call_later(0, seen.append, number) for _ in range(50)]
            plain = [loop.call_soon(int) for _ in range(50)]
            assert not any(handle.cancelled() or weakref.getweakrefs(handle) for handle in (*kept, *plain))
            told = [weakref.ref(handle) for handle in kept]
            for handle in kept[::3]:
                handle.cancel()
            gc.collect()
            del kept, plain, handle
            await asyncio.sleep(0.001)
            assert not any(reference() for reference in told)

    loop.run_until_complete(main())
    assert seen == [number for number in range(3) for _ in range(66)]
    loop.close()


@pytest.mark.parametrize("method", ["call_soon", "call_later"])
def test_weak_references_to_handles_end_with_them(loop: Loop, method: str) -> None:
    handle = loop.call_soon(print, "") if method == "call_soon" else loop.call_later(0, print, "")
    gone: Any = weakref.ref(handle)
    handle.cancel()
    del handle
    turn(loop)
    turn(loop)
    gc.collect()
    assert gone() is None


def test_a_handle_tells_what_it_is(loop: Loop) -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        for handle in (loop.call_soon(abs, 1, context=context), loop.call_later(0, abs, 1, context=context)):
            shown: Any = handle
            assert (shown._callback, shown._args, shown._context, shown._loop) == (abs, (1,), context, loop)
            assert (shown._cancelled, shown._source_traceback, shown._repr) == (False, None, None)
            handle.cancel()
            assert (shown._callback, shown._args, shown._cancelled) == (None, None, True)
            assert (shown._context, shown._loop) == (context, loop)

    loop.run_until_complete(main())


def test_debug_mode_tells_where_a_handle_was_made(loop: Loop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(print)
    assert "test_schedule.py" in repr(handle)
    with pytest.raises(TypeError, match="callable"):
        loop.call_soon(7)  # type: ignore[arg-type]


def test_debug_mode_reports_what_is_slow(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # type: ignore[attr-defined]
    loop.call_soon(sum, [1])
    turn(loop)
    assert any("took" in record.getMessage() for record in caplog.records)


def test_run_is_asyncio_s() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__name__

    assert tercet.run(main()) == "EventLoop"
    coroutine = main()

    async def nested() -> None:
        tercet.run(coroutine)

    with pytest.raises(RuntimeError, match="running event loop"):
        tercet.run(nested())
    coroutine.close()


def test_the_selector_shows_what_is_watched(own_loop: tercet.EventLoop) -> None:
    import selectors
    import socket

    near, far = socket.socketpair()
    with near, far:
        own_loop.add_reader(near, print)
        key = own_loop._selector.get_key(near)
        assert key.events == selectors.EVENT_READ
        assert own_loop.remove_reader(near)
        assert near.fileno() not in own_loop._selector.get_map()
        with pytest.raises(RuntimeError, match="read-only"):
            own_loop._selector.register(near, selectors.EVENT_READ)


@pytest.mark.parametrize("way", ["reader", "writer"])
def test_a_watch_of_a_socket_that_was_closed_meanwhile_is_found(loop: asyncio.AbstractEventLoop, way: str) -> None:
    import socket

    near, far = socket.socketpair()
    with near, far:
        getattr(loop, f"add_{way}")(near, print)
        near.close()
        assert getattr(loop, f"remove_{way}")(near) is True
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            getattr(loop, f"remove_{way}")(near)
