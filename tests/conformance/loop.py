"""CPython's own tests of `asyncio`, with tercet's loop in place wherever they let a loop be chosen.

    ./x conformance loop                                  this interpreter
    ./x conformance loop --python 3.12 --python 3.13      others, each in an environment of its own
    ./x conformance loop --loop uvloop                    another loop: uvloop, rloop, or asyncio's own by another name
    ./x conformance loop test_streams sendfile            the tests whose name contains one of these

The tests are run where they are installed; an interpreter that came without them gets them from its distribution
(`_suite.py`). Each run begins with the standard loop, which says which tests make a loop at all and pass; these are
then run again on the loop to be judged. A test fails if it does not pass there. One that hangs or crashes ends its
process; it is counted, and the others go on in another process.

A test that is expected to fail stands in `loop.toml`, with the reason in a sentence. Exit code 0 means that everything
else passed, and that nothing on the list did. uvloop and rloop are rivals, not dependencies:
`.venv/bin/pip install uvloop rloop` brings them in.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

from _run import BAD_USAGE, ask, find_tests, interpreters, print_table, run_alone

from house.message import Refusal, say
from house.process import child_environment

HERE = Path(__file__).resolve().parent

SUITE = "test_asyncio"
STANDARD = "asyncio"
LOOPS = ("tercet", "uvloop", "rloop", STANDARD)
LIMIT_S = 60.0
"""For one test; the slowest one takes ten seconds on a machine that does nothing else."""

COLUMNS = ("use it", "passed", "failed", "hung", "crashed", "skipped", "listed")
WORST_FIRST = ("crashed", "hung", "failed", "passed", "skipped")
TIME_OUT = "Timeout ("


@dataclass
class Run:
    """What became of each test with one loop in place, and which of them made a loop."""

    became: dict[str, str] = field(default_factory=dict)
    use_it: set[str] = field(default_factory=set)

    def count(self, names: set[str], listed: dict[str, str]) -> dict[str, int]:
        """Return the figures of one line of the table, over the tests named."""
        counted = Counter(
            "listed" if name in listed and self.is_wrong(name) else self.became.get(name, "failed") for name in names
        )
        return {column: counted[column] for column in COLUMNS} | {"use it": len(names)}

    def is_wrong(self, name: str) -> bool:
        """Say whether a test did not pass."""
        return self.became.get(name, "failed") not in ("passed", "skipped")

    def fair(self) -> set[str]:
        """Return the tests that made a loop and passed: those by which another loop is judged."""
        return {name for name in self.use_it if self.became[name] == "passed"}

    def faults(self, names: set[str], listed: dict[str, str], may_pass: bool) -> Iterator[str]:
        """Yield, as sentences, what is not as it should be."""
        for name in sorted(names):
            if self.is_wrong(name) and name not in listed:
                yield f"{name} {self.became.get(name, 'was not run')}"
            elif name in listed and not self.is_wrong(name) and not may_pass:
                yield f"{name} passes, but is listed as an exception"
        if not names:
            yield "no test of those chosen makes a loop and passes on the standard one"


@dataclass(frozen=True)
class Place:
    """An interpreter, where its tests are, and what of them is to be run."""

    version: str
    python: Path
    tests: Path | None
    limit: float
    patterns: tuple[str, ...]
    is_verbose: bool

    def variables(self, loop: str) -> dict[str, str]:
        """Return the environment that has `_site/sitecustomize.py` do its work, in every interpreter below."""
        return child_environment(
            PYTHONPATH=f"{HERE / '_site'}",
            TERCET_CONFORMANCE_LOOP=loop,
            TERCET_CONFORMANCE_TESTS=str(self.tests or ""),
        )

    def run(self, loop: str, only: set[str] | None = None) -> Run:
        """Run the tests, in as many processes as it takes, and read what became of them."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "results.jsonl")
            file.touch()
            words = [
                str(self.python),
                str(HERE / "_loop_runner.py"),
                "--results",
                str(file),
                "--limit",
                str(self.limit),
            ]
            if only is not None:
                names = Path(folder, "only.txt")
                names.write_text("\n".join(only))
                words += ["--only", str(names)]
            while True:
                begun = file.read_text().count("\n")
                code, said = run_alone([*words, *self.patterns], self.variables(loop), folder)
                if self.is_verbose:
                    print(said, file=sys.stderr)
                if code == 0:
                    return read(file)
                if not note_the_end(file, begun, code, said):
                    raise Refusal(f"the tests did not begin on `{loop}`:\n{said[-2000:]}", "see what they say above")


