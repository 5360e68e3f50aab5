"""Programs with a pool of threads, watched with tercet's in place of the standard library's: the remedy is the same."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benches"))

from _judge import OK, faults, judge, watch_fairly

THROUGH = ("tests/corpus/swapped.py",)
ALWAYS = [
    "examples/downloads_threads.py",
    "examples/futures_swap.py",
    "tests/corpus/narrow_pool.py",
    "tests/corpus/two_permits.py",
]
OTHERS = [
    "tests/corpus/compress_on_all_cores.py",
    "tests/corpus/old_driver.py",
    "tests/corpus/one_clerk.py",
    "tests/corpus/one_session.py",
    "tests/corpus/regex_threads.py",
    "tests/corpus/small_digests.py",
]


@pytest.mark.parametrize("program", [*ALWAYS, *(pytest.param(other, marks=pytest.mark.slow) for other in OTHERS)])
def test_the_remedy_is_that_of_the_original(program):
    answer = watch_fairly(program, THROUGH)
    assert answer.exit_code == 0, answer.complaints
    assert not faults(answer.report)
    assert judge(program, answer.remedy) == OK, answer.report["verdict"]
