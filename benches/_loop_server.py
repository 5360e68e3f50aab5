"""The servers of the loop's benches: `_loop_server.py LOOP KIND ADDRESS FOLDER [--tls]`.

It prints the address on which it listens, and ends when its standard input does.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

from _loops import new_loop

PAGE = b"Hello, world!"
CHUNK_BYTES = 1 << 18
PERIOD = 1 << 20
CHUNKS_AT_ONCE = 16


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what comes, from a buffer of its own."""

    def __init__(self):
        self.buffer = memoryview(bytearray(CHUNK_BYTES))

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, size):
        self.transport.write(self.buffer[:size])


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends back each datagram."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class Pour(asyncio.Protocol):
    """Sends the pattern for as long as there is room."""

    pattern = b""

    def connection_made(self, transport):
        self.transport, self.place, self.is_paused, self.is_lost = transport, 0, False, False
        asyncio.get_running_loop().call_soon(self.go_on)

    def go_on(self):
        # Where the peer is quick enough there is always room, and the loop must hear of its end.
        for _ in range(CHUNKS_AT_ONCE):
            if self.is_paused or self.is_lost:
                return
            self.transport.write(self.pattern[self.place : self.place + CHUNK_BYTES])
            self.place = (self.place + CHUNK_BYTES) % PERIOD
        asyncio.get_running_loop().call_soon(self.go_on)

    def pause_writing(self):
        self.is_paused = True

    def resume_writing(self):
        self.is_paused = False
        self.go_on()

    def connection_lost(self, error):
        self.is_lost = True


class Count(asyncio.Protocol):
    """Counts what comes, and tells at the end."""

    def connection_made(self, transport):
        self.transport, self.count = transport, 0

    def data_received(self, data):
        self.count += len(data)

    def eof_received(self):
        self.transport.write(self.count.to_bytes(8, "big"))


class SendFile(asyncio.Protocol):
    """Sends a file again and again."""

    path = Path()

    def connection_made(self, transport):
        self.task = asyncio.ensure_future(self.send(transport))

    async def send(self, transport):
        with contextlib.suppress(ConnectionError, RuntimeError), self.path.open("rb") as file:
            while not transport.is_closing():
                await asyncio.get_running_loop().sendfile(transport, file)


PROTOCOLS = {"protocol": Echo, "buffered": BufferedEcho, "send": Pour, "receive": Count, "sendfile": SendFile}


async def serve_streams(listener, context):
    """Echo over asyncio's streams."""

    async def attend(reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(attend, sock=listener, ssl=context)


async def serve_sockets(listener, context):
    """Echo with `sock_recv` and `sock_sendall`."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)

    async def attend(connection):
        with connection, contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(connection, CHUNK_BYTES):
                await loop.sock_sendall(connection, data)

    async def accept():
        tasks = set()
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(attend(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return loop.create_task(accept())


async def serve_uvicorn(listener, http):
    """Serve a page with uvicorn."""
    import uvicorn

    async def app(scope, receive, send):
        head = [(b"content-type", b"text/plain"), (b"content-length", str(len(PAGE)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": PAGE})

    config = uvicorn.Config(app, http=http, loop="none", lifespan="off", log_level="critical", access_log=False)
    return asyncio.ensure_future(uvicorn.Server(config).serve([listener]))


async def serve_aiohttp(listener, _):
    """Serve a page with aiohttp."""
    from aiohttp import web

    async def page(request):
        return web.Response(body=PAGE, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


SERVERS = {
    "streams": serve_streams,
    "sock": serve_sockets,
    "aiohttp": serve_aiohttp,
    "uvicorn_h11": lambda listener, _: serve_uvicorn(listener, "h11"),
    "uvicorn_httptools": lambda listener, _: serve_uvicorn(listener, "httptools"),
}


def listening(address):
    """Return a socket that listens there. With a protocol of 0 asyncio would leave Nagle's algorithm on."""
    family, _, place = address.partition(":")
    if family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place)
    else:
        host, _, port = place.rpartition(":")
        kind = (socket.SOCK_DGRAM, socket.IPPROTO_UDP) if family == "udp" else (socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener = socket.socket(socket.AF_INET, *kind)
        listener.bind((host, int(port)))
    if family != "udp":
        listener.listen(4096)
    return listener


def shown(listener):
    """Return the address of a socket as the load generator reads it."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()
    return f"{'udp' if listener.type == socket.SOCK_DGRAM else 'tcp'}:{host}:{port}"


async def serve(kind, listener, context):
    """Start the server; what is returned keeps it alive."""
    loop = asyncio.get_running_loop()
    if kind == "udp":
        return await loop.create_datagram_endpoint(DatagramEcho, sock=listener)
    if kind in SERVERS:
        return await SERVERS[kind](listener, context)
    protocol = PROTOCOLS[kind]
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(protocol, sock=listener, ssl=context, backlog=4096)
    return await loop.create_server(protocol, sock=listener, ssl=context, backlog=4096)


def tls(folder):
    """Return the context of a server with the certificate of this folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def main():
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loop")
    parser.add_argument("kind", choices=[*PROTOCOLS, *SERVERS, "udp"])
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tls", action="store_true")
    wishes = parser.parse_args()
    if wishes.kind in ("send", "sendfile"):
        SendFile.path = wishes.folder / "pattern"
        with SendFile.path.open("rb") as file:
            Pour.pattern = memoryview(file.read(PERIOD))
    loop = new_loop(wishes.loop)
    asyncio.set_event_loop(loop)
    listener = listening(wishes.address)
    address = shown(listener)  # A loop may make the socket its own.
    kept = loop.run_until_complete(serve(wishes.kind, listener, tls(wishes.folder) if wishes.tls else None))

    def end():
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=end, daemon=True).start()
    print(address, flush=True)
    loop.run_forever()
    del kept
    # Nothing is left to be tidied: connections that the generator has dropped may still be closing.
    os._exit(0)


if __name__ == "__main__":
    main()