def note_the_end(file: Path, begun: int, code: int, said: str) -> bool:
    """Write down what ended a process: the test that was begun last. Say whether there was one."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    if len(lines) == begun:
        return False
    last = lines[-1]
    if last["became"] == "started":
        became = "hung" if TIME_OUT in said else "crashed"
        say(f"{last['test']} {became}{'' if became == 'hung' else f': its process ended with code {code}'}")
        with file.open("a") as notes:
            notes.write(json.dumps({"test": last["test"], "became": became, "loops": last["loops"]}) + "\n")
    return True


def read(file: Path) -> Run:
    """Read what the runner wrote; of several words on one test the worst counts."""
    words: dict[str, set[str]] = {}
    run = Run()
    for line in map(json.loads, file.read_text().splitlines()):
        words.setdefault(line["test"], set()).add(line["became"])
        if line["loops"]:
            run.use_it.add(line["test"])
    for name, said in words.items():
        run.became[name] = next((word for word in WORST_FIRST if word in said), "skipped")
    return run


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, print the table, and say what is not as it should be."""
    options = parse(arguments)
    try:
        return judge(options)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./x conformance loop", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", metavar="VERSION", help="another interpreter; may be given again")
    parser.add_argument("--loop", action="append", choices=LOOPS, help="the loop to judge; may be given again")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for one test")
    parser.add_argument("--no-fetch", action="store_true", help="leave out interpreters that came without the tests")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the words of the tests, whatever came of it")
    parser.add_argument("patterns", nargs="*", metavar="TEST", help="a part of the name of a test")
    return parser.parse_args(arguments)


def judge(options: argparse.Namespace) -> int:
    """Run the standard loop and those asked for on every interpreter."""
    faults: list[str] = []
    lines = [("Python", "loop", *COLUMNS)]
    for version, python in interpreters(options.python):
        tests = find_tests(SUITE, version, python, may_fetch=not options.no_fetch)
        place = Place(version, python, tests, options.limit, tuple(options.patterns), options.verbose)
        full_version = ask(python, "import platform; print(platform.python_version())")
        loops = options.loop or ["tercet"]
        for loop in loops:
            check(place, loop)
        say(f"Python {full_version}: the standard loop ...")
        standard = place.run(STANDARD)
        lines.append(line(full_version, "standard", standard.count(standard.use_it, {})))
        for loop in loops:
            say(f"Python {full_version}: {loop} ...")
            fair, listed = standard.fair(), {} if loop == STANDARD else exceptions(version)
            run = place.run(loop, fair)
            lines.append(line(full_version, loop, run.count(fair, listed)))
            found = run.faults(fair, listed, may_pass=loop != "tercet")
            faults += [f"Python {full_version}, {loop}: {fault}" for fault in found]
    print_table(lines)
    for fault in faults:
        print(fault)
    return int(bool(faults))


def line(version: str, loop: str, counted: dict[str, int]) -> tuple[str, ...]:
    """Return one line of the table."""
    return (version, loop, *(str(counted[column]) for column in COLUMNS))


def check(place: Place, loop: str) -> None:
    """Make sure that a loop is there before an hour is spent."""
    with tempfile.TemporaryDirectory() as folder:
        code, said = run_alone([str(place.python), "-c", CHECK], place.variables(loop), folder)
    if code:
        hint = "build it" if loop == "tercet" else f"install it: `pip install {loop}` in that environment"
        # What `sitecustomize` fails with is printed, and does not end the interpreter.
        why = next((line for line in said.splitlines() if "Error: " in line), said.strip())
        raise Refusal(f"no loop `{loop}` in Python {place.version}: {why}", hint, BAD_USAGE)


CHECK = "import asyncio, placed_loop; asyncio.new_event_loop().close(); assert placed_loop.made == 1"


def exceptions(version: str) -> dict[str, str]:
    """Return the tests that are expected to fail on a version, and why."""
    table = tomllib.loads((HERE / "loop.toml").read_text())
    return {
        entry["test"]: entry["why"] for entry in table.get("exception", ()) if version in entry.get("on", (version,))
    }


if __name__ == "__main__":
    sys.exit(main())
