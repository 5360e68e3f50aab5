"""A picture of a Julia set, by numpy in `tercet.ProcessPoolExecutor`: each task draws a band of it, in place.

The picture is a `tercet.shared_array`. It goes to the workers without a copy, and what they write into it is there: no
result has to come back.
"""

import time

import numpy

from tercet import ProcessPoolExecutor, shared_array

SIDE, BANDS, STEPS = 640, 16, 120
CONSTANT = -0.8 + 0.156j


def draw(picture, band):
    """Draw one band: how many steps each point takes to leave."""
    rows = slice(band * SIDE // BANDS, (band + 1) * SIDE // BANDS)
    y, x = numpy.linspace(-1.2, 1.2, SIDE)[rows, None], numpy.linspace(-1.6, 1.6, SIDE)
    points = x + 1j * y
    steps = numpy.zeros(points.shape, picture.dtype)
    for _ in range(STEPS):
        near = points.real**2 + points.imag**2 < 4
        steps += near
        points = numpy.where(near, points * points + CONSTANT, points)
    picture[rows] = steps


def draw_all(picture, executor):
    """Draw every band in a pool."""
    list(executor.map(draw, [picture] * BANDS, range(BANDS)))


def main():
    picture = shared_array((SIDE, SIDE), "uint8")
    start = time.perf_counter()
    with ProcessPoolExecutor() as executor:
        draw_all(picture, executor)
    took = time.perf_counter() - start
    alone = numpy.zeros((SIDE, SIDE), "uint8")
    for band in range(BANDS):
        draw(alone, band)
    print(f"the same picture as in one process: {(picture == alone).all()}")
    print(f"{picture.size} points in {BANDS} bands, in {took:.2f} s")


if __name__ == "__main__":
    main()
