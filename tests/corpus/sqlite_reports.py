"""Ten reports from one sqlite file, one after another; sqlite computes without the GIL.
Answer: computing without the GIL; threads, each with a connection of its own."""

import contextlib
import os
import sqlite3
import tempfile
import time

REPORT = """
select count(*), max(mine.price * yours.price % 1009)
from sales mine join sales yours on yours.day between mine.day - 7 and mine.day + 7
where mine.shop = ? and mine.price > yours.price
"""


@contextlib.contextmanager
def shop():
    """Give the path of a database with a year of sales in twelve shops."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "shop.db")
        sales = [(i % 12, i % 365, i * 7919 % 1000) for i in range(4_000)]
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("create table sales (shop, day, price)")
            database.execute("create index by_day on sales (day, price)")
            database.executemany("insert into sales values (?, ?, ?)", sales)
        yield path


def report(path, number):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(REPORT, (number,)).fetchone()


if __name__ == "__main__":
    with shop() as path:
        start = time.perf_counter()
        reports = [report(path, number) for number in range(10)]
        print(f"{len(reports)} reports")
        print(f"work: {time.perf_counter() - start:.3f}")
