"""Starts children one way: `python family.py WAY`. Each prints its number and its parent's, then sleeps for a while."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

NAP_S = 1.0


def nap(number=None):
    sys.stdout.write(json.dumps({"pid": os.getpid(), "parent": os.getppid()}) + "\n")
    sys.stdout.flush()
    for _ in range(20):
        time.sleep(NAP_S / 20)


def start(way):
    """Start two children and wait for them."""
    context = multiprocessing.get_context(way)
    children = [context.Process(target=nap) for _ in range(2)]
    for one in children:
        one.start()
    for one in children:
        one.join()


def command(way):
    children = [subprocess.Popen([sys.executable, __file__, "leaf"]) for _ in range(2)]
    for one in children:
        one.wait()


def grandchild(way):
    subprocess.run([sys.executable, __file__, "fork"], check=True)


def pool(way):
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as workers:
        list(workers.map(nap, range(2)))


def thread_pool(way):
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(nap, range(6)))


def leaf(way):
    nap()


if __name__ == "__main__":
    way = sys.argv[1]
    {"fork": start, "spawn": start, "forkserver": start}.get(way, globals().get(way))(way)
