"""Worker processes.

One process, the nursery, forks the workers; see `tercet.worker` for their side and for how they end. Here every seat
of a worker has a servant, a thread that takes a batch, sends it, waits for the reply and gives it back: strictly in
turns, so that no two sides can wait for one another with full sockets.

How much goes at a time
-----------------------
A trip costs about a quarter of a millisecond, so small tasks travel together: as many as fill a few milliseconds, at
most twice as many as last time, and towards the end no more than a quarter of an even share, so that the last ones
come home together. What history cannot know, the clock decides: a worker that passes twice the time stops between two
items and gives the rest back.
"""

from __future__ import annotations

import os
import sys
import threading
from _pickle import dumps, loads
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_PEEK,
    SCM_RIGHTS,
    SHUT_WR,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tercet import worker
from tercet.course import Batch, Course
from tercet.engine import Engine, Entry, Work, mark_worker
from tercet.errors import NotPortable, RemoteError, RemoteTraceback, WorkerDied
from tercet.machine import costs
from tercet.source import name_of

if TYPE_CHECKING:
    from tercet.portable import Baggage

__all__ = ["ProcessEngine"]

_TARGET_S = 0.004
_LONGEST_TARGET_S = 0.05
_BYTES_AT_ONCE = 4 << 20
_PATIENCE_S = 2.0
_HERE = __file__.rpartition(os.sep)[0]
_START = """
import sys
sys.path.insert(0, sys.argv[1])
import worker
sys.modules["tercet_worker"] = sys.modules.pop("worker")
worker.main(3)
"""
"""How a worker's interpreter begins: as an import, whose compiled form is kept, under a name that nobody else uses."""


