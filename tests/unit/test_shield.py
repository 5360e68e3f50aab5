"""Signals while threads are started."""

from __future__ import annotations

import signal
import threading

from tercet.shield import Shield


def blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_nothing_reaches_a_thread_that_is_being_born_until_it_says_so() -> None:
    shield, found = Shield(), []

    def live() -> None:
        found.append(blocked())
        shield.lower()
        found.append(blocked())

    before = blocked()
    with shield:
        assert signal.SIGINT in blocked()
        thread = threading.Thread(target=live)
        thread.start()
    assert blocked() == before
    thread.join()
    assert signal.SIGINT in found[0]
    assert found[1] == before


def test_what_was_blocked_before_stays_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with Shield():
            pass
        assert signal.SIGUSR2 in blocked()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


def test_a_signal_under_way_goes_to_its_thread_first() -> None:
    """The thread that lowers its shield does not take a signal that the main thread is about to have."""
    shield, came = Shield(), []
    handler = signal.signal(signal.SIGUSR1, lambda *_: came.append(threading.get_ident()))
    lowered = threading.Event()

    def live() -> None:
        shield.lower()
        lowered.set()

    try:
        with shield:
            thread = threading.Thread(target=live)
            thread.start()
            signal.raise_signal(signal.SIGUSR1)
        lowered.wait()
        thread.join()
        assert came == [threading.get_ident()]
    finally:
        signal.signal(signal.SIGUSR1, handler)
