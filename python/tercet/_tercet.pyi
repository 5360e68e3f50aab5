"""The native half of tercet."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future as _AnyFuture
from contextvars import Context
from types import ModuleType
from typing import Any, Generic, ParamSpec, Self, TypedDict, TypeVar, final

from typing_extensions import disjoint_base

__all__ = [
    "Completions",
    "Future",
    "Inbox",
    "Leader",
    "LoopCore",
    "MapIterator",
    "Memory",
    "Operation",
    "Parcel",
    "Probe",
    "ProcessPool",
    "SemLock",
    "SharedEvent",
    "SharedQueue",
    "ThreadPool",
    "TlsCore",
    "Work",
    "__version__",
    "build_info",
    "close_all_pools",
    "close_guard",
    "decide",
    "end_with_parent",
    "equip",
    "forget_threads",
    "is_guarding",
    "machine",
    "main",
    "memory_number",
    "receive_message",
    "send_message",
    "serve",
    "wait",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

__version__: str

class _Machine(TypedDict):
    cores: float
    has_gil: bool

class _Reading(TypedDict):
    samples: int
    shares: dict[str, float]
    wall_s: float
    cpu_s: float
    queue_delay_s: float

class _Build(TypedDict):
    version: str
    profile: str
    target: str

@disjoint_base
class LoopCore:
    """The native half of an event loop. `tercet.EventLoop` is the class to use."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    _stopping: bool
    _debug: bool
    _closed: bool
    def time(self) -> float:
        """Return the loop's clock, in seconds: that of `time.monotonic`."""
    def stop(self) -> None:
        """End `run_forever` when the current turn is over."""
    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future of this loop."""
    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Schedule a coroutine, and return its task."""
    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Call a function in the next turn."""
    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """The same, from any thread."""
    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call a function after so many seconds."""
    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        """Call a function at a time of the loop's clock."""
    def _run_once(self) -> None:
        """Run turns until `stop` is called; one turn where `run_forever` is not what runs."""
    def _add_callback(self, handle: asyncio.Handle) -> None:
        """Schedule a handle, whoever made it."""
    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        """Call a function whenever a descriptor can be read from."""
    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        """Call a function whenever a descriptor can be written to."""
    def _remove_reader(self, fd: Any) -> bool:
        """Call nobody any more when a descriptor can be read from; return whether anybody was."""
    def _remove_writer(self, fd: Any) -> bool:
        """Call nobody any more when a descriptor can be written to; return whether anybody was."""
    def _watched(self) -> list[tuple[int, bool, bool]]:
        """Return the descriptors that are watched, each with whether for reads and whether for writes."""
    def _operate(self, name: str, sock: Any, *args: Any) -> Any:
        """Do something with a socket: return what came of it, or an operation whose future is to be waited for."""
    def _make_stream_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, extra: Any = None, server: Any = None
    ) -> asyncio.Transport:
        """Make a transport for a connected socket. It starts in the next turn."""
    def _listen(self, protocol_factory: Any, sock: Any, server: Any, backlog: int) -> None:
        """Accept connections for a server."""
    def _transport_at(self, fd: int) -> asyncio.Transport | None:
        """Return the transport that owns a descriptor, or None."""
    def _make_datagrams(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: dict[str, Any] | None = None
    ) -> asyncio.DatagramTransport:
        """Make a transport for a socket of datagrams. It starts in the next turn."""
    def _make_pipe_reader(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: dict[str, Any] | None = None
    ) -> asyncio.ReadTransport:
        """Make a transport that reads from a pipe. It starts in the next turn."""
    def _make_pipe_writer(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: dict[str, Any] | None = None
    ) -> asyncio.WriteTransport:
        """Make a transport that writes to a pipe. It starts in the next turn."""
    def _lend(self, transport: Any, away: bool) -> None:
        """Take a descriptor from its transport for a while, or give it back."""
    def get_debug(self) -> bool:
        """Return whether the loop is in debug mode."""
    def _set_patience(self, seconds: float | None) -> None:
        """Say how many seconds the loop may be at one thing until the guard tells of it; None for ever."""
    def _write_to_self(self) -> None:
        """Wake the loop from another thread."""
    def _release(self) -> None:
        """Let go of everything; the loop is closed."""

