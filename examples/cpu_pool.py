"""The sums of `burn_cpu_threads.py` in a pool of processes, one for each core.

Each process has a GIL of its own, so the cores compute at the same time. With the argument `tercet`, the pool is
`tercet.Pool`: the same program with another import.

Answer: nothing to do; every core is at work.
"""

import sys
import time

from burn_cpu_threads import N, sum_squares

if sys.argv[1:] == ["tercet"]:
    from tercet import Pool
else:
    from multiprocessing import Pool

TASKS = 14


def timed_sum(n):
    start = time.process_time()
    sum_squares(n)
    return time.process_time() - start


def main():
    start = time.perf_counter()
    with Pool() as pool:
        computing = sum(pool.map(timed_sum, [N // 2] * TASKS, chunksize=1))
    took = time.perf_counter() - start
    print(f"{computing:.2f} s of computing in {took:.2f} s: {computing / took:.1f} cores at work")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main()
