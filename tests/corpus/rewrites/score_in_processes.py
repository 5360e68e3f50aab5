"""`fetch_and_score.py` in two processes of five threads: ten pages under way, two cores at work."""

import functools
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import originals  # noqa: F401
from fetch_and_score import fetch_and_score, main


def in_threads(address, numbers):
    with ThreadPoolExecutor(5) as threads:
        return list(threads.map(functools.partial(fetch_and_score, address), numbers))


def in_processes(address, numbers):
    with ProcessPoolExecutor(2) as processes:
        halves = processes.map(in_threads, [address] * 2, [numbers[0::2], numbers[1::2]])
        return [score for half in halves for score in half]


if __name__ == "__main__":
    main(in_processes)