@disjoint_base
class TlsCore:
    """The native half of a TLS connection. `asyncio` calls it through the class in Python."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    _loop: Any
    _transport: Any
    _app_protocol: Any
    _app_protocol_get_buffer: Any
    _app_protocol_buffer_updated: Any
    _state: Any
    _incoming: Any
    _outgoing: Any
    _sslobj: Any
    _write_backlog: Any
    _app_protocol_is_buffer: bool
    _app_reading_paused: bool
    _ssl_writing_paused: bool
    _ssl_reading_paused: bool
    _app_writing_paused: bool
    _incoming_high_water: int
    _incoming_low_water: int
    _outgoing_high_water: int
    _outgoing_low_water: int
    _write_buffer_size: int
    def _take(self, data: Any) -> None:
        """Take what a transport of somebody else's has received."""
    def _do_read(self) -> None:
        """Give the protocol what has come."""
    def _process_outgoing(self) -> None:
        """Give the transport what is to be sent."""
    def _write_one(self, data: Any) -> None:
        """Write data: the `write` of the transport that the program sees."""

@final
class Inbox:
    """The insides of a `StreamReader`. `tercet.streams.StreamReader` is the class."""

    buffer: bytearray
    eof: bool
    exception: Any
    limit: int
    loop: Any
    paused: bool
    plain: bool
    transport: Any
    waiter: Any
    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...

@final
class Operation:
    """An operation on a socket that could not be done at once."""

    @property
    def future(self) -> asyncio.Future[Any]: ...
    def abandon(self) -> None:
        """Stop waiting: the socket is watched no more."""

@final
class Probe:
    """Looks at one thread of this process at a time, from a native thread that never takes the GIL."""

    def __new__(cls, hz: float = 1000.0) -> Probe: ...
    def watch(self, native_tid: int) -> None:
        """Forget what was seen and watch the thread with this native number."""
    def read(self) -> _Reading:
        """Return what was seen since `watch`."""
    def rest(self) -> None:
        """Stop watching until the next `watch`."""
    def stop(self) -> None:
        """End the native thread; the probe sees nothing any more."""

