"""Each program with a known bottleneck, watched: the remedy helps, and never harms.

One program for each remedy that no example has is in every run; the others are slow together.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benches"))

from _judge import HARMFUL, MISS, OK, PROGRAMS, faults, judge, lacks, watch_fairly

ALWAYS = {
    "tests/corpus/await_in_turn.py": "asyncio",
    "tests/corpus/fetch_and_score.py": "hybrid",
    "tests/corpus/narrow_pool.py": "more-threads",
    "tests/corpus/sixty_hashers.py": "fewer-threads",
    "tests/corpus/lonely_worker.py": "more-processes",
    "tests/corpus/tiny_tasks.py": "batch",
    "tests/corpus/big_frames.py": "shared-memory",
    "tests/corpus/spin_for_result.py": "fix-busy-wait",
    "tests/corpus/eager_reader.py": "fix-polling",
    "tests/corpus/tidy_minded.py": "fix-gc",
    "tests/corpus/many_modules.py": "fix-imports",
    "tests/corpus/metronome.py": "cannot-tell",
}
OTHERS = [program for program in PROGRAMS if program.startswith("tests/") and program not in ALWAYS]


def watched(program):
    """Watch a program and return its answer; skip the test where a package is missing.

    The first try counts. There is one more only when the run's own queue delay shows an overloaded machine: the
    program's threads were ready to run, and the processors that it left free went to others.
    """
    if lacking := lacks(program):
        pytest.skip(f"{program} needs {', '.join(lacking)}")
    answer = watch_fairly(program)
    assert answer.exit_code == 0, answer.complaints
    assert not faults(answer.report)
    return answer


@pytest.mark.parametrize("program", ALWAYS)
def test_the_remedy_helps(program):
    answer = watched(program)
    assert judge(program, answer.remedy) == OK, answer.report["verdict"]


@pytest.mark.slow
@pytest.mark.parametrize("program", OTHERS)
def test_the_remedy_does_not_harm(program):
    answer = watched(program)
    assert judge(program, answer.remedy) != HARMFUL, answer.report["verdict"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nine_of_ten_remedies_help():
    # Answers found by the tests above, and by those of the examples, are not asked for again.
    remedies = {program: watch_fairly(program).remedy for program in PROGRAMS if not lacks(program)}
    judged = Counter(judge(program, remedy) for program, remedy in remedies.items())
    wrong = [f"{program}: {remedy}" for program, remedy in remedies.items() if judge(program, remedy) != OK]
    assert judged[HARMFUL] == 0, wrong
    assert judged[OK] >= 0.9 * len(remedies), wrong


def test_the_slice_has_a_program_for_each_remedy():
    assert all(PROGRAMS[program]["accepted"][0] == remedy for program, remedy in ALWAYS.items())
    assert len(ALWAYS) == len(set(ALWAYS.values()))


def test_a_remedy_is_accepted_a_miss_or_harmful():
    program = "tests/corpus/big_frames.py"
    assert [judge(program, remedy) for remedy in ("threading", "nothing", "asyncio")] == [OK, MISS, HARMFUL]


def test_figures_that_cannot_be_true_are_found():
    gain = {"speedup": 3.0, "bound": 2.0, "workers": 0}
    report = {
        "schema": 1,
        "samples": 100,
        "wall_s": 2.0,
        "shares": {"network": 0.7, "sleep": 0.4},
        "threads": [],
        "lines": [{"share": 0.6}, {"share": 0.6}],
        "phases": {"imports_s": 0.1, "body_s": 1.0},
        "verdict": {**gain, "confidence": 1.5, "sentence": ""},
        "predictions": [gain],
    }
    assert len(faults(report)) == 9
