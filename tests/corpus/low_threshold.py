"""Two large tables are loaded under thresholds someone once lowered "to save memory".
Answer: the garbage collector; raise `gc.set_threshold`, or `gc.freeze` what lives long."""

import gc
import time

gc.set_threshold(10, 2, 2)


def load(year):
    return [[year, minute, [minute % 60]] for minute in range(420 * 24 * 60)]


if __name__ == "__main__":
    start = time.perf_counter()
    tables = [load(year) for year in range(2)]
    print(f"{sum(map(len, tables))} rows")
    print(f"work: {time.perf_counter() - start:.3f}")
