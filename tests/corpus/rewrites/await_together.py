"""`await_in_turn.py` with all twenty questions gathered."""

import asyncio

import originals  # noqa: F401
from await_in_turn import ask, main


async def ask_all(address):
    return await asyncio.gather(*(ask(address, f"question {number}") for number in range(20)))


if __name__ == "__main__":
    main(ask_all)
