"""Four instruments read in four threads through a C driver that waits without releasing the GIL.
Answer: waiting while holding the GIL; a process for each instrument."""

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor

driver = ctypes.PyDLL(None)  # unlike CDLL, it keeps the GIL during the call


def read_instrument(number):
    values = []
    for step in range(25):
        driver.usleep(20_000)
        values.append(number + step)
    return sum(values)


if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        print(f"readings: {list(pool.map(read_instrument, range(4)))}")
    print(f"work: {time.perf_counter() - start:.3f}")
