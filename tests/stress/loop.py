"""Crowds, churn, slow and half-closed peers, resets, errors, cancelling, no descriptors left, signals, forks: flat.

Each part is a round that is repeated for its share of the time, at least twice. What the first round leaves behind is
what memory and descriptors are compared with; an error that nobody expected, a lost byte, a connection that is not told
of its end, and a round that takes too long end the run with exit code 1.

    ./x stress loop                        two minutes
    ./x stress loop --seconds 3600         an hour
    ./x stress loop resets cancels         these parts alone
    ./x stress loop --loop asyncio         the standard loop, as the oracle
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import functools
import gc
import os
import random
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LOOPS = ("tercet", "asyncio", "uvloop")
PATIENCE_S = 120.0
GROWTH_MB = 8.0
MESSAGE = random.Random(1).randbytes(100_000)
RESET = struct.pack("ii", 1, 0)


class Fault(Exception):
    """Something is not as it should be."""


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    import tercet

    return tercet.new_event_loop()


# --- the server -----------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Sends back what comes, minds its buffer, and counts who comes and goes."""

    def __init__(self, house: House) -> None:
        self.house, self.ended = house, 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.house.guests.add(self)
        self.house.made += 1

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.house.halves += 1
        return False

    def pause_writing(self) -> None:
        self.house.pauses += 1
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, error: BaseException | None) -> None:
        self.house.lost += 1
        self.ended += 1
        if self.ended > 1:
            self.house.complaints.append({"message": "a connection was lost twice"})
        self.house.guests.discard(self)


class House:
    """A server and what it has seen; it is empty and without complaints when it closes."""

    def __init__(self) -> None:
        self.made = self.lost = self.halves = self.pauses = 0
        self.guests: set[Echo] = set()
        self.complaints: list[dict[str, Any]] = []
        self.expected: tuple[type[BaseException], ...] = ()

    def hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), self.expected or Fault):
            self.complaints.append(context)

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something that happens in callbacks."""
        until = time.monotonic() + PATIENCE_S / 2
        while not is_so():
            if time.monotonic() > until:
                raise Fault(f"{what} has not come about: {self.made} made, {self.lost} lost")
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def house(protocol: type[Echo] = Echo) -> AsyncIterator[tuple[House, Any]]:
    """Open a house; at the end all guests have to be gone."""
    here, loop = House(), asyncio.get_running_loop()
    loop.set_exception_handler(here.hear)
    server = await loop.create_server(lambda: protocol(here), "127.0.0.1", 0, backlog=4096)
    try:
        yield here, server.sockets[0].getsockname()
        await here.until(lambda: here.made == here.lost, "the end of each connection")
    finally:
        server.close()
        await server.wait_closed()
        loop.set_exception_handler(None)
    if here.complaints:
        raise Fault(f"the loop complains: {here.complaints[0]}")


async def ask(address: Any, message: bytes = b"hello") -> None:
    """Connect, send, receive the same, close."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(message)
        await writer.drain()
        if await reader.readexactly(len(message)) != message:
            raise Fault("another message came back")
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def peer(address: Any) -> socket.socket:
    """Return a connected socket that the loop knows nothing of."""
    there = socket.socket()
    there.setblocking(False)
    await asyncio.get_running_loop().sock_connect(there, address)
    return there


def reset(there: socket.socket) -> None:
    """Close with a reset."""
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    there.close()


# --- the parts ------------------------------------------------------------------------------------------------


