"""The test suites of aiohttp, uvicorn, websockets, anyio, httpx, redis and asyncpg, on the standard loop and on ours.

    ./x conformance ecosystem                     all of them; some are long
    ./x conformance ecosystem httpx redis         these alone
    ./x conformance ecosystem --loop uvloop       another loop: uvloop or rloop
    ./x conformance ecosystem httpx -k timeout    the tests that pytest's `-k` takes

`ecosystem.toml` names the releases. Their source packages, which have the tests, go into `.cache/ecosystem`, and each
suite has an environment of its own there. The servers they ask for run for as long as the tests do (`_servers.py`).

Every test runs on the standard loop. What passes there runs on the loop to be judged, and what fails there runs on both
once more: a test fails if it fails again on ours and passes again on the standard loop; one that does not is counted as
unsteady. Exit code 0 means that none fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

from _run import print_table, run_alone
from _servers import SERVICES
from loop import TIME_OUT, WORST_FIRST, note_the_end

import pythons
from house.environment import lock
from house.message import Refusal, say
from house.place import CACHE, ROOT
from house.process import child_environment

HERE = Path(__file__).resolve().parent
STORE = CACHE / "ecosystem"
STANDARD = "asyncio"
RUNNER = ["pytest>=8.2", "pytest-timeout>=2.3"]
LIMIT_S = 60
COLUMNS = ("passed", "failed", "unsteady", "skipped")


@dataclass(frozen=True)
class Suite:
    """One suite of the manifest."""

    name: str
    version: str
    tests: list[str]
    needs: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    debian: str = ""
    blockers: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return STORE / f"{self.name}-{self.version}"

    @property
    def folder(self) -> Path:
        return STORE / f"{self.name}-{'{}.{}'.format(*sys.version_info)}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def ready(self, extra: list[str]) -> None:
        """Make sure that the tests are there, and an environment in which they can run."""
        if not self.source.is_dir():
            fetch(self)
        wanted = [f"{self.name}=={self.version}", *RUNNER, *self.needs, *extra]
        stamp = self.folder / "wanted.json"
        if stamp.exists() and json.loads(stamp.read_text()) == wanted:
            return
        say(f"setting up {self.name} {self.version} ...")
        must([sys.executable, "-m", "venv", "--clear", self.folder])
        must([self.python, "-m", "pip", "install", "-q", *wanted])
        # The package as it was built for the environment that runs this.
        Path(site_of(self.python), "tercet.pth").write_text(f"{ROOT / 'python'}\n")
        stamp.write_text(json.dumps(wanted))


def suites() -> dict[str, Suite]:
    """Read the manifest."""
    table = tomllib.loads((HERE / "ecosystem.toml").read_text())
    return {name: Suite(name, **facts) for name, facts in table["suite"].items()}


def fetch(suite: Suite) -> None:
    """Bring a source package into the store, without the package itself, which would hide the installed one."""
    say(f"fetching the tests of {suite.name} {suite.version} ...")
    STORE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STORE) as draft:
        (from_debian if suite.debian else from_pypi)(suite, Path(draft))
        with tarfile.open(next(Path(draft).glob("*.tar.gz"))) as archive:
            archive.extractall(draft, filter="data")
        root = Path(draft, f"{suite.name}-{suite.version}")
        if not root.is_dir():
            raise Refusal(f"the sources that were fetched are not those of {suite.name} {suite.version}", "pin another")
        for name in suite.remove:
            shutil.rmtree(root / name)
        root.rename(suite.source)


def from_pypi(suite: Suite, folder: Path) -> None:
    """Download the source package of a release."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", suite.name, "--dest", folder]
    must([*pip, f"{suite.name}=={suite.version}"])


def from_debian(suite: Suite, folder: Path) -> None:
    """Download what Debian keeps of the project's own sources; apt checks the signatures."""
    if not shutil.which("apt-get"):
        raise Refusal(f"the tests of {suite.name} come from Debian, and there is no `apt-get`", "leave this suite out")
    release, _, package = suite.debian.partition("/")
    apt = pythons.private_apt(folder / "apt", pythons.source(pythons.mirror(), release, kind="deb-src"))
    apt("update")
    apt("source", "--download-only", "--tar-only", package, cwd=folder)