@disjoint_base
class Future:
    """The state of a task and its outcome. `tercet.Future` is the class to use."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Future: ...
    def __init__(self) -> None: ...
    def cancel(self) -> bool:
        """Cancel the future if it has not begun, and return whether it is cancelled."""
    def cancelled(self) -> bool:
        """Return True if the future was cancelled."""
    def running(self) -> bool:
        """Return True if the task is being executed."""
    def done(self) -> bool:
        """Return True if the future was cancelled or has an outcome."""
    def result(self, timeout: float | None = None) -> Any:
        """Return the result of the task, waiting for it if need be; raise what it raised."""
    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None, waiting for it if need be."""
    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn` with this future once it is done; at once if it is."""
    def set_running_or_notify_cancel(self) -> bool:
        """Begin the task, or settle it if it was cancelled; return whether it is to run. For executors and tests."""
    def set_result(self, result: Any) -> None:
        """Set the result. For executors and tests."""
    def set_exception(self, exception: BaseException | None) -> None:
        """Set the exception. For executors and tests."""

@disjoint_base
class ThreadPool:
    """The native half of `tercet.ThreadPoolExecutor`."""

    def __new__(cls, *_args: object, **_kwargs: object) -> ThreadPool: ...
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _AnyFuture[_T]:
        """Schedule `fn(*args, **kwargs)` and return a future for its outcome."""

    # For `tercet.thread_pool` alone.
    def _open(
        self,
        limit: int,
        hirer: Callable[[Work], None],
        *,
        lines: int,
        idle_timeout: float | None,
        copies_context: bool,
        is_daemon: bool,
    ) -> None:
        """Set up the pool: the limit, how to start a thread, and the options."""
    def _map(
        self,
        function: Callable[..., _T],
        items: Iterable[Any],
        timeout: float | None,
        buffersize: int | None,
        *,
        is_spread: bool,
        is_at_hand: bool,
    ) -> MapIterator[_T]:
        """Call a function with each item of an iterator; with `is_spread` an item is a tuple of arguments."""
    def _close(self, cancels: bool) -> None:
        """Take no more tasks, and cancel those that wait if `cancels`."""
    def _resize(self, limit: int) -> None:
        """Change how many workers there may be."""
    def _waiting(self) -> int:
        """Return how many tasks wait."""
    def _count(self) -> tuple[int, int, int]:
        """Return how many workers are alive, resting and waiting for other tasks."""
    # To be read; the standard library's types call them variables, and the second a `bool`. It is the reason, or False.
    _shutdown: bool
    _broken: Any

@disjoint_base
class ProcessPool:
    """The native half of `tercet.ProcessPoolExecutor`."""

    def __new__(cls, *_args: object, **_kwargs: object) -> ProcessPool: ...
    # For `tercet.process_pool` alone.
    def _open(
        self,
        limit: int,
        *,
        timeout: float | None,
        retries: int,
        hire: Callable[[list[int]], tuple[int, int]],
        mourn: Callable[[int], tuple[str, bool]],
        lead: Callable[[Leader, Callable[..., Any]], None],
        tasks_per_worker: int | None,
        starts_at_once: bool,
        breaks_on_crash: bool,
        max_rss: int | None,
    ) -> None:
        """Set up the pool."""
    def _grow(self, limit: int) -> None:
        """Allow for more workers, which are started as there are tasks for them."""
    def _start(self, fn: Callable[..., Any]) -> None:
        """Start all workers now, whether there are tasks for them or not. `fn` is what they prepare for."""
    def _close(self, cancels: bool) -> None:
        """Take no more tasks, and cancel those that were not sent if `cancels`."""
    def _end(self, number: int) -> None:
        """Send all workers a signal that ends them; take no more tasks and cancel those that were not sent."""
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _AnyFuture[_T]:
        """Schedule ``fn(*args, **kwargs)`` in a worker process and return a future for its outcome."""
    def _submit(
        self,
        timeout: float | None,
        retries: int,
        fn: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> _AnyFuture[_T]:
        """Schedule `fn(*args, **kwargs)` with limits of its own."""
    def _submit_each(
        self, timeout: float | None, retries: int, fn: Callable[..., _T], items: Iterable[tuple[Any, ...]]
    ) -> list[_AnyFuture[_T]]:
        """Schedule ``fn(*args)`` for each tuple of an iterator, with limits of their own; return the futures."""
    def _kill(self, future: Future) -> bool:
        """Cancel a task, ending the process that runs it; return whether it is cancelled."""
    def _workers(self) -> list[tuple[int, str, bytes | None, float | None, int, int]]:
        """Return the workers: process number, state, how the call begins, since when, private bytes, tasks done."""
    @property
    def _broken(self) -> str | bool: ...

@final
class Leader:
    """What the leader of a pool runs."""

    def lead(self) -> None:
        """Read what the workers send until the pool is shut down and all is done."""
    def close(self) -> None:
        """Take no more tasks."""

@disjoint_base
class SharedQueue:
    """The native half of `tercet.Queue` and `tercet.SimpleQueue`."""

    def __new__(cls, *_args: object, **_kwargs: object) -> SharedQueue: ...
    def put(self, obj: object, block: bool = True, timeout: float | None = None) -> None:
        """Put an object at the end."""
    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the object at the front."""
    def put_nowait(self, obj: object) -> None:
        """Put an object at the end if there is room at once."""
    def get_nowait(self) -> Any:
        """Take the object at the front if there is one at once."""
    def qsize(self) -> int:
        """Return how many objects there are at this moment."""
    def empty(self) -> bool:
        """Return whether there is none at this moment."""
    def full(self) -> bool:
        """Return whether there is no room for another one at this moment."""
    def close(self) -> None:
        """Put and take no more in this process."""

    # For `tercet.queues` alone.
    def _create(self, most: int) -> None:
        """Make a new queue for so many messages; 0 for any number."""
    def _join_fd(self, fd: int) -> None:
        """Join a queue that another process has made; the descriptor is its own from now on."""
    def _fileno(self) -> int:
        """Return the descriptor of its memory."""
    def _put(self, obj: object, block: bool = True, timeout: float | None = None) -> bool:
        """Put an object at the end: whether there was room in time."""
    def _done(self) -> bool:
        """Say that an object that was taken is done with: whether there was one."""
    def _join(self) -> None:
        """Wait until every object that was put is done with."""
    @property
    def _closed(self) -> bool: ...
    @property
    def _maxsize(self) -> int: ...

@final
class SemLock:
    """A semaphore or lock between processes, in shared memory."""

    SEM_VALUE_MAX: int
    name: None
    def __new__(cls, kind: int, value: int, maxvalue: int) -> SemLock: ...
    @staticmethod
    def _from_fd(fd: int, offset: int, size: int, kind: int, maxvalue: int) -> SemLock:
        """Return a semaphore that another process has made; the descriptor is its own from now on."""
    def fileno(self) -> int:
        """Return the descriptor of the segment that it lies in."""
    def _place(self) -> tuple[int, int]:
        """Return its place in that segment and its size."""
    @property
    def handle(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def maxvalue(self) -> int: ...
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire it: whether that was possible in time."""
    def release(self) -> None:
        """Release it."""
    def __enter__(self) -> bool: ...
    def __exit__(self, *_args: object) -> None: ...
    def _count(self) -> int:
        """How often this process has it."""
    def _is_mine(self) -> bool:
        """Whether this thread took it last."""
    def _get_value(self) -> int:
        """Its value at this moment."""
    def _is_zero(self) -> bool:
        """Whether there is none at this moment."""
    def _after_fork(self) -> None:
        """Forget, in a child process, what its parent has."""

@final
class SharedEvent:
    """Something that processes wait for, in shared memory."""

    def __new__(cls) -> SharedEvent: ...
    @staticmethod
    def _from_fd(fd: int, offset: int, size: int) -> SharedEvent:
        """Return an event that another process has made; the descriptor is its own from now on."""
    def fileno(self) -> int:
        """Return the descriptor of the segment that it lies in."""
    def _place(self) -> tuple[int, int]:
        """Return its place in that segment and its size."""
    def is_set(self) -> bool:
        """Whether it is set."""
    def set(self) -> None:
        """Set it, and wake all who wait."""
    def clear(self) -> None:
        """Take it back."""
    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set: whether it was, in time."""

@final
class Memory:
    """Bytes that processes share, zeros at first."""

    def __new__(cls, size: int) -> Memory: ...
    @staticmethod
    def _from_fd(fd: int, offset: int, size: int) -> Memory:
        """Return memory that another process has made; the descriptor is its own from now on."""
    def fileno(self) -> int:
        """Return the descriptor of the segment that it lies in."""
    @property
    def offset(self) -> int: ...
    @property
    def address(self) -> int: ...
    def __len__(self) -> int: ...

def memory_number(fd: int) -> int:
    """Return the number by which all processes know the file behind a descriptor."""

def send_message(fd: int, message: Any) -> None:
    """Send bytes as one message."""

def receive_message(fd: int, maxlength: int | None = None) -> bytes | None:
    """Receive a message; `None` if it is longer than that."""

@final
class Work:
    """What a thread of a pool runs."""

    def __call__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> bool:
        """Run tasks until there is no more need of this thread; return whether the pool goes on without it."""

@final
class MapIterator(Iterator[_T]):
    """The results of a map, in order."""

    def __iter__(self) -> MapIterator[_T]: ...
    def __next__(self) -> _T: ...
    def close(self) -> None:
        """Cancel what has not begun; there are no more results."""

@final
class Completions(Generic[_T]):
    """Futures in the order in which they are settled."""

    def __new__(cls, futures: list[_AnyFuture[_T]], timeout: float | None) -> Completions[_T]: ...
    def add(self, future: _AnyFuture[_T]) -> None:
        """Expect one more future."""
    def __iter__(self) -> Completions[_T]: ...
    def __next__(self) -> _AnyFuture[_T]: ...

def wait(
    futures: list[_AnyFuture[_T]], timeout: float | None, return_when: str
) -> tuple[set[_AnyFuture[_T]], set[_AnyFuture[_T]]]:
    """Wait for futures and return the set of those that are settled and the set of the others."""

@final
class Parcel:
    """A packed call or result, for Python to read where it is."""

    def buffers(self) -> tuple[Any, ...]:
        """Return the buffers beside the body, each an object of its own that can be written to, or `bytes`."""
    def rebuild(self) -> Any:
        """Return what was packed."""
    # `__buffer__` is there from 3.12 on; before, C alone sees the buffer.

def serve(
    fds: list[int],
    settle: Callable[[], object],
    run: Callable[[Parcel], tuple[bool, bytes | tuple[bytes, list[memoryview | bytes]]]],
    parcel: ModuleType | None = None,
) -> None:
    """Serve a pool until it says that this process may leave."""

def end_with_parent(ends: bool = True) -> None:
    """Have the kernel end this process when its parent ends, in whatever way; or no longer."""

def equip(reader: type, writer: type, protocol: type, foreign_protocol: type, adopt: Callable[[Any], None]) -> None:
    """Give the classes of `tercet.streams` their native methods; once."""

def close_guard() -> None:
    """End the thread that watches loops, for good."""

def is_guarding() -> bool:
    """Return whether the thread that watches loops runs."""

def close_all_pools() -> None:
    """Close all pools, because the interpreter ends."""

def forget_threads() -> None:
    """Forget, in a child process, the threads that stayed in its parent, and what waits for them."""

def main(arguments: list[str], python: str | None = None) -> int:
    """Run the command line and return its exit code."""

def decide(profile: str) -> str:
    """Decide what to do about a profile."""

def machine() -> _Machine:
    """Return the limits of this machine."""

def build_info() -> _Build:
    """Return the version of tercet and how it was built, for a report of a fault."""
