"""Over before anyone can look.
Answer: nothing to do, or nothing to tell; there are too few samples."""

import time

if __name__ == "__main__":
    start = time.perf_counter()
    total = sum(number * number for number in range(200_000))
    print(f"total {total}")
    print(f"work: {time.perf_counter() - start:.3f}")
