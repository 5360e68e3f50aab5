"""A reader of streams does what asyncio's does, whatever is done to both, in whatever order."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import tercet
from tercet import streams

# Few different bytes, so that separators are found, missed, and cut in two.
DATA = st.binary(max_size=12).map(lambda data: bytes(b"ab\n-"[byte % 4] for byte in data))
COUNT = st.integers(-2, 14)
SEPARATOR = st.one_of(
    DATA,
    st.just(b"\n"),
    st.lists(DATA, max_size=3).map(tuple),
    st.sampled_from([b"--", b"-\n", (b"a", b"ba"), bytearray(b"-")]),
)

STEP = st.one_of(
    st.tuples(st.just("feed"), DATA),
    st.tuples(st.just("feed"), DATA),
    st.tuples(st.just("read"), COUNT),
    st.tuples(st.just("readexactly"), COUNT),
    st.tuples(st.just("readline")),
    st.tuples(st.just("__anext__")),
    st.tuples(st.just("readuntil"), SEPARATOR),
    st.tuples(st.just("end")),
    st.tuples(st.just("fail")),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("turn")),
    st.tuples(st.just("peek")),
    st.tuples(st.just("cut"), st.integers(0, 5)),
)


class Valve(asyncio.Transport):
    def __init__(self, told: list[Any], can_pause: bool) -> None:
        super().__init__()
        self.told = told
        self.can_pause = can_pause

    def __repr__(self) -> str:
        return "<Valve>"

    def pause_reading(self) -> None:
        self.told.append("pause")
        if not self.can_pause:
            raise NotImplementedError

    def resume_reading(self) -> None:
        self.told.append("resume")


class Trial:
    """One reader, and what it did."""

    def __init__(self, reader: Any, can_pause: bool | None) -> None:
        self.reader = reader
        self.told: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        if can_pause is not None:
            reader.set_transport(Valve(self.told, can_pause))

    async def do(self, name: str, *arguments: Any) -> None:
        match name:
            case "feed":
                self.note(lambda: self.reader.feed_data(*arguments))
            case "end":
                self.note(self.reader.feed_eof)
            case "fail":
                self.note(lambda: self.reader.set_exception(OSError("broken")))
            case "cancel":
                for task in self.tasks[arguments[0] :][:1]:
                    task.cancel()
            case "turn":
                await asyncio.sleep(0)
            case "peek":
                self.told.append(bytes(self.reader._buffer))
            case "cut":
                del self.reader._buffer[: arguments[0]]
            case _:
                self.tasks.append(asyncio.create_task(getattr(self.reader, name)(*arguments)))
        reader = self.reader
        self.told.append(
            (reader.at_eof(), repr(reader.exception()), reader._paused, reader._waiter is None, reader._eof)
        )

    def note(self, act: Any) -> None:
        try:
            act()
        except Exception as error:
            self.told.append((type(error), str(error)))

    async def end(self) -> list[Any]:
        with contextlib.suppress(AssertionError):
            self.reader.feed_eof()
        for _ in range(5):
            await asyncio.sleep(0)
        for task in self.tasks:
            task.cancel()
        done = await asyncio.gather(*self.tasks, return_exceptions=True)
        outcomes = [outcome(done) for done in done]
        return [*self.told, *outcomes, bytes(self.reader._buffer), repr(self.reader)]


def outcome(done: Any) -> Any:
    if isinstance(done, asyncio.IncompleteReadError):
        return type(done), done.partial, done.expected
    if isinstance(done, asyncio.LimitOverrunError):
        return type(done), str(done), done.consumed
    return (type(done), str(done)) if isinstance(done, BaseException) else (type(done), done)


@given(st.lists(STEP, max_size=25), st.integers(1, 12), st.sampled_from([None, False, True]))
def test_a_reader_does_what_asyncios_does(steps: list[Any], limit: int, can_pause: bool | None) -> None:
    async def main(make: Any) -> list[Any]:
        trial = Trial(make(limit=limit), can_pause)
        for step in steps:
            await trial.do(*step)
        return await trial.end()

    found = []
    for make, make_loop in (
        (asyncio.StreamReader, asyncio.SelectorEventLoop),
        (streams.StreamReader, tercet.new_event_loop),
    ):
        with asyncio.Runner(loop_factory=make_loop) as runner:
            found.append(runner.run(main(make)))
    assert found[0] == found[1]
