"""Notes saved one after another for two seconds, each in a file of its own that is made safe on the disk.
Answer: waiting for the disk; threads, the disk makes several files safe at once."""

import os
import tempfile
import time


def save(folder, number):
    with open(os.path.join(folder, f"note-{number}"), "wb") as note:
        note.write(b"remember the milk\n" * 100)
        note.flush()
        os.fsync(note.fileno())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        saved = 0
        while time.perf_counter() - start < 2:
            save(folder, saved)
            saved += 1
        took = time.perf_counter() - start
    print(f"{saved} notes saved")
    print(f"work: {took:.3f}")
