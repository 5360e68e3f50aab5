"""Eight tasks in `tercet.ProcessPoolExecutor`: one ends its process, one never ends, and the other six come home.

In the standard library's pool the first mishap costs every task that is not done, and the pool; the second has no way
out.
"""

import os
import time

from tercet import ProcessPoolExecutor

ENDS, STAYS = 3, 5
TIMEOUT_S = 0.5


def square(number):
    if number == ENDS:
        os._exit(1)
    if number == STAYS:
        time.sleep(3600)
    return number * number


def main():
    with ProcessPoolExecutor(2, timeout=TIMEOUT_S) as executor:
        futures = [executor.submit(square, number) for number in range(8)]
        for number, future in enumerate(futures):
            error = future.exception(timeout=60)
            print(f"square of {number}: " + (str(future.result()) if error is None else type(error).__name__))
        print(f"and the pool goes on: {executor.submit(square, 12).result(timeout=60)}")


if __name__ == "__main__":
    main()
