"""Four threads that derive keys from short passwords; for short data hashlib keeps the GIL.
Answer: computing with the GIL; processes instead of threads."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

ROUNDS = 150_000


def stretch(password):
    key = password.encode()
    for _ in range(ROUNDS):
        key = hashlib.sha256(key + b"salt").digest()
    return key.hex()


if __name__ == "__main__":
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(stretch, [f"password{i}" for i in range(12)]))
    print(f"{len(keys)} keys")
    print(f"work: {time.perf_counter() - start:.3f}")
