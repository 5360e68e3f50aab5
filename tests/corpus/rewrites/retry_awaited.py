"""`retry_coroutine.py` with pauses that are awaited."""

import asyncio

import originals  # noqa: F401
from retry_coroutine import main

if __name__ == "__main__":
    main(asyncio.sleep)
