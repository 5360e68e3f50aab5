"""Each example of the tutorial, watched: its own claim is what `tercet why` must find."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benches"))

from _judge import OK, PROGRAMS, faults, judge, lacks, watch_fairly

EXAMPLES = [program for program in PROGRAMS if program.startswith("examples/")]


@pytest.mark.parametrize("program", EXAMPLES)
def test_the_remedy_is_the_one_the_tutorial_claims(program):
    if lacking := lacks(program):
        pytest.skip(f"{program} needs {', '.join(lacking)}")
    # The first try counts. There is one more only when the run's own queue delay shows an overloaded machine: the
    # program's threads were ready to run, and the processors that it left free went to others.
    watched = watch_fairly(program)
    assert watched.exit_code == 0, watched.complaints
    assert watched.work_s > 0
    assert not faults(watched.report)
    assert judge(program, watched.remedy) == OK, watched.report["verdict"]


def test_there_are_eight():
    assert len(EXAMPLES) == 8
