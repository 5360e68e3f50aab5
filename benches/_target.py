"""A program to be watched: it does one thing, and counts how often it has done it.

    python _target.py KIND COUNTERS          until standard input closes
    python _target.py KIND COUNTERS UNITS    until each thread has done so many

Each thread has a slot of 8 bytes in the file COUNTERS, which who started the program reads while it runs.
"""

import ctypes
import hashlib
import mmap
import os
import sys
import threading
import time

DATA = bytes(256 * 1024)

# The kernel's PR_SET_PTRACER with any process: where only parents may look, a sibling may look at this program too.
PR_SET_PTRACER, ANYONE = 0x59616D61, ctypes.c_ulong(-1)


def compute():
    n = 0
    for i in range(2_000):
        n += i * i % 7
    return n


def wait():
    time.sleep(0.02)


def digest():
    return hashlib.sha256(DATA).digest()  # without the GIL, as the data is large


KINDS = {"cpu": (compute, 1), "gil": (compute, 4), "waiting": (wait, 50), "hash": (digest, 1)}


def repeat(step, slots, slot, units):
    while slots[slot] < units:
        step()
        slots[slot] += 1


def main(kind, path, units=sys.maxsize):
    step, threads = KINDS[kind]
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYONE, 0, 0, 0)
    with open(path, "r+b") as file:
        slots = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    is_endless = units == sys.maxsize
    if is_endless:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    others = [threading.Thread(target=repeat, args=(step, slots, slot, units)) for slot in range(1, threads)]
    for thread in others:
        thread.start()
    repeat(step, slots, 0, units)
    for thread in others:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
