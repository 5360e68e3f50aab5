"""`./x test`: the Rust tests, then the Python tests and the examples in docstrings, on one interpreter or several.

The binding crate is left out of the Rust tests: it is a library for an interpreter to load, so its tests would need
one to link to. It is tested from Python.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from house import extension
from house.environment import Environment
from house.message import BAD_USAGE, Refusal, say
from house.place import PACKAGE
from house.process import run

RUST_CRATES = ("--workspace", "--locked")


@dataclass
class Request:
    """What to test, as the command line says it."""

    rust: bool = True
    python: bool = True
    versions: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)


def parse(arguments: list[str]) -> Request:
    """Read `[rust|python] [--python VERSION]... [arguments of the runner]`."""
    request = Request()
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, _, value = word.partition("=")
        if name == "--python":
            request.versions.append(value or _next(words))
        else:
            request.rest.append(word)
    if request.rest[:1] in (["rust"], ["python"]):
        only = request.rest.pop(0)
        request.rust, request.python = only == "rust", only == "python"
    elif request.rest or request.versions:
        request.rust = False
    return request


def _next(words: list[str]) -> str:
    if not words:
        raise Refusal("`--python` needs a version", "for example `./x test --python 3.13`", BAD_USAGE)
    return words.pop(0)


def test(arguments: list[str]) -> int:
    """Run what was asked for, all of it, and say at the end what failed."""
    request = parse(arguments)
    results = {}
    if request.rust:
        results["Rust"] = _test_rust(Environment.default().ready(), request.rest)
    if request.python:
        results |= _test_python(request)
    failed = [name for name, code in results.items() if code]
    say(f"tests failed: {', '.join(failed)}" if failed else f"tests passed: {', '.join(results)}")
    return exit_code(list(results.values()))


def exit_code(codes: list[int]) -> int:
    """Return the code of a single runner as it is, and 1 when any of several failed."""
    return codes[0] if len(codes) == 1 else int(any(codes))


def _test_rust(environment: Environment, rest: list[str]) -> int:
    extension.check_tools()
    env = environment.variables()
    if not shutil.which("cargo-nextest"):
        return run(["cargo", "test", "--no-fail-fast", *RUST_CRATES, *rest], env)
    code = run(["cargo", "nextest", "run", "--no-tests=pass", *RUST_CRATES, *rest], env)
    # nextest leaves the examples in doc comments to cargo.
    return code if rest else run(["cargo", "test", "--doc", "--quiet", *RUST_CRATES], env) or code


def _test_python(request: Request) -> dict[str, int]:
    if not request.versions:
        environment = Environment.default().ready()
        results = {"Python": pytest(environment, request.rest)}
        return results if request.rest else results | {"docstring examples": doctest(environment)}
    return {f"Python {version}": pytest(Environment.of(version).ready(), request.rest) for version in request.versions}


def pytest(environment: Environment, rest: list[str]) -> int:
    """Run pytest with the arguments given, by default over tests/."""
    return run([environment.python, "-m", "pytest", *rest], environment.variables())


def doctest(environment: Environment) -> int:
    """Run the examples in the docstrings of the package."""
    nothing_collected = 5
    code = pytest(environment, ["--doctest-modules", str(PACKAGE)])
    return 0 if code == nothing_collected else code
