"""A process for each core; each walks the Collatz sequences of its own share of the numbers.
Answer: nothing to do; every core is at work."""

import multiprocessing
import os
import time

EACH = 110_000


def longest_walk(first, results):
    longest = 0
    for number in range(first, first + EACH):
        steps = 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        longest = max(longest, steps)
    results.put(longest)


if __name__ == "__main__":
    start = time.perf_counter()
    results = multiprocessing.SimpleQueue()
    shares = [1 + share * EACH for share in range(os.cpu_count())]
    walkers = [multiprocessing.Process(target=longest_walk, args=(first, results)) for first in shares]
    for walker in walkers:
        walker.start()
    longest = max(results.get() for _ in walkers)
    for walker in walkers:
        walker.join()
    print(f"longest walk: {longest} steps")
    print(f"work: {time.perf_counter() - start:.3f}")
