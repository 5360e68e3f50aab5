"""`one_session.py` without the lock around the wait."""

import contextlib

import originals  # noqa: F401
from one_session import main

if __name__ == "__main__":
    main(contextlib.nullcontext())
