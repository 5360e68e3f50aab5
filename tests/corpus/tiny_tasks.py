"""Thirty thousand additions, each sent to a pool as a task of its own.
Answer: the traffic with the pool; send batches (`chunksize=1000`), or use no pool."""

import multiprocessing
import time


def price_with_tax(price):
    return price + price * 19 // 100


if __name__ == "__main__":
    start = time.perf_counter()
    with multiprocessing.Pool(2) as pool:
        total = sum(pool.imap(price_with_tax, range(30_000)))
    print(f"total {total}")
    print(f"work: {time.perf_counter() - start:.3f}")
