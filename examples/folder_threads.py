"""The sizes of folders in `tercet.ThreadPoolExecutor`: a task for each folder, which waits for those inside it.

In the standard library's pool two threads would wait for tasks that nobody is left to run. Here a task that waits runs
what it waits for, so the number of threads does not matter.
"""

import tempfile
from pathlib import Path

from tercet import ThreadPoolExecutor

DEPTH, BREADTH, FILE_BYTES = 4, 3, 100


def plant(folder, depth):
    """Make a tree of folders, each with one file."""
    folder.mkdir(exist_ok=True)
    (folder / "leaf").write_bytes(b"x" * FILE_BYTES)
    if depth:
        for number in range(BREADTH):
            plant(folder / str(number), depth - 1)


def measure(executor, folder):
    """Return how many folders there are, and how many bytes are in them."""
    entries = list(folder.iterdir())
    inner = [executor.submit(measure, executor, entry) for entry in entries if entry.is_dir()]
    own = sum(entry.stat().st_size for entry in entries if entry.is_file())
    parts = [future.result() for future in inner]
    return 1 + sum(folders for folders, _ in parts), own + sum(size for _, size in parts)


def main():
    with tempfile.TemporaryDirectory() as place:
        plant(Path(place), DEPTH)
        with ThreadPoolExecutor(2) as executor:
            folders, size = executor.submit(measure, executor, Path(place)).result(timeout=60)
    print(f"{folders} folders, {size} bytes, in two threads")


if __name__ == "__main__":
    main()
