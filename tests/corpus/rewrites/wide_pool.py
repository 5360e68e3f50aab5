"""`narrow_pool.py` with twenty threads instead of two."""

import originals  # noqa: F401
from narrow_pool import main

if __name__ == "__main__":
    main(workers=20)
