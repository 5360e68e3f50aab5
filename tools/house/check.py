"""`./x lint`: formatting, lints and types of both languages. Every check runs, whatever the others say."""

from __future__ import annotations

from collections.abc import Iterable

from house import extension
from house.environment import Environment
from house.message import BAD_USAGE, Refusal, say
from house.process import Words, run

CLIPPY = "cargo clippy --workspace --all-targets --keep-going --locked -- -D warnings"
STUBTEST = "--allowlist tests/stubtest-allowlist.txt --mypy-config-file pyproject.toml"


def checks(environment: Environment) -> dict[str, Words]:
    """Return the checks by name."""
    python = environment.python
    return {
        "rustfmt": ["cargo", "fmt", "--all", "--check"],
        "clippy": CLIPPY.split(),
        "ruff": [python, "-m", "ruff", "check"],
        "ruff-format": [python, "-m", "ruff", "format", "--check"],
        "mypy": [python, "-m", "mypy"],
        "stubtest": [python, "-m", "mypy.stubtest", "tercet._tercet", *STUBTEST.split()],
    }


def lint(names: list[str]) -> int:
    """Run the checks named, or all of them; say at the end which failed."""
    environment = Environment.default()
    known = checks(environment)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refusal(f"no check named `{unknown[0]}`", f"there are {_listed(known)}", BAD_USAGE)
    environment.ready("lint")
    extension.check_tools()
    env = environment.variables() | extension.cargo_variables(environment.python)
    failed = [name for name in names or known if _fails(name, known[name], env)]
    say(f"lint failed: {_listed(failed)}" if failed else "lint passed")
    return int(bool(failed))


def _fails(name: str, words: Words, env: dict[str, str]) -> bool:
    say(f"{name}: {' '.join(str(word) for word in words)}")
    return run(words, env) != 0


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
