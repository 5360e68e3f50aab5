"""A client that asks `select` again and again, with a timeout of zero, whether the answer is there.
Answer: polling; give `select` a timeout and let it wait."""

import select
import socket
import time

from slow_server import SlowServer


def wait_for(connection):
    looks = 0
    while not select.select([connection], [], [], 0)[0]:
        looks += 1
    return looks


if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address, socket.create_connection(address) as connection:
        start = time.perf_counter()
        looks = 0
        for number in range(20):
            connection.sendall(b"question %d\n" % number)
            looks += wait_for(connection)
            connection.recv(1000)
        took = time.perf_counter() - start
    print(f"looked {looks} times for 20 answers")
    print(f"work: {took:.3f}")
