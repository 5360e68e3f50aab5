"""Puts the folders of the original programs on the path: a rewrite runs their work, not a copy of it."""

import sys
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1]
sys.path += [str(CORPUS), str(CORPUS.parents[1] / "examples")]
