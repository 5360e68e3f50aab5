"""A small HTTP server that takes its time: it answers each GET after `delay_s` seconds.

    with LatencyServer(delay_s=0.2) as url:
        urllib.request.urlopen(url + "/1").read()

It is a process of its own, so its waits are not the program's. It listens on the loopback only
and leaves as soon as its standard input closes, so it cannot outlive the program.
"""

import os
import subprocess
import sys


class LatencyServer:
    """Start the server on entry, end it on exit; the context gives its address."""

    def __init__(self, delay_s=0.2):
        self.delay_s = delay_s

    def __enter__(self):
        os.environ.setdefault("no_proxy", "127.0.0.1")  # urllib must not ask a proxy for the loopback
        command = [sys.executable, __file__, str(self.delay_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        port = self._process.stdout.readline()
        if not port:
            raise RuntimeError(f"the latency server did not start: exit code {self._process.wait()}")
        return f"http://127.0.0.1:{int(port)}"

    def __exit__(self, *exc_info):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def allow_many_sockets():
    """Raise the number of open files to what the system permits; 1024 is a common default."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(delay_s):
    """Print the port, then answer until standard input closes."""
    import asyncio  # here, because the programs that only start the server have no use for it
    import signal

    async def answer(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _version = head.split(b"\r\n")[0].split(b" ")
            await asyncio.sleep(delay_s)
            good = method == b"GET"
            writer.write(response(b"200 OK", b"hello from " + path) if good else response(b"501 Not Implemented"))
            await writer.drain()
        except ValueError:
            writer.write(response(b"400 Bad Request"))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def listen():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
        # Nothing is worth finishing once the program has gone.
        asyncio.get_running_loop().add_reader(sys.stdin, os._exit, 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    allow_many_sockets()
    asyncio.run(listen())


def response(status, text=b""):
    head = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(text) + 1) + text + b"\n"


if __name__ == "__main__":
    serve(float(sys.argv[1]))
