"""Orders are booked into a large ledger, and after each the program collects garbage by hand.
Answer: the garbage collector; drop the calls of `gc.collect`."""

import gc
import time

ledger = {number: {"customer": number % 97, "lines": [number, number + 1]} for number in range(100_000)}


def book(order):
    lines = [order * step for step in range(20_000)]
    ledger[order % 1_000]["lines"] = lines[:5]
    gc.collect()
    return sum(lines)


if __name__ == "__main__":
    start = time.perf_counter()
    total = sum(book(order) for order in range(80))
    print(f"total {total}")
    print(f"work: {time.perf_counter() - start:.3f}")
