"""TLS connections of an event loop.

The handshake, the shutdown, timeouts and errors are `asyncio`'s own, whatever the version; what is done for each
message is native (`tercet._tercet.TlsCore`). Both halves are one object.
"""

# Names of asyncio's that are used here, the same from 3.11 to 3.15: `SSLProtocol`, `_SSLProtocolTransport`,
# `SSLProtocolState`, and the attributes and methods of the first that begin with an underscore.

from __future__ import annotations

from asyncio import StreamReaderProtocol as _StreamReaderProtocol
from asyncio import sslproto as _sslproto
from typing import Any

from tercet import streams
from tercet._tercet import TlsCore

# The rest of the loop, whose insides have no types.
_Loop: Any = object
sslproto: Any = _sslproto

_BUFFER_SIZE = 256 * 1024


class SslTransport(sslproto._SSLProtocolTransport):  # type: ignore[misc]
    """What a program sees of a TLS connection."""

    def __init__(self, loop: Any, protocol: Any) -> None:
        super().__init__(loop, protocol)
        # Native, and found before the method of the class.
        self.write = protocol._write_one

    def close(self) -> None:
        """Close the transport: see `asyncio.WriteTransport.close`."""
        super().close()
        if self._ssl_protocol is None:
            # It lets go of the protocol, and so must this.
            self.__dict__.pop("write", None)


class TlsProtocol(TlsCore, sslproto.SSLProtocol):  # type: ignore[misc]
    """A TLS connection: the protocol of the transport below it, and the one that a program's protocol belongs to."""

    _app_transport: Any
    _app_transport_created: bool

    def __init__(self, *args: Any, **more: Any) -> None:
        # Of this size a buffer would be made for each connection. The loop has one for all.
        self.max_size = 0
        try:
            super().__init__(*args, **more)
        finally:
            del self.max_size

    def _get_app_transport(self) -> Any:
        if self._app_transport is None:
            if self._app_transport_created:
                raise RuntimeError("Creating _SSLProtocolTransport twice")
            self._app_transport = SslTransport(self._loop, self)
            self._app_transport_created = True
        return self._app_transport

    def get_buffer(self, n: int) -> Any:  # noqa: ARG002
        """Return where a transport that is not native may put what it has received."""
        return self._loop._tls_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what a transport that is not native has received."""
        self._take(self._loop._tls_buffer()[:nbytes])

    def _read_slowly(self) -> None:
        sslproto.SSLProtocol._do_read(self)

    def _go_on(self) -> None:
        state = self._state
        if state is sslproto.SSLProtocolState.DO_HANDSHAKE:
            self._do_handshake()
        elif state is sslproto.SSLProtocolState.FLUSHING:
            self._do_flush()
        elif state is sslproto.SSLProtocolState.SHUTDOWN:
            self._do_shutdown()


class Tls(_Loop):  # type: ignore[misc]
    """The part of an event loop that has to do with TLS."""

    _shared_tls_buffer: memoryview | None = None

    def _tls_buffer(self) -> memoryview:
        if self._shared_tls_buffer is None:
            self._shared_tls_buffer = memoryview(bytearray(_BUFFER_SIZE))
        return self._shared_tls_buffer

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        if type(protocol) is _StreamReaderProtocol:
            streams._adopt(protocol)
        middle = TlsProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_stream_transport(rawsock, middle, None, extra, server)
        return middle._app_transport

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Go over to TLS on a connection that there is: see `asyncio.loop.start_tls`."""
        if sslproto.ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, sslproto.ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        middle = TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing is read before the new protocol knows its transport.
        transport.pause_reading()
        transport.set_protocol(middle)
        steps = [self.call_soon(middle.connection_made, transport), self.call_soon(transport.resume_reading)]
        try:
            await waiter
        except BaseException:
            transport.close()
            for step in steps:
                step.cancel()
            raise
        return middle._app_transport
