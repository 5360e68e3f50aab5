"""A computation in the main thread, with six background threads that sleep most of the time.
Answer: computing with the GIL in the main thread; processes, the sleepers do not matter."""

import threading
import time

beats = 0
over = threading.Event()


def beat(pause_s):
    global beats
    while not over.is_set():
        beats += 1
        time.sleep(pause_s)


def simulate(steps):
    position, speed = 1.0, 0.0
    for _ in range(steps):
        speed -= position * 0.001
        position += speed * 0.001
    return position


if __name__ == "__main__":
    hearts = [threading.Thread(target=beat, args=(0.05,)) for _ in range(6)]
    for heart in hearts:
        heart.start()
    start = time.perf_counter()
    ends = [simulate(1_200_000) for _ in range(20)]
    took = time.perf_counter() - start
    over.set()
    for heart in hearts:
        heart.join()
    print(f"{len(ends)} simulations, {beats} beats")
    print(f"work: {took:.3f}")
