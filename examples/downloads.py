"""Ten downloads, one after another; the server answers each after 0.2 s.

The processor has nothing to do: each download only waits for the one before it to end.

Answer: waiting for the network; threads, one for each download: close to ten times faster.
"""

import time
from urllib.request import build_opener, install_opener, urlopen

from latency_server import LatencyServer

install_opener(build_opener())  # once: `urlopen` builds it at the first call, in each thread that is first


def download(url):
    with urlopen(url) as answer:
        return answer.read()


def main():
    with LatencyServer(delay_s=0.2) as server:
        urls = [f"{server}/{i}" for i in range(10)]
        start = time.perf_counter()
        pages = [download(url) for url in urls]
        took = time.perf_counter() - start
    print(f"{len(pages)} downloads, one after another: {took / len(pages):.2f} s each")
    print(f"work: {took:.3f}")


if __name__ == "__main__":
    main()
