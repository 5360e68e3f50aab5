"""Words go down a pipe to a checker, one at a time; it takes its time over each.
Answer: waiting for a child behind a pipe; threads, each with a checker of its own."""

import subprocess
import sys
import time

CHECKER = """
import sys, time
for word in sys.stdin:
    time.sleep(0.05)
    print("ok" if word.islower() else "bad", flush=True)
"""


def check(words):
    command = [sys.executable, "-c", CHECKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as checker:
        for word in words:
            print(word, file=checker.stdin, flush=True)
            yield word, checker.stdout.readline().strip()


if __name__ == "__main__":
    start = time.perf_counter()
    verdicts = dict(check(f"word{chr(97 + number % 26)}" + "x" * number for number in range(40)))
    print(f"{list(verdicts.values()).count('ok')} of {len(verdicts)} words are fine")
    print(f"work: {time.perf_counter() - start:.3f}")
