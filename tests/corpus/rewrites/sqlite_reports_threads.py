"""`sqlite_reports.py` in two threads."""

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import originals  # noqa: F401
from sqlite_reports import report, shop

if __name__ == "__main__":
    with shop() as path:
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(functools.partial(report, path), range(10)))
        print(f"{len(reports)} reports")
        print(f"work: {time.perf_counter() - start:.3f}")
