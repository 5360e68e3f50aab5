"""Each test of behaviour runs on the standard library's loop and on tercet's: what the first does is what is right."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Iterator

import pytest

import tercet

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "standard": asyncio.SelectorEventLoop,
    "tercet": tercet.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a loop."""
    return LOOPS[request.param]


@pytest.fixture
def loop(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop that is closed afterwards."""
    with contextlib.closing(make_loop()) as loop:
        yield loop


@pytest.fixture
def own_loop() -> Iterator[tercet.EventLoop]:
    """Return a loop of tercet's, for what only it promises."""
    with contextlib.closing(tercet.new_event_loop()) as loop:
        yield loop


def descriptors() -> set[str]:
    """Return the open descriptors of this process."""
    gc.collect()
    return {f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if is_open(fd)}


def is_open(fd: str) -> bool:
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return True


@pytest.fixture
def no_new_descriptors() -> Iterator[None]:
    """Fail when a test leaves a descriptor open."""
    before = len(descriptors())
    yield
    assert len(descriptors()) == before
