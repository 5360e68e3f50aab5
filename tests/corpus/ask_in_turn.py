"""Twenty questions to a slow server, one after another.
Answer: waiting for the network; threads."""

import time

from slow_server import SlowServer, ask

if __name__ == "__main__":
    with SlowServer(delay_s=0.1) as address:
        start = time.perf_counter()
        answers = [ask(address, f"question {i}") for i in range(20)]
        took = time.perf_counter() - start
    print(f"{len(answers)} answers")
    print(f"work: {took:.3f}")
