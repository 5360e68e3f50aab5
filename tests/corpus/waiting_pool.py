"""A pool of two processes whose workers only wait for a slow server.
Answer: waiting for the network; threads, and many more of them."""

import functools
import multiprocessing
import time

from slow_server import SlowServer, ask

if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        with multiprocessing.Pool(2) as pool:
            answers = pool.map(functools.partial(ask, address), range(40), chunksize=1)
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
