"""Checksums of large images, one after another; hashlib releases the GIL for large data.
Answer: computing without the GIL; threads, as many as cores."""

import hashlib
import time

IMAGE = bytes(range(256)) * (8 << 12)  # 8 MiB
NAMES = [f"disk-{number}.img" for number in range(60)]


def checksum(name):
    digest = hashlib.sha3_256(name.encode())
    digest.update(IMAGE)
    return digest.hexdigest()


if __name__ == "__main__":
    start = time.perf_counter()
    sums = {name: checksum(name) for name in NAMES}
    print(f"{len(sums)} checksums")
    print(f"work: {time.perf_counter() - start:.3f}")
