"""Eight threads ask a server that works on one question at a time.
Answer: nothing to do here; the limit is on the far side."""

import time
from concurrent.futures import ThreadPoolExecutor

from slow_server import SlowServer, ask

if __name__ == "__main__":
    with SlowServer(delay_s=0.04, at_once=1) as address:
        start = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i: ask(address, f"form {i}"), range(50)))
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
