"""Produces one state at a time: `python states.py STATE SECONDS [WHERE]`.

Each function below is one state, and the lines on which its time passes end in `# here`. WHERE is what a state needs
from outside: an address, a folder. The first line of the output tells the kernel's numbers of the threads, so that
nobody has to guess them. What only one state needs is imported there, so that the others start quickly. Every CPython
from 3.10 on can read this file.
"""

import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time

clock = time.monotonic
seconds = 0.0
end = 0.0


def say(**threads):
    """Tell the numbers of the threads that are ready; the time runs from now on."""
    global end
    end = clock() + seconds
    print(json.dumps({"pid": os.getpid(), "main": threading.get_native_id(), **threads}), flush=True)


def in_thread(work):
    """Run `work` in a thread and return its number."""
    ready = queue.SimpleQueue()

    def begin():
        ready.put(threading.get_native_id())
        work()

    threading.Thread(target=begin, daemon=True).start()
    return ready.get()


# --- computing ----------------------------------------------------------------------------------------------


def python_code(where=None):
    say()
    count_up()


def count_up():
    total = 0
    while clock() < end:
        for number in range(20_000):  # here
            total = (total + number * number) % 1_000_003  # here


def native_code(where):
    say()
    hash_blocks()


def hash_blocks():
    import hashlib

    data = bytes(1 << 24)
    while clock() < end:
        hashlib.sha256(data).digest()  # here


def two_threads(where):
    workers = [threading.Thread(target=count_up) for _ in range(2)]
    for worker in workers:
        worker.start()
    say(first=workers[0].native_id, second=workers[1].native_id)
    for worker in workers:
        worker.join()


def one_processor(where):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    say(second=in_thread(hash_blocks))
    hash_blocks()


def garbage(where):
    gc.disable()
    kept = [[number] for number in range(150_000)]
    say()
    while clock() < end:
        gc.collect()  # here
    return kept


# --- waiting for the world ----------------------------------------------------------------------------------


def sleeping(where=None):
    say()
    nap()


def nap():
    while clock() < end:
        time.sleep(0.05)  # here


def connect(where, timeout=None):
    import socket

    line = socket.create_connection(("127.0.0.1", int(where)))
    line.settimeout(timeout)
    return line


def tcp(where):
    line = connect(where)
    say()
    while clock() < end:
        line.recv(1)  # here


def tcp_timeout(where):
    line = connect(where, 30)
    say()
    while clock() < end:
        line.recv(1)  # here


def udp(where):
    import socket

    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.connect(("127.0.0.1", int(where)))
    say()
    while clock() < end:
        line.send(b"?")
        line.recv(1)  # here


def unix(where):
    import socket

    line = socket.socket(socket.AF_UNIX)
    line.connect(where)
    say()
    while clock() < end:
        line.recv(1)  # here


def pipe(where):
    line = os.open(where, os.O_RDONLY)
    say()
    while clock() < end:
        os.read(line, 1)  # here


def disk(where):
    with open(os.path.join(where, "journal"), "wb") as journal:
        say()
        while clock() < end:
            journal.write(b"entry\n" * 100)
            journal.flush()
            os.fsync(journal.fileno())  # here


# --- locks --------------------------------------------------------------------------------------------------


class Over(Exception):
    pass


def lock(where):
    def interrupt(number, frame):
        raise Over

    door = threading.Lock()
    door.acquire()
    signal.signal(signal.SIGALRM, interrupt)
    say()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        door.acquire()  # here
    except Over:
        pass


def lock_timeout(where):
    door = threading.Lock()
    door.acquire()
    say()
    while clock() < end:
        door.acquire(timeout=0.1)  # here


def contended_lock(where):
    door = threading.Lock()

    def hold():
        while clock() < end:
            with door:
                time.sleep(0.05)

    def want():
        while clock() < end:
            with door:
                pass
            time.sleep(0.002)

    numbers = {name: in_thread(want) for name in ("second", "third")}
    say(**numbers)
    hold()


def idle_worker(where):
    tasks = queue.Queue()

    def work():
        while True:
            tasks.get()

    say(worker=in_thread(work))
    while clock() < end:
        time.sleep(0.05)  # here
        tasks.put(None)


def process_lock(where):
    import multiprocessing

    door = multiprocessing.Lock()
    door.acquire()
    say()
    while clock() < end:
        door.acquire(timeout=0.1)  # here


# --- children -----------------------------------------------------------------------------------------------


def child(where):
    import subprocess

    say()
    while clock() < end:
        subprocess.run(["sleep", "0.3"], check=True)  # here


def child_output(where):
    import subprocess

    say()
    while clock() < end:
        subprocess.run(["sleep", "0.3"], check=True, capture_output=True)  # here


# --- event loops --------------------------------------------------------------------------------------------


def loop_idle(where):
    import asyncio

    async def rest():
        while clock() < end:
            await asyncio.sleep(0.05)

    say()
    asyncio.run(rest())


def loop_waits(where):
    import asyncio

    async def block():
        while clock() < end:
            time.sleep(0.1)  # here
            await asyncio.sleep(0)

    say()
    asyncio.run(block())


def loop_computes(where):
    import asyncio

    async def compute():
        total = 0
        while clock() < end:
            for number in range(2_000_000):  # here
                total = (total + number * number) % 1_000_003  # here
            await asyncio.sleep(0)

    say()
    asyncio.run(compute())


# --- the GIL ------------------------------------------------------------------------------------------------


def gil_held(where):
    import ctypes

    usleep = ctypes.PyDLL(None).usleep
    say()
    while clock() < end:
        usleep(100_000)  # here


def gil_held_against(where):
    import ctypes

    say(second=in_thread(count_up))
    usleep = ctypes.PyDLL(None).usleep
    while clock() < end:
        usleep(100_000)


# --- imports ------------------------------------------------------------------------------------------------


def imports(where):
    sys.path.insert(0, where)
    sys.dont_write_bytecode = True
    say()
    number = 0
    while clock() < end:
        importlib.import_module(f"module_{number}")  # here
        number += 1


if __name__ == "__main__":
    seconds = float(sys.argv[2])
    end = clock() + seconds
    globals()[sys.argv[1]](sys.argv[3] if len(sys.argv) > 3 else None)
