"""Six conversions, each by another program that computes, one after another.
Answer: waiting for children that compute; threads that start them, as many as cores."""

import subprocess
import sys
import time

CONVERT = "import sys; print(sum(i % 7 for i in range(4_000_000 + int(sys.argv[1]))))"


def convert(number):
    command = [sys.executable, "-c", CONVERT, str(number)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    start = time.perf_counter()
    converted = [convert(number) for number in range(6)]
    print(f"{len(converted)} conversions")
    print(f"work: {time.perf_counter() - start:.3f}")
