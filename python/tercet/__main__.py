"""The command line: ``tercet`` and ``python -m tercet``.

Everything happens in Rust: arguments, Ctrl-C, closed pipes and exit codes. This module only hands over the
arguments and the interpreter that runs them, so that a watched program runs under the same one.
"""

from __future__ import annotations

import sys

from tercet import _tercet


def main() -> int:
    """Run the command line with this process's arguments.

    Returns
    -------
    int
        The exit code, as ``tercet help`` documents it.
    """
    return _tercet.main(["tercet", *sys.argv[1:]], sys.executable)


if __name__ == "__main__":
    sys.exit(main())
