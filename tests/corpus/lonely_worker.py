"""A pool of one process that computes in plain Python.
Answer: computing with the GIL; more processes, as many as cores."""

import multiprocessing
import time


def count_primes(start):
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, start + 2_000))


def main(workers):
    start = time.perf_counter()
    with multiprocessing.Pool(workers) as pool:
        primes = sum(pool.map(count_primes, range(1_000_000, 1_160_000, 2_000), chunksize=1))
    print(f"{primes} primes, {workers} at work")
    print(f"work: {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main(workers=1)
