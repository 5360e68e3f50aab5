"""The loops that are compared, and the two processes of a case: a server on one processor, the generator on another."""

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = "TERCET_LOAD"
SERVER_CPU, LOAD_CPU = 0, 1


def new_loop(name):
    """Return a new loop of the kind called `name`."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    if name == "rloop":
        import rloop

        return rloop.new_event_loop()
    import tercet

    return tercet.new_event_loop()


class Face:
    """What a case is run with: the name of a loop."""

    def __init__(self, workers):
        pass

    def submit(self):
        """Nothing: a loop can do every case, or fails at it."""

    def close(self):
        """Nothing is kept open."""

    def run(self, main):
        """Run a coroutine on a new loop, on the processor of servers."""
        pin(SERVER_CPU)
        loop = new_loop(self.name)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(main)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def face(loop):
    """Return the face of the loop called `loop`."""
    return type(loop.title(), (Face,), {"name": loop})


LOOPS = {name: face(name) for name in ("tercet", "asyncio", "uvloop", "rloop")}


def pin(cpu):
    """Stay on one processor, where there is more than one."""
    present = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {present[cpu % len(present)]})


@functools.cache
def load_program():
    """Return the path of the load generator; build it once."""
    if PROGRAM not in os.environ:
        words = ["cargo", "build", "--release", "--locked", "--package", "tercet-load", "--message-format", "json"]
        built = subprocess.run(words, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
        messages = map(json.loads, built.stdout.splitlines())
        os.environ[PROGRAM] = next(message["executable"] for message in messages if message.get("executable"))
    return os.environ[PROGRAM]


def load(*words):
    """Run the load generator on its processor, and return its report."""
    line = [load_program(), *map(str, words)]
    answer = subprocess.run(line, preexec_fn=lambda: pin(LOAD_CPU), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout or "null")


@contextlib.contextmanager
def folder():
    """Return a folder with a certificate, and a file of the pattern."""
    with tempfile.TemporaryDirectory() as name:
        load("certificate", name)
        load("pattern", Path(name, "pattern"), 16)
        yield Path(name)


@contextlib.contextmanager
def served(*words, before=(), cpu=SERVER_CPU, stderr=None):
    """Start a server, which prints its address; it ends when its standard input does."""
    process = subprocess.Popen(
        [*before, *map(str, words)],
        preexec_fn=lambda: pin(cpu),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the server ended with code {process.wait()}")
        yield address, process
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()


def python_server(loop, kind, address, place, tls=False, **more):
    """Start the Python server `kind` on a loop."""
    words = [sys.executable, HERE / "_loop_server.py", loop, kind, address, place, *(["--tls"] if tls else [])]
    return served(*words, **more)


def native_server(kind, address, place, tls=False, **more):
    """Start the native server `kind`."""
    return served(load_program(), "serve", kind, address, *(["--tls", place] if tls else []), **more)
