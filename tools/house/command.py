"""The table of commands, and the way errors leave."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from house.message import BAD_USAGE, Refusal
from house.place import ROOT

INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One command: its line of help, and what it does with its arguments."""

    usage: str
    summary: str
    do: Callable[[list[str]], int]


def run(arguments: list[str]) -> int:
    """Become tercet's own command line: same terminal, same signals, same exit code."""
    from house.environment import Environment

    environment = Environment.default().ready()
    script = environment.folder / "bin" / "tercet"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(environment.python, [str(environment.python), str(script), *arguments])


def test(arguments: list[str]) -> int:
    from house import trial

    return trial.test(arguments)


def lint(arguments: list[str]) -> int:
    from house import check

    return check.lint(arguments)


def docs(arguments: list[str]) -> int:
    from house import page

    return page.docs(arguments)


def pythons(arguments: list[str]) -> int:
    import pythons

    return pythons.main(arguments)


def scripts(folder: str) -> Callable[[list[str]], int]:
    """Return the command for one folder of scripts."""

    def command(arguments: list[str]) -> int:
        from house import script

        return script.run(ROOT / folder, arguments)

    return command


def show_help(_arguments: list[str]) -> int:
    """Print the table."""
    print("usage: ./x COMMAND [ARGUMENTS]\n")
    for name, command in COMMANDS.items():
        call = f"{name} {command.usage}"
        print(f"  {call:<27} {command.summary}".rstrip())
    return 0


COMMANDS = {
    "run": Command("ARGS...", "the command line, built from this checkout", run),
    "test": Command("[rust|python] [ARGS]", "the tests of both languages", test),
    "lint": Command("[CHECK...]", "formatting, lints and types of both languages", lint),
    "bench": Command("[NAME] [ARGS]", "a benchmark of benches/, or the list of them", scripts("benches")),
    "conformance": Command("[NAME] [ARGS]", "CPython's own test suites over tercet", scripts("tests/conformance")),
    "stress": Command("[NAME] [ARGS]", "long runs: crashes, leaks, a million tasks", scripts("tests/stress")),
    "docs": Command("", "the docstring examples, then the site", docs),
    "pythons": Command("[--list]", "find CPython 3.10 to 3.15, fetch what is missing", pythons),
    "help": Command("", "this list", show_help),
}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    try:
        return find(name).do(rest)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def find(name: str) -> Command:
    """Return the command called `name`."""
    name = {"-h": "help", "--help": "help"}.get(name, name)
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean `./x {near[0]}`?" if near else "`./x help` lists the commands"
    raise Refusal(f"no command named `{name}`", hint, BAD_USAGE)
