"""The edit distance of every pair of words, in plain Python.
Answer: computing with the GIL; processes, as many as cores."""

import itertools
import random
import time


def words(count=260):
    chance = random.Random(1)
    return ["".join(chance.choices("abcdefgh", k=12)) for _ in range(count)]


def distance(pair):
    one, other = pair
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (a != b)))
    return row[-1]


def pairs():
    return list(itertools.combinations(words(), 2))


if __name__ == "__main__":
    start = time.perf_counter()
    nearest = min(map(distance, pairs()))
    print(f"nearest pair: {nearest} edits apart")
    print(f"work: {time.perf_counter() - start:.3f}")
