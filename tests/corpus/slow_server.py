"""A line server for the programs beside it: each line is answered after `delay_s` seconds.

    with SlowServer(delay_s=0.1) as address:
        ask(address, "name")

A process of its own on the loopback, which leaves when its standard input closes. With `at_once=1`
it is a server at its limit: it works on one question at a time and lets the others queue.
"""

import os
import socket
import subprocess
import sys


class SlowServer:
    """Start the server on entry, end it on exit; the context gives its (host, port)."""

    def __init__(self, delay_s, at_once=1_000):
        self.command = [sys.executable, __file__, str(delay_s), str(at_once)]

    def __enter__(self):
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return "127.0.0.1", int(self._process.stdout.readline())

    def __exit__(self, *exc_info):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def ask(address, question):
    """Connect, send one line and return the line that comes back."""
    with socket.create_connection(address) as connection, connection.makefile("rw") as stream:
        print(question, file=stream, flush=True)
        return stream.readline().rstrip()


def serve(delay_s, at_once):
    import asyncio  # here, because the programs that only start the server have no use for it
    import signal

    seats = asyncio.Semaphore(at_once)

    async def answer(reader, writer):
        try:
            while line := await reader.readline():
                async with seats:
                    await asyncio.sleep(delay_s)
                writer.write(b"answer to " + line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def listen():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        # Nothing is worth finishing once the program has gone.
        asyncio.get_running_loop().add_reader(sys.stdin, os._exit, 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    asyncio.run(listen())


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
