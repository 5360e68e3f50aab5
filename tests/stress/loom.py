"""Every order in which the threads of `tercet-sched`, or of another crate, can meet, tried by loom.

It builds the crate with loom's locks and atomics in a target directory of its own, so that the ordinary build stays.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    """Run the models whose names contain the words given, and return cargo's exit code. A crate may come first."""
    crate = arguments.pop(0) if arguments[:1] and arguments[0].startswith("tercet-") else "tercet-sched"
    flags = f"{os.environ.get('RUSTFLAGS', '')} --cfg loom".strip()
    env = os.environ | {"RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(ROOT / "target" / "loom")}
    words = ["cargo", "test", "--locked", "--package", crate, "--test", "loom", "--release", "--", *arguments]
    return subprocess.run(words, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
