"""Four processes that hold one lock between them while each waits for the printer.
Answer: the lock between the processes; hold it for the hand-over only."""

import multiprocessing
import time


def print_pages(printer):
    for _ in range(20):
        with printer:
            time.sleep(0.025)


if __name__ == "__main__":
    start = time.perf_counter()
    printer = multiprocessing.Lock()
    offices = [multiprocessing.Process(target=print_pages, args=(printer,)) for _ in range(4)]
    for office in offices:
        office.start()
    for office in offices:
        office.join()
    print(f"{len(offices) * 20} pages")
    print(f"work: {time.perf_counter() - start:.3f}")