async def crowd(wishes: argparse.Namespace) -> None:
    """As many open connections as the limit of descriptors allows, from another process, each with a message."""
    many = min(wishes.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    async with house() as (here, address):
        words = [sys.executable, "-c", CROWD, str(address[1]), str(many)]
        crowd = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert crowd.stdin
        assert crowd.stdout
        said = await crowd.stdout.readline()
        if said.strip() != b"ready" or len(here.guests) != many:
            raise Fault(f"{len(here.guests)} of {many} connections, and the crowd said {said!r}")
        await ask(address)
        crowd.stdin.close()
        if await crowd.wait():
            raise Fault("the crowd did not end well")


CROWD = """
import select, socket, sys
port, many = int(sys.argv[1]), int(sys.argv[2])
crowd = {}
for number in range(many):
    there = socket.create_connection(("127.0.0.1", port))
    crowd[there.fileno()] = there
    there.sendall(b"%08d" % number)
    if number % 500 == 499:  # Never more than the backlog holds.
        there.recv(1, socket.MSG_PEEK)
for number, there in enumerate(crowd.values()):
    assert there.recv(8, socket.MSG_WAITALL) == b"%08d" % number
print("ready", flush=True)
sys.stdin.read()
for there in crowd.values():
    there.close()
"""


async def churn(wishes: argparse.Namespace) -> None:
    """Connections opened and closed, fifty at a time, with short and long messages."""
    async with house() as (here, address):
        for _ in range(20):
            await asyncio.gather(*(ask(address, MESSAGE[: 10 ** random.randint(0, 5)]) for _ in range(50)))
        if here.made != 1000:
            raise Fault(f"{here.made} connections instead of 1000")


async def slow_readers(wishes: argparse.Namespace) -> None:
    """Peers that send without reading: the server stops reading from them, serves others, and loses no byte."""
    loop, size = asyncio.get_running_loop(), 8_000_000
    message = MESSAGE * (size // len(MESSAGE))
    async with house() as (here, address):
        slow = [await peer(address) for _ in range(5)]
        sends = [loop.create_task(loop.sock_sendall(there, message)) for there in slow]
        await here.until(lambda: here.pauses >= 5, "the pause of each slow reader")
        await asyncio.gather(*(ask(address) for _ in range(20)))
        for there in slow:
            got = bytearray()
            while len(got) < len(message):
                data = await loop.sock_recv(there, 1 << 18)
                if not data:
                    raise Fault("a slow reader was cut off")
                got += data
            if got != message:
                raise Fault("a slow reader received another message")
        await asyncio.gather(*sends)
        for there in slow:
            there.close()


async def halves(wishes: argparse.Namespace) -> None:
    """Peers that close their half: what they sent comes back before the end."""
    loop = asyncio.get_running_loop()
    async with house() as (here, address):
        for _ in range(50):
            there = await peer(address)
            await loop.sock_sendall(there, MESSAGE[:50_000])
            there.shutdown(socket.SHUT_WR)
            got = b""
            while data := await loop.sock_recv(there, 1 << 16):
                got += data
            if got != MESSAGE[:50_000]:
                raise Fault(f"{len(got)} bytes came back of 50000")
            there.close()
        if here.halves != 50:
            raise Fault(f"{here.halves} ends were told of 50")


async def resets(wishes: argparse.Namespace) -> None:
    """Resets in every state: at once, in a message, under a backlog, after a half, and from the server's side."""
    loop = asyncio.get_running_loop()
    async with house() as (here, address):
        for _ in range(20):
            reset(await peer(address))
            there = await peer(address)
            await loop.sock_sendall(there, b"half a mess")
            reset(there)
            there = await peer(address)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_sendall(there, MESSAGE * 60), 0.05)
            reset(there)
            there = await peer(address)
            there.shutdown(socket.SHUT_WR)
            reset(there)
            there = await peer(address)
            before = here.lost
            await loop.sock_sendall(there, b"x")
            await loop.sock_recv(there, 1)
            guest = next(iter(here.guests))
            guest.transport.abort()
            guest.transport.write(b"too late")
            await here.until(lambda before=before: here.lost > before, "the end of an aborted connection")
            there.close()
        await ask(address)


class Raising(Echo):
    """Raises in the callback that its first byte names."""

    def data_received(self, data: bytes) -> None:
        if data[:1] == b"d":
            raise LookupError("in data_received")
        if data[:1] == b"l":
            self.transport.close()
            self.connection_lost = self.lose_and_raise  # type: ignore[method-assign]
            return
        super().data_received(data)

    def lose_and_raise(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        raise LookupError("in connection_lost")

    def eof_received(self) -> bool:
        raise LookupError("in eof_received")


async def errors(wishes: argparse.Namespace) -> None:
    """Callbacks that raise: each is reported, its connection ends, and the loop goes on."""
    loop = asyncio.get_running_loop()
    async with house(Raising) as (here, address):
        here.expected = (LookupError,)
        for number in range(30):
            there = await peer(address)
            if number % 3 == 2:
                there.shutdown(socket.SHUT_WR)
            else:
                await loop.sock_sendall(there, (b"d", b"l")[number % 3])
            with contextlib.suppress(ConnectionError):
                if await loop.sock_recv(there, 1):
                    raise Fault("a failed connection answered")
            there.close()
            loop.call_soon(lambda: 1 / 0)
            here.expected = (LookupError, ZeroDivisionError)
            there = await peer(address)
            await loop.sock_sendall(there, b"fine")
            if await loop.sock_recv(there, 4) != b"fine":
                raise Fault("the next one was not served")
            reset(there)


async def conversation(address: Any) -> None:
    """Await everything that a client may await."""
    loop = asyncio.get_running_loop()
    await ask(address, MESSAGE)
    with await peer(address) as there:
        await loop.sock_sendall(there, MESSAGE[:30_000])
        buffer = bytearray(1 << 16)
        got = 0
        while got < 30_000:
            got += await loop.sock_recv_into(there, buffer)
    await loop.run_in_executor(None, abs, -1)
    await loop.getaddrinfo(*address)
    async with asyncio.timeout(10):
        child = await asyncio.create_subprocess_exec("/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if (await child.communicate(b"meow"))[0] != b"meow":
                raise Fault("a child answered something else")
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await asyncio.shield(child.wait())


async def cancels(wishes: argparse.Namespace) -> None:
    """A conversation that is cancelled after each number of turns of the loop, and once more that is not."""
    async with house() as (_, address):
        turns = 0
        while True:
            task = asyncio.ensure_future(conversation(address))
            for _ in range(turns):
                await asyncio.sleep(0)
                if task.done():
                    break
            if not task.cancel():
                await task
                break
            with contextlib.suppress(asyncio.CancelledError):
                await task
            turns += 1 + turns // 20


async def exhaustion(wishes: argparse.Namespace) -> None:
    """No descriptor left: the server survives, and serves again when there are some."""
    logger = __import__("logging").getLogger("asyncio")
    logger.disabled = True
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with house() as (here, address):
        here.expected = (OSError,)
        await ask(address)
        peers = [socket.socket() for _ in range(40)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (room_for(10), hard))
        try:
            for there in peers:
                there.connect(address)
            before = here.made
            await here.until(lambda: here.made > before, "the first of the crowd")
            await asyncio.sleep(0.05)
            if len(here.guests) == len(peers):
                raise Fault("the limit of descriptors had no effect")
            for there in peers[:20]:
                there.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            logger.disabled = False
        await here.until(lambda: here.made == before + len(peers), "a place for each of the crowd")
        for there in peers[20:]:
            there.close()
        await ask(address)
        if wishes.loop == "asyncio":
            # The standard loop listens again a second later, and forgets that the server may have been closed.
            await asyncio.sleep(1.2)


def room_for(more: int) -> int:
    """Return the limit of descriptors under which so many more can be opened."""
    used = set(map(int, os.listdir("/proc/self/fd")))
    free = [number for number in range(len(used) + more) if number not in used]
    return free[more - 1] + 1


async def signals(wishes: argparse.Namespace) -> None:
    """Signals under load: each interval is told of, and no byte is lost."""
    loop, seen = asyncio.get_running_loop(), [0]

    def see() -> None:
        seen[0] += 1

    async with house() as (_, address):
        loop.add_signal_handler(signal.SIGALRM, see)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for _ in range(10):
                await asyncio.gather(*(ask(address, MESSAGE) for _ in range(20)))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            await asyncio.sleep(0.01)
            loop.remove_signal_handler(signal.SIGALRM)
    if not seen[0]:
        raise Fault("no signal was seen")


async def forks(wishes: argparse.Namespace) -> None:
    """Forks in the middle of a conversation: the child runs a loop of its own, and the parent goes on."""
    async with house() as (_, address):
        for _ in range(5):
            tasks = [asyncio.ensure_future(ask(address, MESSAGE)) for _ in range(10)]
            await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                be_a_child(wishes.loop)
            code = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
            if code[1]:
                raise Fault(f"a child ended with {code[1]}")
            await asyncio.gather(*tasks)


def be_a_child(name: str) -> None:
    """Run another loop, and leave."""
    code = 1
    try:
        signal.alarm(30)
        asyncio.events._set_running_loop(None)
        loop = new_loop(name)
        code = int(loop.run_until_complete(asyncio.sleep(0.001, "done")) != "done")
        loop.close()
    finally:
        os._exit(code)


async def threads(wishes: argparse.Namespace) -> None:
    """Two loops in two threads that call each other."""
    loop, calls = asyncio.get_running_loop(), [0]

    async def other() -> None:
        async with house() as (_, address):
            for _ in range(20):
                await asyncio.gather(*(ask(address) for _ in range(10)))
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop))
                calls[0] += 1

    def run() -> None:
        there = new_loop(wishes.loop)
        try:
            there.run_until_complete(other())
        finally:
            there.close()

    async with house() as (_, address):
        done = loop.run_in_executor(None, run)
        while not done.done():
            await ask(address, MESSAGE)
        await done
    if calls[0] != 20:
        raise Fault(f"{calls[0]} calls of 20")


async def tls(wishes: argparse.Namespace) -> None:
    """TLS: peers that are reset while they shake hands, and large messages between them."""
    server_side, client_side = contexts()
    loop, here = asyncio.get_running_loop(), House()
    here.expected = (OSError,)
    loop.set_exception_handler(here.hear)
    server = await loop.create_server(lambda: Echo(here), "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    for _ in range(10):
        there = await peer(("127.0.0.1", port))
        await loop.sock_sendall(there, b"\x16\x03\x01\x02\x00\x01")
        reset(there)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side, server_hostname="localhost")
        writer.write(MESSAGE)
        if await reader.readexactly(len(MESSAGE)) != MESSAGE:
            raise Fault("another message came back")
        writer.close()
        await writer.wait_closed()
    await here.until(lambda: here.made == here.lost == 10, "the end of each connection")
    server.close()
    await server.wait_closed()
    loop.set_exception_handler(None)
    if here.complaints:
        raise Fault(f"the loop complains: {here.complaints[0]}")


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a context for each side, with a certificate of the moment."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["cargo", "run", "--quiet", "--locked", "--package", "tercet-load", "--", "certificate", folder]
        subprocess.run(words, cwd=HERE, check=True)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")
        return server_side, ssl.create_default_context(cafile=f"{folder}/certificate.pem")


PARTS: dict[str, Callable[[argparse.Namespace], Awaitable[None]]] = {
    "churn": churn,
    "slow_readers": slow_readers,
    "halves": halves,
    "resets": resets,
    "errors": errors,
    "cancels": cancels,
    "tls": tls,
    "exhaustion": exhaustion,
    "signals": signals,
    "threads": threads,
    "forks": forks,
    "crowd": crowd,
}
ENDS = (
    "loop.call_later(60, print); sys.exit(7)",
    "loop.create_task(asyncio.sleep(60)); loop.run_until_complete(asyncio.sleep(0)); sys.exit(7)",
    "loop.run_until_complete(loop.create_server(asyncio.Protocol, '127.0.0.1', 0)); sys.exit(7)",
    "loop.call_soon(sys.exit, 7); loop.run_forever()",
)


# --- the run --------------------------------------------------------------------------------------------------


def resident_mb() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


def play(name: str, wishes: argparse.Namespace, seconds: float) -> None:
    """Repeat a part for its share of the time, and compare what is left behind."""
    loop = new_loop(wishes.loop)
    asyncio.set_event_loop(loop)
    round_limit = PATIENCE_S + seconds

    def once() -> None:
        # A loop that hangs cannot end itself.
        faulthandler.dump_traceback_later(round_limit, exit=True)
        loop.run_until_complete(asyncio.wait_for(PARTS[name](wishes), PATIENCE_S))
        faulthandler.cancel_dump_traceback_later()

    try:
        once()
        memory, opened, began, rounds = resident_mb(), descriptors(), time.monotonic(), 0
        while rounds == 0 or time.monotonic() < began + seconds:
            once()
            rounds += 1
        grown, more = resident_mb() - memory, descriptors() - opened
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        asyncio.set_event_loop(None)
    print(f"  {rounds} rounds in {time.monotonic() - began:.1f} s, {memory:.1f} MB and {grown:+.1f} MB", flush=True)
    if grown > GROWTH_MB:
        raise Fault(f"memory has grown by {grown:.1f} MB")
    if more > 0:
        raise Fault(f"{more} descriptors were left open")


def ends(wishes: argparse.Namespace) -> None:
    """Interpreters that end with an open loop."""
    head = f"import sys, asyncio; sys.path.insert(0, {str(HERE)!r}); from loop import new_loop"
    for program in ENDS:
        words = [sys.executable, "-W", "ignore", "-c", f"{head}; loop = new_loop({wishes.loop!r}); {program}"]
        found = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        noise = [line for line in found.stderr.splitlines() if "Task was destroyed but it is pending" not in line]
        if found.returncode != 7 or any("panicked" in line or "Fatal" in line for line in noise):
            raise Fault(f"exit code {found.returncode} at the end of `{program}`\n{found.stderr}")
    print(f"  {len(ENDS)} ends", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return the exit code."""
    names = [*PARTS, "ends"]
    parser = argparse.ArgumentParser(prog="./x stress loop", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--seconds", type=float, default=120.0, help="for all parts together")
    parser.add_argument("--connections", type=int, default=20_000, help="the size of the crowd")
    parser.add_argument("--loop", choices=LOOPS, default="tercet", help="the loop to try")
    wishes = parser.parse_args(arguments)
    unknown = [name for name in wishes.parts if name not in names]
    if unknown:
        parser.error(f"no part named `{unknown[0]}`")
    random.seed(1)
    failed = []
    chosen = wishes.parts or names
    if "tls" in chosen:
        contexts()  # It may have to be built, and that is not what is timed.
    for name in chosen:
        part = PARTS.get(name, ends)
        print(f"{name}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
        try:
            if name == "ends":
                ends(wishes)
            else:
                play(name, wishes, wishes.seconds / len(chosen))
        except Exception as error:
            failed.append(name)
            print(f"error: `{name}`: {type(error).__name__}: {error}", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was lost, and nothing was kept")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
