"""Ten calls of another program, one after another; each takes 0.2 s and no processor.
Answer: waiting for child processes; threads."""

import subprocess
import time


def call(number):
    return subprocess.run(["sleep", "0.2"], check=True).returncode + number


if __name__ == "__main__":
    start = time.perf_counter()
    done = [call(number) for number in range(10)]
    print(f"{len(done)} calls")
    print(f"work: {time.perf_counter() - start:.3f}")
