"""A metronome: twenty ticks on the beat, a tenth of a second apart, as it should be.
Answer: it waits for the clock by design; nothing can be told about concurrency."""

import time

BEAT_S = 0.1


def tick(number):
    return "tick" if number % 4 else "tock"


if __name__ == "__main__":
    start = time.perf_counter()
    sounds = []
    for number in range(1, 21):
        time.sleep(max(0, start + number * BEAT_S - time.perf_counter()))
        sounds.append(tick(number))
    print(" ".join(sounds[:8]))
    print(f"work: {time.perf_counter() - start:.3f}")
