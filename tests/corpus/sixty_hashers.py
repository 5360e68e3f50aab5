"""Sixty threads, each with large blocks to hash.
Answer: every core is at work; fewer threads do the same with less memory and switching."""

import hashlib
import threading
import time

BLOCK = bytes(6 << 20)
digests = []


def hash_blocks(number):
    digest = hashlib.sha3_256(b"%d" % number)
    digest.update(BLOCK)
    digest.update(BLOCK)
    digests.append(digest.digest())


if __name__ == "__main__":
    start = time.perf_counter()
    threads = [threading.Thread(target=hash_blocks, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(digests)} digests")
    print(f"work: {time.perf_counter() - start:.3f}")
