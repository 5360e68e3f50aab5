"""The same sums under two executors: threads first, then processes; only the class name changes.

Answer: computing with the GIL; processes, as many as cores.
"""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from burn_cpu_threads import sum_squares

SIZES = [1_600_000] * 8


def measure(executor_class):
    start = time.perf_counter()
    with executor_class(2) as executor:
        list(executor.map(sum_squares, SIZES))
    return time.perf_counter() - start


def main():
    threads = measure(ThreadPoolExecutor)
    print(f"ThreadPoolExecutor(2):  {threads:.2f} s")
    processes = measure(ProcessPoolExecutor)
    print(f"ProcessPoolExecutor(2): {processes:.2f} s, {threads / processes:.1f} times as fast")
    print(f"work: {threads + processes:.3f}")


if __name__ == "__main__":
    main()
