"""What daemon threads are at when the interpreter ends: CPython before 3.14 unwinds them, through native frames."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PATIENCE_S = 60

HEAD = """
import asyncio, socket, sys, threading, tercet
begun = threading.Event()
def spin(*_):
    begun.set()
    while True:
        pass
def start(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()
class Unpacked:
    def __reduce__(self):
        return spin, ()
class Packed:
    def __reduce__(self):
        spin()
"""

BODIES = {
    "get": "queue = tercet.Queue(); queue.put(Unpacked()); start(queue.get)",
    "put": "start(tercet.Queue().put, Packed())",
    "get of a simple queue": "queue = tercet.SimpleQueue(); queue.put(Unpacked()); start(queue.get)",
    "put of a simple queue": "start(tercet.SimpleQueue().put, Packed())",
    "receive": "here, there = tercet.Pipe(); here.send(Unpacked()); start(there.recv)",
    "result of a process": "start(tercet.ProcessPoolExecutor(1).submit(Unpacked).result)",
    "argument of a process": "start(tercet.ProcessPoolExecutor(1).submit, print, Packed())",
    "end of a worker": """
        import tercet.starter
        tercet.starter.ZygoteStarter.mourn = spin
        pool = tercet.Pool(1)
        pool.apply(abs, (1,))
        pool.terminate()
    """,
    "condition of a future": """
        future = tercet.Future()
        future._condition.notify_all = spin
        start(future.set_result, 1)
    """,
    "callback": "loop.call_soon(spin); start(loop.run_forever)",
    "timer": "loop.call_later(0.001, spin); start(loop.run_forever)",
    "task": """
        async def main():
            while True:
                begun.set()
                await asyncio.sleep(0)
        start(tercet.run, main())
    """,
    "protocol": """
        here, there = socket.socketpair()
        class Protocol(asyncio.Protocol):
            data_received = spin
        async def main():
            await asyncio.get_running_loop().create_connection(Protocol, sock=here)
            there.send(b"x")
            await asyncio.Event().wait()
        start(tercet.run, main())
    """,
    "reader": """
        here, there = socket.socketpair()
        there.send(b"x")
        loop.add_reader(here, spin)
        start(loop.run_forever)
    """,
    "idle": "loop.call_soon(begun.set); start(loop.run_forever)",
}


@pytest.mark.parametrize("way", BODIES)
def test_a_daemon_thread_does_not_disturb_the_end(tmp_path: Path, way: str) -> None:
    program = tmp_path / "program.py"
    loop = "loop = tercet.new_event_loop()\n" if "loop." in BODIES[way] else ""
    ending = "assert begun.wait(50)\nsys.exit(7)\n"
    body = textwrap.indent(loop + textwrap.dedent(BODIES[way]).strip() + "\n" + ending, "    ")
    program.write_text(f'{HEAD}if __name__ == "__main__":\n{body}')
    words = [sys.executable, str(program)]
    found = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (7, "", "")
