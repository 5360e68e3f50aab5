"""Readings go into an sqlite database for two seconds, with a commit after each.
Answer: waiting for the disk at each commit; one transaction for many rows."""

import os
import sqlite3
import tempfile
import time


def insert(database, number):
    with database:
        database.execute("insert into readings values (?, ?)", (number, number / 7))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(os.path.join(folder, "readings.db"))
        database.execute("create table readings (number integer primary key, value real)")
        start = time.perf_counter()
        rows = 0
        while time.perf_counter() - start < 2:
            insert(database, rows)
            rows += 1
        took = time.perf_counter() - start
        database.close()
    print(f"{rows} rows")
    print(f"work: {took:.3f}")
