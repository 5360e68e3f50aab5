"""A pool of eight threads that searches texts with a regular expression.
Answer: the `re` module keeps the GIL; processes instead of threads."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

TEXT = " ".join(f"user{i}@mail{i % 9}.example id={i:x}" for i in range(4_000))
ADDRESS = re.compile(r"[\w.]+@[\w.]+\.[a-z]+")


def addresses(number):
    return len(ADDRESS.findall(TEXT + str(number)))


if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        found = sum(pool.map(addresses, range(500)))
    print(f"{found} addresses")
    print(f"work: {time.perf_counter() - start:.3f}")
