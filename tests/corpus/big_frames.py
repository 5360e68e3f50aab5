"""Video frames of 16 MB travel to a pool and back for a moment's work on each.
Answer: moving the frames; share their memory instead of pickling them."""

import multiprocessing
import time

FRAME = bytes(range(256)) * (1 << 16)
DARKER = bytes(value // 2 for value in range(256))


def darken(frame):
    return frame.translate(DARKER)


def main():
    start = time.perf_counter()
    with multiprocessing.Pool(2) as pool:
        shown = sum(len(frame) for frame in pool.imap(darken, [FRAME] * 20))
    print(f"{shown >> 20} MiB shown")
    print(f"work: {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main()
