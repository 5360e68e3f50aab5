"""Signals, forks, children, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import tercet

Loop = asyncio.AbstractEventLoop


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    words = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_ctrl_c_ends_a_sleeping_loop() -> None:
    program = """
        import asyncio, tercet
        async def main():
            print("ready", flush=True)
            await asyncio.sleep(3600)
        tercet.run(main())
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in said


def test_signals_are_handled_in_the_loop(loop: Loop) -> None:
    seen: list[str] = []

    def handle(word: str) -> None:
        seen.append(word)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handle, "usr1")
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert seen == ["usr1"]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.set_wakeup_fd(-1) == -1


def test_no_signal_is_listened_to_after_a_run(loop: Loop) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    assert signal.set_wakeup_fd(-1) == -1


def test_a_child_process(loop: Loop) -> None:
    async def main() -> Any:
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", "cat; exit 3", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return await child.communicate(b"through"), child.returncode

    asyncio.set_event_loop(loop)
    try:
        assert loop.run_until_complete(main()) == ((b"through", None), 3)
    finally:
        asyncio.set_event_loop(None)


def test_the_child_of_a_fork_leaves_the_parent_s_loop_alone(own_loop: tercet.EventLoop) -> None:
    near, far = socket.socketpair()
    with near, far:
        own_loop.add_reader(near, own_loop.stop)
        child = os.fork()
        if child == 0:
            # The copy is closed, and with it what it watched.
            try:
                own_loop.remove_reader(near)
                own_loop.close()
                fresh = tercet.new_event_loop()
                os._exit(fresh.run_until_complete(asyncio.sleep(0, 7)))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        far.send(b"x")
        own_loop.run_forever()
        own_loop.remove_reader(near)


def test_the_interpreter_ends_with_an_open_loop() -> None:
    done = run("""
        import asyncio, socket, tercet
        loop = tercet.new_event_loop()
        near, far = socket.socketpair()
        async def main():
            await loop.create_connection(asyncio.Protocol, sock=near)
            loop.call_later(3600, print)
            loop.call_soon(loop.call_soon, print, "never")
            loop.add_reader(far, print)
        loop.run_until_complete(main())
        print("end")
    """)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_a_panic_becomes_an_exception(own_loop: tercet.EventLoop) -> None:
    # Nothing in the loop panics; that its methods refuse nonsense with an exception is what can be seen of it.
    for call in (
        lambda: own_loop._add_reader(-1, print),
        lambda: own_loop._add_reader("nonsense", print),
        lambda: own_loop._operate("nonsense", socket.socket()),
        lambda: own_loop._lend(None, True),
        lambda: own_loop._make_stream_transport(None, None),
        lambda: own_loop.call_at("soon", print),
    ):
        with pytest.raises((ValueError, TypeError, AttributeError, OSError)):
            call()


def test_importing_tercet_loads_no_asyncio() -> None:
    done = run("""
        import sys, tercet
        print("asyncio" in sys.modules)
        tercet.new_event_loop().close()
        print("asyncio" in sys.modules)
    """)
    assert done.stdout == "False\nTrue\n", done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="policies are deprecated there")
def test_install() -> None:
    done = run("""
        import asyncio, tercet
        tercet.install()
        async def main():
            print(type(asyncio.get_running_loop()).__name__)
        asyncio.run(main())
    """)
    assert done.stdout == "EventLoop\n", done.stderr
