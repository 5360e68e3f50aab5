"""`tercet.ThreadPoolExecutor`: starting and ending its threads."""

from __future__ import annotations

import threading

import pytest

from tercet import thread_pool


def test_a_thread_may_be_joined_before_another_has_started_it() -> None:
    order: list[str] = []
    thread = thread_pool._Thread(target=order.append, args=("ran",))

    def join() -> None:
        thread.join()
        order.append("joined")

    joiner = threading.Thread(target=join)
    joiner.start()
    thread.start()
    joiner.join(30)
    assert order == ["ran", "joined"]


def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise RuntimeError("can't start new thread")

    thread = thread_pool._Thread(target=print)
    joiner = threading.Thread(target=thread.join)
    joiner.start()
    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            monkeypatch.setattr(threading, name, refuse)
    with pytest.raises(RuntimeError, match="start new thread"):
        thread.start()
    joiner.join(30)
    assert not joiner.is_alive()
