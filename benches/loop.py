"""What a message, a callback and a connection cost on tercet's loop, beside the loops that people use today.

    ./x bench loop                          about forty minutes
    ./x bench loop --only echo_1k timers    these cases alone
    ./x bench loop --rounds 1 --seconds 0.1 does it work?
    ./x bench loop --count                  instructions and system calls of a message as well: slow, and exact
    ./x bench loop --write

How it is measured
------------------
1. Each case runs in a process of its own for each loop and each round; the loops take turns, in a new order each round.
2. A server has a processor for itself. On the other one runs the load generator, `crates/tercet-load`, which compares
   every byte that comes back with what it has sent; one that differs ends the case. `limit` is a server in Rust with
   one thread under the same load.
3. The figure of a loop is the median of the rounds; beside it stands its ratio to uvloop, taken within each round.
4. `--count` sends a few messages and many, and divides the difference: instructions of the program by valgrind's
   callgrind (without the kernel's), system calls by strace. Other work on the machine does not change these figures.

uvloop, rloop, uvicorn and aiohttp are rivals and guests, not dependencies:
`.venv/bin/pip install uvloop rloop uvicorn httptools aiohttp` brings them in.
"""

import asyncio
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _contest import Case, main
from _loops import LOAD_CPU, LOOPS, folder, load, load_program, native_server, python_server

CLAIM = "tercet's event loop is ahead of uvloop, and of the best other loop, in everything that people do with a loop."
AGAINST = "uvloop"


# --- a server under load ----------------------------------------------------------------------------------------


class Served(Case):
    """A server on one processor, the generator on the other."""

    unit, figure = "msg/s", "per_second"
    server, native, mode = "protocol", "echo", "echo"
    connections, size = 10, 1024
    address = "tcp:127.0.0.1:0"
    is_tls = False
    more = ()

    def run(self, loop):
        with folder() as place, self.python_server(loop.name, place) as (address, _):
            return self.measure(address, place)

    def limit(self):
        with folder() as place, self.native_server(place) as (address, _):
            return self.measure(address, place)

    def python_server(self, loop, place, **more):
        return python_server(loop, self.server, self.at(place), place, self.is_tls, **more)

    def native_server(self, place, **more):
        return native_server(self.native, self.at(place), place, self.is_tls, **more)

    def at(self, place):
        return self.address.format(place)

    def measure(self, address, place):
        report = load(*self.words(address, place), "--seconds", self.seconds)
        if not report["count"]:
            raise RuntimeError("nothing came back in that time")
        return report[self.figure]

    def words(self, address, place):
        certificate = ("--certificate", place / "certificate.pem") if self.is_tls else ()
        size = ("--size", self.size) if self.mode == "echo" else ()
        return (self.mode, address, "--connections", self.connections, *size, *certificate, *self.more)


def served(name, about, server="protocol", **facts):
    """Return a case of a server."""
    return type(name, (Served,), {"__doc__": about, "name": name, "server": server, **facts})


PAGES = {"mode": "http", "native": "http", "unit": "pages/s", "more": ("--expect", "Hello, world!")}
FLOW = {"unit": "MB/s", "figure": "megabytes_per_second", "connections": 1}
KIB = 1024

SERVED = (
    served("echo_1k", "`Protocol` that echoes 1 KiB on 10 connections."),
    served("echo_16k", "The same with 16 KiB.", size=16 * KIB),
    served("echo_100k", "The same with 100 KiB.", size=100 * KIB),
    served("echo_1k_x1", "`Protocol` that echoes 1 KiB on one connection.", connections=1),
    served("echo_1k_x1000", "The same on 1000 connections.", connections=1000),
    served("unix_1k", "`Protocol` that echoes 1 KiB over 10 Unix sockets.", address="unix:{}/door"),
    served("buffered_1k", "`BufferedProtocol` that echoes 1 KiB on 10 connections.", "buffered"),
    served("buffered_100k", "The same with 100 KiB.", "buffered", size=100 * KIB),
    served("streams_1k", "`StreamReader` and `StreamWriter` that echo 1 KiB on 10 connections.", "streams"),
    served("streams_100k", "The same with 100 KiB.", "streams", size=100 * KIB),
    served("sock_1k", "`sock_recv` and `sock_sendall` that echo 1 KiB on 10 connections.", "sock"),
    served("sock_100k", "The same with 100 KiB.", "sock", size=100 * KIB),
    served("tls_1k", "`Protocol` that echoes 1 KiB over TLS on 10 connections.", is_tls=True),
    served("tls_64k", "The same with 64 KiB.", is_tls=True, size=64 * KIB),
    served("tls_streams_1k", "Streams that echo 1 KiB over TLS on 10 connections.", "streams", is_tls=True),
    served("udp_1k", "Datagrams of 1 KiB echoed for 10 sockets.", "udp", address="udp:127.0.0.1:0"),
    served("churn", "Connect, one message, close: 10 at a time.", unit="conn/s", more=("--close-after", 1)),
    served("send", "One `Transport` that writes in one direction.", "send", mode="receive", native="send", **FLOW),
    served("receive", "One that only receives.", "receive", mode="send", native="receive", **FLOW),
    served(
        "sendfile", "`loop.sendfile` of 16 MiB, again and again.", "sendfile", mode="receive", native="send", **FLOW
    ),
    served(
        "uvicorn_httptools", "A short page from uvicorn with httptools, 10 connections.", "uvicorn_httptools", **PAGES
    ),
    served("uvicorn_h11", "The same with h11.", "uvicorn_h11", **PAGES),
    served("aiohttp_server", "A short page from aiohttp, 10 connections.", "aiohttp", **PAGES),
)


