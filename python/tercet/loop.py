"""The event loop: `run`, `new_event_loop`, `install`, `EventLoop`.

`EventLoop` is two halves in one object. The native one (`tercet._tercet.LoopCore`) has what is hot: handles, timers,
the turn, watches of descriptors, operations on sockets, the transport of TCP and Unix sockets, and accepting
connections. The other one is `asyncio.SelectorEventLoop` itself, whose slow half is kept: connecting, servers, TLS,
subprocesses, executors, signals, asynchronous generators, and all else that a version of Python has. So every method is
there on every version, with its semantics.

Examples
--------
>>> import asyncio, tercet
>>> async def main():
...     await asyncio.sleep(0)
...     return 42
>>> tercet.run(main())
42
"""

# What the native half asks for by name begins with an underscore and stands under "for the native half". What is read
# of asyncio's insides is the same from 3.11 to 3.15 unless said otherwise.

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio import base_events as _base_events
from asyncio import constants, events, format_helpers, trsock
from asyncio import unix_events as _unix_events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from tercet._tercet import LoopCore, Operation
from tercet.guard import Guarded
from tercet.loop_process import Processes
from tercet.loop_selector import LoopSelector
from tercet.loop_tls import Tls
from tercet.thread_pool import ThreadPoolExecutor

__all__ = ["EventLoop", "EventLoopPolicy", "install", "new_event_loop", "run"]

_T = TypeVar("_T")

# The insides of asyncio have no types.
base_events: Any = _base_events
unix_events: Any = _unix_events
_Standard: Any = asyncio.SelectorEventLoop

