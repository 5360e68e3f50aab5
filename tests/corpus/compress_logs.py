"""Yesterday's logs compressed with zlib, one after another.
Answer: computing without the GIL; threads, as many as cores."""

import time
import zlib


def logs(count=24):
    lines = (b"%06d host%d GET /item/%d 200\n" % (i, i % 7, i * 7919 % 10007) for i in range(100_000))
    text = b"".join(lines)
    return [text] * count


def squeeze(text):
    return len(zlib.compress(text, 6))


def main():
    texts = logs()
    start = time.perf_counter()
    sizes = [squeeze(text) for text in texts]
    print(f"{sum(map(len, texts)) >> 20} MiB became {sum(sizes) >> 20} MiB")
    print(f"work: {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main()
