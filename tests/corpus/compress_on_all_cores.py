"""The logs of `compress_logs.py` in as many threads as cores.
Answer: nothing to do; zlib releases the GIL, and every core is at work."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from compress_logs import logs, squeeze

if __name__ == "__main__":
    texts = logs(40)
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = list(pool.map(squeeze, texts))
    print(f"{len(sizes)} logs became {sum(sizes) >> 20} MiB")
    print(f"work: {time.perf_counter() - start:.3f}")
