"""Runs a program with tercet's thread pool in place of the standard library's: `python swapped.py PROGRAM`."""

import concurrent.futures
import os
import runpy
import sys

import tercet

if __name__ == "__main__":
    concurrent.futures.ThreadPoolExecutor = tercet.ThreadPoolExecutor
    program = sys.argv[1]
    sys.path[0] = os.path.dirname(os.path.abspath(program))
    runpy.run_path(program, run_name="__main__")