_HAS_DEBUG_FORMAT = sys.version_info >= (3, 13)
_SOCKET_TYPES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class EventLoop(Guarded, LoopCore, Processes, Tls, _Standard):  # type: ignore[misc]
    """An event loop of `asyncio` whose engine is native.

    Everything of `asyncio.AbstractEventLoop` is there, with the behaviour of the standard loop. What differs:

    - Small writes of a turn are sent together at its end, where nobody can tell.
    - Timers are kept to the nanosecond and are never early.
    - The default executor is a `tercet.ThreadPoolExecutor`.
    - A callback that blocks the loop is reported while it does: see `tercet.guard`.

    Examples
    --------
    >>> import tercet
    >>> loop = tercet.EventLoop()
    >>> loop.run_until_complete(loop.run_in_executor(None, len, "four"))
    4
    >>> loop.close()
    """

    _default_executor: Executor | None

    def __init__(self) -> None:
        super().__init__(LoopSelector(self))

    def close(self) -> None:
        """Close the loop. It must not be running.

        Raises
        ------
        RuntimeError
            When the loop is running.
        """
        was_closed = self.is_closed()
        super().close()
        if not was_closed:
            self._release()

    def run_forever(self) -> None:
        """Run until `stop` is called.

        Raises
        ------
        RuntimeError
            When the loop is closed, or this thread runs a loop already.
        """
        is_guarded = self._guard_signals()
        try:
            super().run_forever()
        finally:
            if is_guarded and not self._signal_handlers:
                signal.set_wakeup_fd(-1)

    def _guard_signals(self) -> bool:
        """Have every signal end the loop's sleep, in the main thread: one may come just before it sleeps."""
        if self._closed or self.is_running():
            return False
        try:
            before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        except ValueError:
            # Signals are of the main thread alone.
            return False
        if before != -1:
            signal.set_wakeup_fd(before)
        return before == -1

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look up a host: see `asyncio.loop.getaddrinfo`. What is an address already needs no thread."""
        if not self._debug and (port is None or isinstance(port, int)) and _is_address(host):
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    # --- executors ----------------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:
        """Call a function in a thread or process of an executor, by default in a `tercet.ThreadPoolExecutor`.

        Parameters
        ----------
        executor
            Where to call it; None for the default executor.
        func
            What to call.
        *args
            What to call it with.

        Returns
        -------
        asyncio.Future
            Its result.

        Raises
        ------
        RuntimeError
            When the loop is closed, or the default executor was shut down.
        """
        # The names of asyncio's two attributes are the same in all versions.
        if executor is None and self._default_executor is None and not self._executor_shutdown_called:
            self._default_executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        result: asyncio.Future[_T] = super().run_in_executor(executor, func, *args)
        return result

    # --- transports and servers ---------------------------------------------------------------------------------

    def _make_socket_transport(
        self, sock: socket.socket, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        if not issubclass(type(sock), socket.socket):
            # Something that only looks like a socket has no descriptor that the kernel knows.
            return super()._make_socket_transport(sock, protocol, waiter, extra=extra, server=server)
        self._ensure_fd_no_transport(sock)
        return self._make_stream_transport(sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self, sock: socket.socket, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        if not issubclass(type(sock), socket.socket) or sock.family not in _SOCKET_TYPES:
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra)
        self._ensure_fd_no_transport(sock)
        return self._make_datagrams(sock, protocol, address, waiter, extra)

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
        **named: Any,
    ) -> None:
        if sslcontext is None and sock.family in _SOCKET_TYPES:
            self._listen(protocol_factory, sock, server, backlog)
        else:
            super()._start_serving(protocol_factory, sock, sslcontext, server, backlog, *timeouts, **named)

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        super()._ensure_fd_no_transport(fd)
        number = fd if isinstance(fd, int) else int(fd.fileno())
        transport = self._transport_at(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        was_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            with _Lent(self, transp):
                sent: int = await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
                return sent
        finally:
            transp._reset_empty_waiter()
            if was_reading:
                transp.resume_reading()

    # --- operations on sockets ----------------------------------------------------------------------------------

    async def sock_recv(self, sock: socket.socket, n: int) -> Any:
        """Receive at most `n` bytes from a socket: see `asyncio.loop.sock_recv`."""
        self._check_socket(sock)
        done: Any = self._operate("recv", sock, n)
        return done if type(done) is not Operation else await _outcome(done)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> Any:
        """Receive into a buffer: see `asyncio.loop.sock_recv_into`."""
        self._check_socket(sock)
        done: Any = self._operate("recv_into", sock, buf)
        return done if type(done) is not Operation else await _outcome(done)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> Any:
        """Receive a datagram and its address: see `asyncio.loop.sock_recvfrom`."""
        self._check_socket(sock)
        done: Any = self._operate("recvfrom", sock, bufsize)
        return done if type(done) is not Operation else await _outcome(done)

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> Any:
        """Receive a datagram into a buffer, and its address: see `asyncio.loop.sock_recvfrom_into`."""
        self._check_socket(sock)
        done: Any = self._operate("recvfrom_into", sock, buf, nbytes or len(buf))
        return done if type(done) is not Operation else await _outcome(done)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send everything: see `asyncio.loop.sock_sendall`."""
        self._check_socket(sock)
        done: Any = self._operate("sendall", sock, data)
        if type(done) is Operation:
            await _outcome(done)

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> Any:
        """Send a datagram to an address: see `asyncio.loop.sock_sendto`."""
        self._check_socket(sock)
        done: Any = self._operate("sendto", sock, data, address)
        return done if type(done) is not Operation else await _outcome(done)

    def _check_socket(self, sock: socket.socket) -> None:
        base_events._check_ssl_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    # --- for the native half ------------------------------------------------------------------------------------

    def _stack(self) -> Any:
        return format_helpers.extract_stack(sys._getframe(1))

    def _debug_log(self, words: str, *about: Any) -> None:
        error = about[-1] if about and isinstance(about[-1], BaseException) else None
        if error is not None:
            base_events.logger.debug(words, *about[:-1], exc_info=error)
        else:
            base_events.logger.debug(words, *about)

    def _report_callback(self, handle: Any, error: BaseException) -> None:
        options = {"debug": self.get_debug()} if _HAS_DEBUG_FORMAT else {}
        shown = format_helpers._format_callback_source(handle._callback, handle._args, **options)
        context = {"message": f"Exception in callback {shown}", "exception": error, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _report_slow(self, handle: Any, took_s: float) -> None:
        if took_s >= self.slow_callback_duration:
            shown = base_events._format_handle(handle)
            base_events.logger.warning("Executing %s took %.3f seconds", shown, took_s)

    def _warn_of_lost_writes(self) -> None:
        base_events.logger.warning("socket.send() raised exception.")

    def _accept_later(self, error: BaseException, sock: Any, protocol_factory: Any, server: Any, backlog: int) -> None:
        context = {
            "message": "socket.accept() out of system resource",
            "exception": error,
            "socket": trsock.TransportSocket(sock),
        }
        self.call_exception_handler(context)
        self.call_later(constants.ACCEPT_RETRY_DELAY, self._accept_again, protocol_factory, sock, server, backlog)

    def _accept_again(self, protocol_factory: Any, sock: socket.socket, server: Any, backlog: int) -> None:
        if sock.fileno() >= 0:
            self._start_serving(protocol_factory, sock, None, server, backlog)


async def _outcome(operation: Any) -> Any:
    """Wait for an operation. Whoever stops waiting has its socket watched no more."""
    try:
        return await operation.future
    except BaseException:
        operation.abandon()
        raise
    finally:
        # An error leads to its frames, and through them to what leads back.
        del operation


def _is_address(host: Any) -> bool:
    """Say whether a host is written as a number."""
    if not isinstance(host, str):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


class _Lent:
    """The socket of a transport, while `sendfile` writes to it: not the transport's for so long."""

    def __init__(self, loop: EventLoop, transport: Any) -> None:
        self.loop = loop
        self.transport = transport

    def __enter__(self) -> None:
        self.loop._lend(self.transport, True)

    def __exit__(self, *_: object) -> None:
        self.loop._lend(self.transport, False)


def new_event_loop() -> EventLoop:
    """Return a new event loop.

    Returns
    -------
    EventLoop
        It is not set as the current one.

    Examples
    --------
    >>> import asyncio, tercet
    >>> with asyncio.Runner(loop_factory=tercet.new_event_loop) as runner:
    ...     runner.run(asyncio.sleep(0, "done"))
    'done'
    """
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run a coroutine on a new loop, and close the loop: what `asyncio.run` does.

    Parameters
    ----------
    main
        The coroutine.
    debug
        Whether in debug mode; None leaves it as it is.

    Returns
    -------
    object
        What the coroutine returns.

    Raises
    ------
    RuntimeError
        When this thread runs an event loop already.

    Examples
    --------
    >>> import asyncio, tercet
    >>> tercet.run(asyncio.sleep(0, "done"))
    'done'
    """
    if events._get_running_loop() is not None:
        raise RuntimeError("tercet.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def _default_policy() -> Any:
    """Return the class of the default policy, where there are still policies; in 3.14 its name got an underscore."""
    for name in ("_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"):
        if found := getattr(unix_events, name, None):
            return found
    return None


_Policy: Any = _default_policy() or object


class EventLoopPolicy(_Policy):  # type: ignore[misc]
    """A policy whose loops are tercet's.

    Examples
    --------
    >>> import tercet
    >>> loop = tercet.EventLoopPolicy().new_event_loop()
    >>> isinstance(loop, tercet.EventLoop)
    True
    >>> loop.close()
    """

    _loop_factory = EventLoop


def install() -> None:
    """Have `asyncio` make loops of tercet's from now on, wherever no other is asked for.

    Raises
    ------
    RuntimeError
        Where this version of Python has no policies any more; use `tercet.run` there.
    """
    setter = getattr(events, "_set_event_loop_policy", None) or getattr(events, "set_event_loop_policy", None)
    if setter is None or _Policy is object:
        raise RuntimeError("this version of Python has no event loop policies: use `tercet.run`")
    setter(EventLoopPolicy())
