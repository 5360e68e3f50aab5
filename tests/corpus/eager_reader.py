"""A reader that tries a non-blocking `recv` until there is something to read.
Answer: polling; let the socket block, or wait with `selectors`."""

import socket
import time

from slow_server import SlowServer


def read_answer(connection):
    while True:
        try:
            return connection.recv(1000)
        except BlockingIOError:
            pass


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address, socket.create_connection(address) as connection:
        connection.setblocking(False)
        start = time.perf_counter()
        for number in range(20):
            connection.sendall(b"question %d\n" % number)
            answer = read_answer(connection)
        took = time.perf_counter() - start
    print(answer.decode().strip())
    print(f"work: {took:.3f}")
