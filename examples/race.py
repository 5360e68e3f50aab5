"""Two threads count up one counter: half a second without a lock, then a second and a half with one.

Without a lock counts are lost, because a thread can be stopped between reading and writing the
counter. The lock makes the sum right, and slow: the threads pass it to and fro at every step.

Answer: the lock; count apart, and take it once to add up.
"""

import threading
import time

counter = 0
lock = threading.Lock()


def one_more(n):
    return n + 1


def step_without_lock():
    global counter
    counter = one_more(counter)


def step_with_lock():
    global counter
    with lock:
        counter = one_more(counter)


def count(step, seconds, counts):
    steps = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(100):
            step()
        steps += 100
    counts.append(steps)


def race(step, seconds):
    global counter
    counter, counts = 0, []
    threads = [threading.Thread(target=count, args=(step, seconds, counts)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{counter:>9,} of {sum(counts):>9,} counted, {sum(counts) / seconds:>10,.0f} a second"


if __name__ == "__main__":
    start = time.perf_counter()
    print(f"without a lock: {race(step_without_lock, 0.5)}")
    print(f"with a lock:    {race(step_with_lock, 1.5)}")
    print(f"work: {time.perf_counter() - start:.3f}")