class Memory(Served):
    """Memory of a connection that is open and does nothing; 10,000 of them."""

    name, unit, is_better_high, count = "memory_10k", "bytes", False, 10_000

    def measure_idle(self, server):
        address, process = server
        before = resident(process.pid)
        words = [load_program(), "idle", address, "--connections", str(self.many())]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as idle:
            if not idle.stdout.readline():
                raise RuntimeError("the connections could not be opened")
            # The last of them may still be in the backlog of the listener.
            wait_for_descriptors(process.pid, self.many())
            return (resident(process.pid) - before) / self.many()

    def run(self, loop):
        with folder() as place, self.python_server(loop.name, place) as server:
            return self.measure_idle(server)

    def limit(self):
        with folder() as place, self.native_server(place) as server:
            return self.measure_idle(server)

    def many(self):
        """Return how many the limit of descriptors allows."""
        return min(self.count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)


class MoreMemory(Memory):
    """The same with 19,000 connections, or as many as the limit of descriptors allows."""

    name, count = "memory_19k", 19_000


def resident(number):
    """Bytes of a process in memory that nobody shares. Pages of a file are another matter."""
    text = Path(f"/proc/{number}/smaps_rollup").read_text()
    return 1024 * sum(int(size) for size in re.findall(r"^Private_Dirty: +(\d+)", text, re.MULTILINE))


def wait_for_descriptors(number, least):
    """Wait until a process has so many descriptors."""
    until = time.monotonic() + 45
    while len(list(Path(f"/proc/{number}/fd").iterdir())) < least:
        if time.monotonic() > until:
            raise RuntimeError("the server has not accepted all connections")
        time.sleep(0.01)


# --- a loop by itself -------------------------------------------------------------------------------------------


class Alone(Case):
    """Something a program does with its loop; `act` does it once and says how often it did so."""

    unit = "1/s"

    def run(self, loop):
        return loop.run(self.measure())

    async def measure(self):
        """Repeat for as long as the clock says; the first time is to warm up."""
        loop = asyncio.get_running_loop()
        await self.act(loop)
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < self.seconds:
            count += await self.act(loop)
        return count / took


class Chain(Alone):
    """A callback that calls the next one by `call_soon`."""

    name, count = "call_soon_chain", 10_000

    async def act(self, loop):
        done = loop.create_future()

        def step(left):
            if left:
                loop.call_soon(step, left - 1)
            else:
                done.set_result(None)

        loop.call_soon(step, self.count)
        await done
        return self.count


class Batch(Alone):
    """10,000 callbacks given to `call_soon` at once."""

    name, count = "call_soon_batch", 10_000

    async def act(self, loop):
        done, ran = loop.create_future(), []
        for number in range(self.count):
            loop.call_soon(ran.append, number)
        loop.call_soon(done.set_result, None)
        await done
        assert len(ran) == self.count
        return self.count


class SleepZero(Alone):
    """`await asyncio.sleep(0)`."""

    name, count = "sleep_0", 5_000

    async def act(self, loop):
        for _ in range(self.count):
            await asyncio.sleep(0)
        return self.count


class Timers(Alone):
    """100,000 timers scheduled and cancelled."""

    name, count = "timers", 100_000

    async def act(self, loop):
        timers = [loop.call_later(60 + number % 977, int) for number in range(self.count)]
        for timer in timers:
            timer.cancel()
        await asyncio.sleep(0)
        return self.count


class PingPong(Alone):
    """A thread calls the loop by `call_soon_threadsafe` and waits until it has been called."""

    name, count = "threadsafe_pingpong", 500

    async def act(self, loop):
        done, answered = loop.create_future(), threading.Semaphore(0)

        def ask():
            for _ in range(self.count):
                loop.call_soon_threadsafe(answered.release)
                answered.acquire()
            loop.call_soon_threadsafe(done.set_result, None)

        thread = threading.Thread(target=ask)
        thread.start()
        await done
        thread.join()
        return self.count


