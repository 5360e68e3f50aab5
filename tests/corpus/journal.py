"""A journal that makes each record safe on the disk before it takes the next, for two seconds.
Answer: waiting for the disk; write many records for each `fsync`."""

import os
import tempfile
import time


def append(journal, record):
    journal.write(record)
    journal.flush()
    os.fsync(journal.fileno())


if __name__ == "__main__":
    start = time.perf_counter()
    records = 0
    with tempfile.NamedTemporaryFile() as journal:
        while time.perf_counter() - start < 2:
            append(journal, b"%08d something happened\n" % records)
            records += 1
    print(f"{records} records")
    print(f"work: {time.perf_counter() - start:.3f}")
