"""Pages are fetched and scored one after another: half waiting, half computing in Python.
Answer: both; processes for the scores, with threads in each for the waits."""

import time

from slow_server import SlowServer, ask


def fetch_and_score(address, number):
    page = ask(address, f"page {number}")
    score = len(page)
    for step in range(400_000):
        score = (score * 31 + step) & 0xFFFF
    return score


def main(score_all):
    with SlowServer(delay_s=0.06) as address:
        start = time.perf_counter()
        scores = score_all(address, range(20))
        took = time.perf_counter() - start
    print(f"{len(scores)} scores")
    print(f"work: {took:.3f}")


def in_turn(address, numbers):
    return [fetch_and_score(address, number) for number in numbers]


if __name__ == "__main__":
    main(in_turn)