class ProcessEngine(Engine):
    """Processes with one or more seats each, one item at a time on each seat.

    Parameters
    ----------
    work
        What to do with every item.
    course
        Where the items come from and the results go.
    baggage
        What the workers have to learn first.
    workers
        How many seats to begin with; `resize` adds more when they are needed.
    seats
        How many of them in each process: more than one where tasks wait so much that processes would be too many.
    item_s
        About how long an item takes.
    """

    model = "processes"

    def __init__(
        self, work: Work, course: Course, *, baggage: Baggage, workers: int, seats: int = 1, item_s: float = 0.001
    ) -> None:
        super().__init__(work, course)
        self._seats = min(seats, worker.SEATS_MOST)
        self._wanted = workers
        self._opened = 0
        self._opening = threading.Lock()
        self._baggage = baggage
        self._lock = threading.Lock()
        self._nursery: _Nursery | None = None
        self._ready = 0
        self._refusal: str | None = None
        self._size = _BatchSize(item_s)
        self._began = perf_counter()
        # What the workers send back names the main module as they know it.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        self._start_thread("tercet-nursery", self._open)

    @property
    def is_ready(self) -> bool:
        """Whether a worker has learnt the function and waits for items."""
        return self._ready > 0

    @property
    def refusal(self) -> str | None:
        """Why the workers cannot run the function."""
        return self._refusal

    def resize(self, limit: int) -> None:
        """Let the servants of `limit` seats take items, and start the processes that are missing."""
        self.limit = limit
        self.course.wake()
        if limit > self._wanted:
            self._wanted = limit
            self._start_thread("tercet-nursery", self._open_seats)

    def close(self, wait_s: float, *, kills: bool) -> None:
        """End the processes: at once if `kills`, otherwise when they have finished what they run."""
        self.retire()
        if not kills:
            self._join(wait_s)
        with self._lock:
            nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close(kills=kills or any(thread.is_alive() for thread in self._threads))
        self._join(wait_s)

    # --- starting ---

    def _open(self) -> None:
        mark_worker()
        try:
            nursery = _Nursery()
        except OSError as error:
            self._refuse(f"no process can be started: {error}")
            return
        with self._lock:
            is_late = self.is_retired
            self._nursery = None if is_late else nursery
        if is_late:
            nursery.close(kills=True)
            return
        self._open_seats()

    def _open_seats(self) -> None:
        nursery = self._nursery
        if nursery is None:
            return
        try:
            with self._opening:
                while self._opened < self._wanted and not self.is_retired:
                    for seat in nursery.fork(min(self._seats, self._wanted - self._opened)):
                        self._start_thread(f"tercet-servant-{self._opened}", self._serve, self._opened, seat)
                        self._opened += 1
        except (OSError, RuntimeError) as error:
            if self._opened == 0:
                self._refuse(f"no process can be started: {error}")
            else:
                self.note(f"no more than {self._opened} workers could be started: {error}")

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why
        self.work.told()

    def _teach(self, seat: _Seat) -> bool:
        """Have a worker learn the function. False where it cannot, or is gone."""
        reply = seat.ask(("learn", self._baggage.order))
        if reply is None:
            self._refuse("a worker process ended while it imported the function")
            return False
        kind, *rest = loads(reply[0])
        if kind == "refused":
            self._refuse(f"a worker process cannot find the function: {rest[0]}")
            return False
        with self._lock:
            self._ready += 1
            is_first = self._ready == 1
        if is_first:
            costs.started(perf_counter() - self._began)
            self.work.told()
        return True

    # --- serving one seat ---

    def _serve(self, index: int, seat: _Seat) -> None:
        mark_worker()
        is_alive = self._teach(seat)
        while is_alive and (batch := self.course.take(self._want(), self, index)) is not None:
            if seat.is_gone():
                seat = self._replaced(seat) or seat
            is_alive = self._run(seat, batch)
            self.course.give(batch)
            del batch
            if not is_alive and (fresh := self._replaced(seat)) is not None:
                seat, is_alive = fresh, True
        seat.close()

    def _want(self) -> int:
        seats = max(1, self.limit)
        count = self._size.next(self.course.left, seats)
        self.course.widen(4 * seats * count)
        return count

    def _run(self, seat: _Seat, batch: Batch) -> bool:
        """Send a batch and fill in what it came to. False where the worker died of it."""
        packed = self._pack(batch)
        if packed is None:
            return True
        sent = perf_counter()
        header = ("run", 2 * self._size.target_s, self.work.stops_at_error, self.work.form)
        reply = seat.ask(header, packed)
        trip_s = perf_counter() - sent
        if reply is None:
            self._mourn(seat, batch)
            return False
        kind, *rest = loads(reply[0])
        if kind == "unreadable":
            self._keep_or_refuse(batch, f"a worker process could not read it: {rest[0]}")
            return True
        errors, wall_s, cpu_s, queued_s, idle_s = rest
        self._unpack(batch, reply[1:], errors)
        self._size.learn(len(reply) - 1, wall_s, idle_s, len(packed) / max(1, len(batch.items)))
        self.tally.append(Entry(len(reply) - 1, max(cpu_s, wall_s - queued_s), cpu_s))
        costs.travelled(max(0.0, trip_s - wall_s))
        return True

    def _pack(self, batch: Batch) -> bytes | None:
        """Pickle the items; what cannot be pickled is run here, and ``None`` says that nothing is left to send."""
        try:
            return dumps(list(batch.items), 5)
        except Exception:
            pass
        for index, item in enumerate(batch.items):
            try:
                dumps(item, 5)
            except Exception as error:
                if index == 0:
                    self._keep_or_refuse(batch, f"it cannot be pickled: {error}")
                    return None
                self.course.shorten(batch, index)
                break
        return dumps(list(batch.items), 5)

    def _keep_or_refuse(self, batch: Batch, why: str) -> None:
        """Run the first item of a batch in this process, or refuse it, and let others have the rest."""
        self.course.shorten(batch, 1)
        if self.work.is_strict:
            batch.fail(NotPortable(f"a task cannot be sent to a worker process: {why}"))
        else:
            self.note(f"an item was run here: {why}")
            self._run_here(batch)

    def _unpack(self, batch: Batch, results: Sequence[memoryview], errors: dict[int, tuple[str, Any]]) -> None:
        for index, packed in enumerate(results):
            if index in errors:
                self._unpack_error(batch, *errors[index])
                continue
            try:
                batch.results.append(loads(packed))
            except Exception as error:
                text = f"the result of `{name_of(self.work.fn)}` cannot be unpickled: {type(error).__name__}: {error}"
                batch.fail(NotPortable(text))

    def _unpack_error(self, batch: Batch, kind: str, what: Any) -> None:
        if kind == "raised":
            batch.fail(_rebuilt(*what))
        elif self.work.is_pure:
            self._run_here(batch)
        else:
            error = NotPortable(f"the result of `{name_of(self.work.fn)}`, a `{what[0]}`, cannot be pickled: {what[1]}")
            error.add_note('hint: return plain data, or ask for `model="threads"`')
            batch.fail(error)

    def _mourn(self, seat: _Seat, batch: Batch) -> None:
        """Note the death of a worker at every item that it may have begun."""
        with self._lock:
            nursery = self._nursery
        how = "its end was asked for" if nursery is None else nursery.last_words(seat.pid)
        for _ in batch.items:
            error = WorkerDied(f"a worker process died while it ran `{name_of(self.work.fn)}`: {how}")
            if how.endswith("SIGKILL"):
                error.add_note("hint: the kernel kills the largest process when memory runs out")
            batch.fail(error)

    def _replaced(self, seat: _Seat) -> _Seat | None:
        """A seat in a new worker, in place of one whose worker is gone; ``None`` where there can be none."""
        seat.close()
        with self._lock:
            nursery = self._nursery
        try:
            fresh = nursery.fork(1)[0] if nursery is not None else None
        except OSError:
            return None
        return fresh if fresh is not None and self._teach(fresh) else None


