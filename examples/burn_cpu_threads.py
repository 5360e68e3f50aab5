"""Sums of squares in plain Python: both halves in one thread, then a thread for each half.

Only one thread at a time may run Python code, so the second thread brings nothing.

Answer: computing with the GIL; processes, as many as cores.
"""

import threading
import time

N = 4_500_000


def sum_squares(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def in_one_thread():
    sum_squares(N)
    sum_squares(N)


def in_two_threads():
    threads = [threading.Thread(target=sum_squares, args=(N,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    one, two = measure(in_one_thread), measure(in_two_threads)
    print(f"one thread:  {one:.2f} s")
    print(f"two threads: {two:.2f} s, {one / two:.1f} times as fast")
    print(f"work: {one + two:.3f}")
