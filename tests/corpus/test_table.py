"""The table and the programs beside it agree: nothing is missing, misspelt or contradictory."""

import tomllib
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parent
ROOT = CORPUS.parents[1]
TABLE = tomllib.loads((CORPUS / "table.toml").read_text())
PROGRAMS = TABLE["program"]
HELPERS = {"latency_server.py", "slow_server.py", "originals.py", "swapped.py"}

REMEDIES = set(
    "threading multiprocessing asyncio hybrid nothing more-threads fewer-threads more-processes batch shared-memory "
    "fix-blocking-call fix-lock fix-busy-wait fix-polling fix-gc fix-imports cannot-tell".split()
)
KINDS = set(
    "cpu-gil cpu-nogil runnable gil-wait gil-held lock process-lock network disk pipe child sleep loop-idle gc".split()
)


def programs_in(*folders):
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).glob("*.py")
        if path.name not in HELPERS and not path.name.startswith("test_")
    }


def test_every_program_has_its_entry():
    # Other examples may join these folders; a program of the corpus must not lack its answer.
    assert programs_in("tests/corpus") <= set(PROGRAMS) <= programs_in("tests/corpus", "examples")


@pytest.mark.parametrize("path", PROGRAMS)
def test_the_answer_is_in_the_vocabulary(path):
    answer = PROGRAMS[path]
    accepted, harmful = set(answer["accepted"]), set(answer["harmful"])
    assert 1 <= len(answer["accepted"]) <= 3
    assert accepted | harmful <= REMEDIES
    assert not accepted & harmful
    assert answer["kinds"]
    assert set(answer["kinds"]) <= KINDS
    assert answer["why"].endswith(".")


@pytest.mark.parametrize("path", sorted(programs_in("tests/corpus") | {p for p in PROGRAMS if p.startswith("ex")}))
def test_the_docstring_ends_with_the_answer(path):
    docstring = (ROOT / path).read_text().split('"""')[1]
    assert docstring.rstrip().splitlines()[-1].startswith("Answer: ")


def test_every_rewrite_has_its_original():
    rewrites = TABLE["rewrite"]
    assert {rewrite["after"] for rewrite in rewrites} == programs_in("tests/corpus/rewrites")
    for rewrite in rewrites:
        assert rewrite["before"] in PROGRAMS
        assert rewrite["model"] in {"threads", "processes", "event-loop"}
        assert rewrite["workers"] > 1
