"""CPython's own tests of `concurrent.futures`, with tercet's futures and thread pool in place.

    ./x conformance threads                                  this interpreter
    ./x conformance threads --python 3.12 --python 3.13      others, each in an environment of its own
    ./x conformance threads --repeat 200 cancel_futures      the tests whose name contains it, 200 times

The tests are run where they are installed; an interpreter that came without them gets them from its distribution
(`_suite.py`). There are two rows: one replaces the classes, `Future` and `ThreadPoolExecutor`, and leaves the
standard library's `wait` and `as_completed` to cope with them; the other replaces these two as well. What processes
and interpreters are tested with is left out.

A test that is expected to fail stands in `threads.toml`, with the reason in a sentence. Exit code 0 means that
everything else passed, and that nothing on the list did.
"""

from __future__ import annotations

import sys

from _rows import Row, Table

_CLASSES = Row(
    {
        "concurrent.futures._base.Future": "tercet.Future",
        "concurrent.futures.thread.ThreadPoolExecutor": "tercet.ThreadPoolExecutor",
    }
)
_WAITING = {
    "concurrent.futures._base.wait": "tercet.wait",
    "concurrent.futures._base.as_completed": "tercet.as_completed",
}

TABLE = Table("threads", {"classes": _CLASSES, "and waiting": _CLASSES | (_CLASSES.replaces | _WAITING)})

if __name__ == "__main__":
    sys.exit(TABLE.main())
