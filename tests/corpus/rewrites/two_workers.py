"""`lonely_worker.py` with two processes in the pool."""

import originals  # noqa: F401
from lonely_worker import main

if __name__ == "__main__":
    main(workers=2)