def _rebuilt(packed: bytes | None, kind: str, text: str, trace: str) -> BaseException:
    """The exception of a worker, with its traceback as the cause; or what stands for it."""
    error: BaseException
    try:
        error = loads(packed) if packed is not None else RemoteError(kind, text, trace)
    except Exception:
        error = RemoteError(kind, text, trace)
    error.__cause__ = RemoteTraceback(trace)
    return error


class _BatchSize:
    """How many items go to a worker at a time."""

    def __init__(self, item_s: float) -> None:
        self.target_s = _TARGET_S
        self._item_s = max(1e-7, item_s)
        self._item_bytes = 0.0
        self._last = 1
        self._lock = threading.Lock()

    def next(self, left: int | None, seats: int) -> int:
        """Return the size of the next batch, with `left` items to go on `seats` seats."""
        with self._lock:
            count = min(self.target_s / self._item_s, 2.0 * self._last)
            if left is not None:
                count = min(count, left / (4 * seats))
            if self._item_bytes:
                count = min(count, _BYTES_AT_ONCE / self._item_bytes)
            return max(1, int(count))

    def learn(self, count: int, wall_s: float, idle_s: float, item_bytes: float) -> None:
        """Learn from a batch: how long it took, and how long its worker had waited for it."""
        with self._lock:
            self._item_s += 0.3 * (max(1e-7, wall_s / max(1, count)) - self._item_s)
            self._item_bytes = max(item_bytes, 0.9 * self._item_bytes)
            self._last = max(1, count) if wall_s < 2 * self.target_s else max(1, count // 2)
            wanted = min(max(_TARGET_S, 20 * idle_s), _LONGEST_TARGET_S)
            self.target_s += 0.2 * (wanted - self.target_s)


# --- the near side of processes -------------------------------------------------------------------------------


class _Seat:
    """One socket to a worker, and which worker it is."""

    def __init__(self, near: socket, pid: int) -> None:
        self.pid = pid
        self._near = near

    def ask(self, header: object, *parts: bytes) -> list[memoryview] | None:
        """Send a request and return the reply, or ``None`` where the worker is gone."""
        try:
            worker.send(self._near, dumps(header, 5), *parts)
            return worker.receive(self._near)
        except OSError:
            return None

    def is_gone(self) -> bool:
        """Whether the worker has ended while nothing was asked of it."""
        try:
            return self._near.recv(1, MSG_PEEK | MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._near.close()


class _Nursery:
    """The parent's side of the process that forks the workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, far = socketpair(AF_UNIX, SOCK_SEQPACKET)
        # Number 3 in the new process; away from 3 here, since a copy onto itself would stay closed on exec.
        spare = os.dup(far.fileno()) if far.fileno() == 3 else None
        source = far.fileno() if spare is None else spare
        arguments = [sys.executable, *interpreter_flags(), "-S", "-P", "-c", _START, _HERE]
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, source, 3)]
        try:
            self._pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
        except OSError:
            self._control.close()
            raise
        finally:
            far.close()
            if spare is not None:
                os.close(spare)

    def fork(self, seats: int) -> list[_Seat]:
        """Fork a worker with so many seats."""
        pairs = [socketpair(AF_UNIX, SOCK_STREAM) for _ in range(seats)]
        try:
            with self._lock:
                fds = b"".join(far.fileno().to_bytes(4, sys.byteorder) for _, far in pairs)
                self._control.sendmsg([b"F"], [(SOL_SOCKET, SCM_RIGHTS, fds)])
                pid = self._answer()
        finally:
            for _, far in pairs:
                far.close()
        return [_Seat(near, pid) for near, _ in pairs]

    def last_words(self, pid: int) -> str:
        """How a worker that has closed its seats ended."""
        try:
            with self._lock:
                self._control.send(b"S" + pid.to_bytes(8, "little"))
                code = self._answer()
        except OSError:
            return "its nursery is gone as well"
        return f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"

    def close(self, *, kills: bool) -> None:
        """End the nursery and with it every worker: at once, or when they have left by themselves."""
        has_lock = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            if not kills:
                self._control.send(b"B")
            self._control.shutdown(SHUT_WR)
            self._control.settimeout(_PATIENCE_S)
            self._control.recv(1)
        except OSError:
            self._kill()
        finally:
            if has_lock:
                self._lock.release()
            self._control.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass

    def _kill(self) -> None:
        try:
            os.kill(self._pid, 9)
        except ProcessLookupError:
            pass

    def _answer(self) -> int:
        answer = self._control.recv(8)
        if len(answer) < 8:
            raise ConnectionResetError("the process that starts workers is gone")
        return int.from_bytes(answer, "little", signed=True)


def signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def interpreter_flags() -> list[str]:
    """The options of this interpreter that its workers should have too."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    flags += ["-B"] if sys.dont_write_bytecode else []
    flags += ["-E"] if sys.flags.ignore_environment else []
    flags += [
        word for name, value in sys._xoptions.items() for word in ("-X", name if value is True else f"{name}={value}")
    ]
    flags += [word for option in sys.warnoptions for word in ("-W", option)]
    return flags