def must(words: list[str | Path]) -> None:
    """Run a program, and refuse with what it said when it fails."""
    done = subprocess.run(words, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(f"`{Path(words[0]).name}` failed:\n{(done.stderr or done.stdout)[-2000:]}", "see above")


def site_of(python: Path) -> str:
    """Return the folder of an environment's packages."""
    variables = {"base": str(python.parents[1]), "platbase": str(python.parents[1])}
    return sysconfig.get_path("purelib", vars=variables)


@dataclass
class Trial:
    """One suite, with its servers running."""

    suite: Suite
    ports: dict[str, int]
    filter: str | None

    def run(self, loop: str, only: set[str] | None = None) -> dict[str, str]:
        """Run the tests with a loop in place, in as many processes as it takes, and read what became of them."""
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder, "results.jsonl")
            results.touch()
            while True:
                begun = results.read_text().count("\n")
                code, said = self.run_once(loop, only, folder)
                # 0: all passed, 1: some failed, 5: none were left.
                if code in (0, 1, 5) and (TIME_OUT not in said or is_through(results)):
                    return read(results)
                if not note_the_end(results, begun, code, said):
                    raise Refusal(f"{self.suite.name} did not begin on `{loop}`:\n{said[-3000:]}", "see above")

    def run_once(self, loop: str, only: set[str] | None, folder: str) -> tuple[int, str]:
        place = Path(folder, "source")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.suite.source, place)
        env = child_environment(
            PYTHONPATH=str(HERE / "_site"),
            PYTHONFAULTHANDLER="1",
            TERCET_CONFORMANCE_LOOP=loop,
            TERCET_CONFORMANCE_RESULTS=str(Path(folder, "results.jsonl")),
            **self.addresses(),
        )
        if only is not None:
            Path(folder, "only.txt").write_text("\n".join(only))
            env["TERCET_CONFORMANCE_ONLY"] = str(Path(folder, "only.txt"))
        options = [option.format(**self.ports) for option in self.suite.options]
        options += [f"--deselect={test}" for test in self.suite.blockers]
        if self.filter:
            options += ["-k", self.filter]
        pytest = [self.suite.python, "-m", "pytest", "-q", "-p", "noted_by_pytest", "--timeout", LIMIT_S, *options]
        words = ["/bin/sh", "-c", 'cd source && exec "$@"', "sh", *pytest, *self.suite.tests]
        return run_alone([str(word) for word in words], env, folder)

    def addresses(self) -> dict[str, str]:
        """Return how the tests learn where PostgreSQL is."""
        if "postgresql" not in self.ports:
            return {}
        port = str(self.ports["postgresql"])
        return {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": "postgres"}


def is_through(results: Path) -> bool:
    """Say whether the last test has finished: what took too long was the end of the interpreter."""
    last = results.read_text().splitlines()[-1:]
    return any(json.loads(line)["became"] == "finished" for line in last)


def read(results: Path) -> dict[str, str]:
    """Read what the plugin wrote; of several words on one test the worst counts."""
    words: dict[str, set[str]] = {}
    for line in map(json.loads, results.read_text().splitlines()):
        words.setdefault(line["test"], set()).add(line["became"])
    return {name: next((word for word in WORST_FIRST if word in said), "skipped") for name, said in words.items()}


def is_good(became: str | None) -> bool:
    """Say whether a test did not fail."""
    return became in ("passed", "skipped")


@dataclass
class Verdict:
    """What is to be said of one suite."""

    standard: dict[str, str]
    judged: dict[str, str]
    failed: set[str]
    unsteady: set[str]

    def figures(self) -> list[dict[str, int]]:
        """Return the figures of both loops."""
        fair = [name for name, became in self.standard.items() if became == "passed"]
        judged = Counter(self.judged.get(name, "failed") for name in fair)
        return [
            {**count(self.standard), "unsteady": 0},
            {
                "passed": judged["passed"],
                "failed": len(self.failed),
                "unsteady": len(self.unsteady),
                "skipped": judged["skipped"],
            },
        ]


def count(became: dict[str, str]) -> dict[str, int]:
    words = Counter(became.values())
    return {
        "passed": words["passed"],
        "failed": len(became) - words["passed"] - words["skipped"],
        "skipped": words["skipped"],
    }


def judge(trial: Trial, loop: str) -> Verdict:
    """Run a suite on both loops, and what differs once more."""
    name = trial.suite.name
    say(f"{name}: the standard loop ...")
    standard = trial.run(STANDARD)
    fair = {test for test, became in standard.items() if became == "passed"}
    say(f"{name}: {loop}, {len(fair)} tests ...")
    judged = trial.run(loop, fair)
    wrong = {test for test in fair if not is_good(judged.get(test))}
    if not wrong:
        return Verdict(standard, judged, set(), set())
    say(f"{name}: {len(wrong)} tests once more on both ...")
    again, ours = trial.run(STANDARD, wrong), trial.run(loop, wrong)
    failed = {test for test in wrong if is_good(again.get(test)) and not is_good(ours.get(test))}
    return Verdict(standard, judged, failed, wrong - failed)


@contextlib.contextmanager
def services(names: list[str]) -> Iterator[dict[str, int]]:
    """Run servers, and give their ports."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(SERVICES[name]()) for name in names}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, print the table, and say what fails."""
    known = suites()
    parser = argparse.ArgumentParser(prog="./x conformance ecosystem", description=__doc__.partition("\n")[0])
    parser.add_argument("--loop", choices=("tercet", "uvloop", "rloop", STANDARD), default="tercet")
    parser.add_argument("-k", dest="filter", help="only the tests that pytest's `-k` takes")
    parser.add_argument("names", nargs="*", metavar="SUITE", help=f"of {', '.join(known)}; all by default")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no suite named `{unknown[0]}`")
    # Whatever ends this, the servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lines: list[tuple[str, ...]] = [("suite", "loop", *COLUMNS)]
    faults = []
    for suite in (known[name] for name in options.names or known):
        try:
            with lock():
                suite.ready([options.loop] if options.loop in ("uvloop", "rloop") else [])
            with services(suite.services) as ports:
                verdict = judge(Trial(suite, ports, options.filter), options.loop)
        except Refusal as refusal:
            print(refusal, file=sys.stderr)
            faults.append(f"{suite.name}: could not be run")
            continue
        for loop, figures in zip(("standard", options.loop), verdict.figures(), strict=True):
            lines.append((f"{suite.name} {suite.version}", loop, *(str(figures[column]) for column in COLUMNS)))
        faults += [f"{suite.name}: {test} fails on {options.loop}" for test in sorted(verdict.failed)]
        for test in sorted(verdict.unsteady):
            print(f"{suite.name}: {test} is unsteady")
    print_table(lines)
    for fault in faults:
        print(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
