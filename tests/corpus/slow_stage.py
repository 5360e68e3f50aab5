"""A pipeline of threads: three readers wait at a full queue for the one stage that computes.
Answer: computing with the GIL in the last stage; do that stage in processes."""

import queue
import threading
import time

COUNT, READERS = 20, 3
lines = queue.Queue(maxsize=4)


def read(number):
    for line in range(COUNT):
        time.sleep(0.002)
        lines.put(number * COUNT + line)


def fingerprint(number):
    value = number
    for _ in range(130_000):
        value = (value * 1_103_515_245 + 12_345) % 2_147_483_648
    return value


def write(results):
    for _ in range(COUNT * READERS):
        results.append(fingerprint(lines.get()))


if __name__ == "__main__":
    start = time.perf_counter()
    results = []
    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    threads.append(threading.Thread(target=write, args=(results,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(results)} fingerprints")
    print(f"work: {time.perf_counter() - start:.3f}")
