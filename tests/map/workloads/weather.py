"""A weather station on a socket, which thinks for 15 ms before it answers."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from typing import Any

BEST = {"threads"}


class _Station(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        place = self.rfile.readline().strip()
        time.sleep(0.015)
        self.wfile.write(b"sunny in " + place + b"\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256


def setup() -> tuple[Any, Any]:
    server = _Server(("127.0.0.1", 0), _Station)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    return server.server_address, end


def items(address: Any) -> list[tuple[Any, str]]:
    return [(address, f"place-{n}") for n in range(40)]


def task(question: tuple[Any, str]) -> str:
    address, place = question
    with socket.create_connection(address) as line:
        line.sendall(place.encode() + b"\n")
        return line.makefile().readline().strip()


def check(results: list[str]) -> bool:
    return results == [f"sunny in place-{n}" for n in range(40)]
