"""Keys stretched by OpenSSL, which lets the GIL go."""

from __future__ import annotations

import hashlib

BEST = {"threads"}


def items() -> list[bytes]:
    return [b"word %d" % n for n in range(24)]


def task(word: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", word, b"salt", 30_000).hex()


def check(results: list[str]) -> bool:
    return len(set(results)) == 24 and results[3] == task(b"word 3")