class Burst(Alone):
    """A thread that calls the loop 10,000 times by `call_soon_threadsafe` without waiting."""

    name, count = "threadsafe_burst", 10_000

    async def act(self, loop):
        done, ran = loop.create_future(), []

        def ask():
            for number in range(self.count):
                loop.call_soon_threadsafe(ran.append, number)
            loop.call_soon_threadsafe(done.set_result, None)

        thread = threading.Thread(target=ask)
        thread.start()
        await done
        thread.join()
        assert len(ran) == self.count
        return self.count


class Gather(Alone):
    """10,000 tasks that each sleep(0) once, gathered."""

    name, count = "gather_10k", 10_000

    async def act(self, loop):
        async def task(number):
            await asyncio.sleep(0)
            return number

        assert sum(await asyncio.gather(*map(task, range(self.count)))) == sum(range(self.count))
        return self.count


class Executor(Alone):
    """`run_in_executor`, one after another."""

    name, count = "executor", 200

    async def act(self, loop):
        for number in range(self.count):
            assert await loop.run_in_executor(None, abs, -number) == number
        return self.count


class Resolve(Alone):
    """`getaddrinfo` of an address in numbers."""

    name, count = "getaddrinfo", 200

    async def act(self, loop):
        for _ in range(self.count):
            assert (await loop.getaddrinfo("127.0.0.1", 80))[0][4] == ("127.0.0.1", 80)
        return self.count


class Subprocess(Alone):
    """100 times `create_subprocess_exec` and `communicate`, one after another."""

    name, count = "subprocess", 100

    async def act(self, loop):
        for _ in range(self.count):
            child = await asyncio.create_subprocess_exec("/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert await child.communicate(b"hello") == (b"hello", None)
        return self.count


class Overlapped(Alone):
    """1000 pages fetched at once with aiohttp from a server in Rust."""

    name, unit, count = "aiohttp_client", "pages/s", 1000

    async def measure(self):
        with native_server("http", "tcp:127.0.0.1:0", Path(), cpu=LOAD_CPU) as (address, _):
            self.page = f"http://{address.removeprefix('tcp:')}/"
            return await super().measure()

    async def act(self, loop):
        import aiohttp

        async def fetch(session):
            async with session.get(self.page) as answer:
                return await answer.read()

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
            pages = await asyncio.gather(*(fetch(session) for _ in range(self.count)))
        assert pages == [b"Hello, world!"] * self.count
        return self.count


ALONE = (Chain, Batch, SleepZero, Timers, PingPong, Burst, Gather, Executor, Resolve, Subprocess, Overlapped)
CASES = {case.name: case for case in (*SERVED, *ALONE, Memory, MoreMemory)}


# --- counts -----------------------------------------------------------------------------------------------------

FEW, MANY = 200, 1200
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def add_counts(result, wishes):
    """Add a table of what a message costs: instructions of the program, and system calls."""
    if not wishes.count:
        return
    servers = [*wishes.pools, "native"]
    rows = []
    for case in (CASES[name]() for name in wishes.only):
        if getattr(case, "mode", "") in ("echo", "http") and not isinstance(case, Memory):
            rows.append([case.name, *(cost(case, server) for server in servers)])
    result.add_table(["message", *servers], rows, right=servers)
    result.add(
        "Thousands of instructions outside the kernel, by callgrind; and system calls, by strace: of one message."
    )


def cost(case, server):
    """Return what a message costs on a server, as a cell of the table."""
    try:
        instructions = (counted(case, server, MANY, instructed) - counted(case, server, FEW, instructed)) / (MANY - FEW)
        calls = (counted(case, server, MANY, called) - counted(case, server, FEW, called)) / (MANY - FEW)
    except (RuntimeError, subprocess.SubprocessError):
        return "-"
    return f"{instructions / 1e3:.1f}k; {calls:.1f}"


def counted(case, server, messages, observer):
    """Return what an observer counts while a server answers so many messages."""
    with folder() as place, tempfile.NamedTemporaryFile("r+") as notes:
        before, read = observer(notes.name)
        if server == "native":
            started = case.native_server(place, before=before, stderr=subprocess.DEVNULL)
        else:
            started = case.python_server(server, place, before=before, stderr=subprocess.DEVNULL)
        with started as (address, _):
            load(*case.words(address, place), "--messages", messages)
        return read(notes.read())


def instructed(notes):
    """Have valgrind count instructions."""
    return (*CALLGRIND, f"--log-file={notes}"), lambda text: int(re.search(r"Collected : (\d+)", text)[1])


def called(notes):
    """Have strace count system calls."""
    return ("strace", "-f", "-c", "-o", notes), lambda text: int(re.search(r"(\d+)(?: +\d+)? +total", text)[1])


if __name__ == "__main__":
    load_program()
    sys.exit(main("loop", __doc__, CLAIM, CASES, LOOPS, kind="loops", against=AGAINST, more=add_counts))
