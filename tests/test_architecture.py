"""The walls between the rooms, as ARCHITECTURE.md draws them.

Three kinds of evidence: what cargo says of the manifests, what stands in the sources, and what a fresh interpreter
loads. Each checker is a small function over text, and the last part of this file shows each of them failing. A change
here goes with a change to ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "tercet"


def sources(*patterns: str) -> list[Path]:
    """Return the files that match, without what tools leave behind."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


RUST = sources("crates/*/src/**/*.rs")
PYTHON = sources("python/tercet/**/*.py")


# --- the manifests --------------------------------------------------------------------------------------------

# Which rooms of this workspace a room may know.
MAY_KNOW: dict[str, set[str]] = {
    "tercet-model": set(),
    "tercet-reactor": set(),
    "tercet-shm": set(),
    "tercet-sched": set(),
    "tercet-sampler": {"tercet-model"},
    "tercet-report": {"tercet-model"},
    "tercet-cli": {"tercet-model", "tercet-sampler", "tercet-report"},
    "tercet-load": set(),
    "tercet-py": {
        "tercet-cli",
        "tercet-model",
        "tercet-reactor",
        "tercet-report",
        "tercet-sampler",
        "tercet-sched",
        "tercet-shm",
    },
}

# Which rooms a foreign crate may enter, beyond tests.
ONLY_IN: dict[str, set[str]] = {
    "pyo3": {"tercet-py"},
    "clap": {"tercet-cli", "tercet-load"},
    "rustls": {"tercet-load"},
    "rcgen": {"tercet-load"},
    "indicatif": {"tercet-cli"},
    "anstream": {"tercet-cli"},
    "serde_json": {"tercet-report", "tercet-cli", "tercet-load", "tercet-py"},
}

# The model is arithmetic: it describes itself to serde and needs nothing else.
ENOUGH_FOR_THE_MODEL = {"serde"}


def manifest_faults(package: dict[str, Any]) -> list[str]:
    """Return what the dependencies of one package break, as sentences."""
    name = package["name"]
    if name not in MAY_KNOW:
        return [f"`{name}` is a new room: give it a line in MAY_KNOW and in ARCHITECTURE.md"]
    faults = []
    for dependency in package["dependencies"]:
        other, in_tests_only = dependency["name"], dependency["kind"] == "dev"
        if other in MAY_KNOW and other not in MAY_KNOW[name]:
            faults.append(f"`{name}` must not know `{other}`")
        if other in ONLY_IN and name not in ONLY_IN[other] and not in_tests_only:
            faults.append(f"`{name}` must not depend on `{other}`: that belongs to {sorted(ONLY_IN[other])}")
        if name == "tercet-model" and other not in ENOUGH_FOR_THE_MODEL and not in_tests_only:
            faults.append(f"`tercet-model` must not depend on `{other}`: it is arithmetic only")
    return faults


@pytest.fixture(scope="module")
def packages() -> list[dict[str, Any]]:
    if not shutil.which("cargo"):
        pytest.skip("cargo reads the manifests, and it is not on this machine")
    words = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, Any]] = json.loads(answer.stdout)["packages"]
    return found


def test_each_crate_depends_only_on_what_its_room_may_know(packages: list[dict[str, Any]]) -> None:
    faults = [fault for package in packages for fault in manifest_faults(package)]
    assert not faults, "\n".join(faults)


def test_each_crate_is_named_as_its_folder(packages: list[dict[str, Any]]) -> None:
    assert {package["name"] for package in packages} == {path.parent.name for path in sources("crates/*/Cargo.toml")}


# --- the Rust sources -----------------------------------------------------------------------------------------

ASIDE = re.compile(
    r"""
      //[^\n]*                              # a comment to the end of the line
    | /\*.*?\*/                             # a comment in the middle
    | \bb?r(?P<hash>\#*)".*?"(?P=hash)      # a raw string
    | \bb?"(?:\\.|[^"\\])*" | "(?:\\.|[^"\\])*"
    | b?'(?:\\[^\n']+|[^'\\\n])'            # a character; a lifetime has no second quote
    """,
    re.VERBOSE | re.DOTALL,
)
TEST_MODULE = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\(\w+\))?\s+)?mod\s+\w+\s*\{")


def code_of(text: str) -> str:
    """Return Rust text without comments and literals, each line where it was."""
    return ASIDE.sub(lambda match: "\n" * match[0].count("\n"), text)


def without_tests(code: str) -> str:
    """Return Rust code with its test modules blanked."""
    while found := TEST_MODULE.search(code):
        end = closing_brace(code, found.end())
        code = code[: found.start()] + "\n" * code.count("\n", found.start(), end) + code[end:]
    return code


def closing_brace(code: str, start: int) -> int:
    """Return the place after the brace that closes the one before `start`."""
    depth = 1
    for brace in re.finditer(r"[{}]", code[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return start + brace.end()
    return len(code)


@dataclass(frozen=True)
class Wall:
    """Something that stands in some rooms only: a pattern of code, the rooms and files that may, and why."""

    name: str
    pattern: str
    why: str
    rooms: str = ""
    allowed: str = r"(?!)"

    def faults(self, path: str, text: str) -> list[str]:
        """Return the lines of `text` that break the wall; `path` is relative to the checkout."""
        if not re.search(self.rooms, path) or re.search(self.allowed, path):
            return []
        code = without_tests(code_of(text))
        lines = text.splitlines()
        places = sorted({code.count("\n", 0, match.start()) for match in re.finditer(self.pattern, code)})
        return [f"{path}:{place + 1}: {lines[place].strip()}" for place in places]


def std(*modules: str) -> str:
    """Return a pattern for modules of the standard library, in a path or in a group of imports."""
    names = "|".join(modules)
    return rf"\bstd::(?:{names})\b|\bstd::\{{[^;]*\b(?:{names})\b"


WALLS = [
    Wall("pyo3", r"\bpyo3\b", "only tercet-py names pyo3", allowed="^crates/tercet-py/"),
    Wall(
        "door",
        r"\.detach\(|\bPython::(?:detach|attach|try_attach|with_gil|assume_attached|initialize)\b|\.allow_threads\(",
        "only door.rs attaches to the interpreter or detaches from it",
        rooms="^crates/tercet-py/",
        allowed="/door.rs$",
    ),
    Wall(
        "arithmetic",
        std("time", "fs", "env", "thread", "net", "process", "io", "sync", "os") + r"|\bunsafe\b",
        "the model is arithmetic: the same profile gives the same verdict on any machine",
        rooms="^crates/tercet-model/",
    ),
    Wall(
        "order",
        r"\bHash(?:Map|Set)\b",
        "the model goes through its facts in one order: use BTreeMap, BTreeSet or a Vec",
        rooms="^crates/tercet-model/",
    ),
    Wall("safe", r"\bunsafe\b", "a report is text: it needs no unsafe code", rooms="^crates/tercet-report/"),
    Wall(
        "loom",
        std("sync", "thread"),
        "tercet-sched takes its locks and atomics from `crate::sync`, where loom can stand in, and starts no thread",
        rooms="^crates/tercet-sched/src/",
        allowed=r"/sync\.rs$|/sys/",
    ),
    Wall(
        "print",
        r"\b(?:e?print(?:ln)?|dbg)!|\bstd(?:out|err)\(\)",
        "only the command line prints; libraries return values",
        allowed="^crates/tercet-(?:cli|load)/",
    ),
    Wall(
        "exit",
        r"\bprocess::(?:exit|abort)\b",
        "only the command line ends the program, and it returns its exit code",
        allowed="^crates/tercet-cli/src/main.rs$",
    ),
    Wall(
        "reading",
        r"\bprocess_vm_readv\b",
        "only the sampler reads another process",
        allowed="^crates/tercet-sampler/",
    ),
    Wall(
        "untouched",
        r"\b(?i:ptrace\w*)\b|\bprocess_vm_writev\b|\bSIGSTOP\b",
        "a watched program is never stopped, traced or written to",
    ),
    Wall(
        "environment",
        r"\benv::(?:vars?(?:_os)?|args(?:_os)?|set_var|remove_var|set_current_dir)\b",
        "only the command line reads the environment; libraries take arguments",
        allowed="^crates/tercet-cli/",
    ),
]


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.name)
def test_a_wall_in_rust(wall: Wall) -> None:
    faults = [fault for path in RUST for fault in wall.faults(shown(path), path.read_text())]
    assert not faults, "\n".join([f"{wall.why}:", *faults])


def unsafe_without_reason(text: str) -> list[int]:
    """Return the lines of unsafe blocks and impls that no `// SAFETY:` stands above, or inside before their code."""
    lines, code = text.splitlines(), code_of(text).splitlines()
    places = [place for place, line in enumerate(code) if re.search(r"\bunsafe\s*(?:\{|impl\b)", line)]
    return [place + 1 for place in places if not has_reason(lines, code, place)]


def has_reason(lines: list[str], code: list[str], place: int) -> bool:
    """Look for `SAFETY:` on the line itself, and upwards to the end of the statement before."""
    while "SAFETY:" not in lines[place]:
        place -= 1
        if place < 0 or (code[place].rstrip().endswith((";", "{", "}")) and "SAFETY:" not in lines[place]):
            return False
    return True


@pytest.mark.parametrize("path", sources("crates/*/**/*.rs"), ids=shown)
def test_unsafe_says_who_keeps_the_promise(path: Path) -> None:
    places = unsafe_without_reason(path.read_text())
    assert not places, f"no `// SAFETY:` line for the unsafe code in {shown(path)}, lines {places}"


# --- the Python sources ---------------------------------------------------------------------------------------

ENGINES = {"thread_engine", "process_engine", "loop_engine", "threads", "processes", "aio"}
# Those that choose an engine, or speak to people; an engine is told what to do and asks nobody.
UPSTAIRS = {"auto", "pursuit", "pilot", "advice", "cluster"}
FOUNDATIONS = {"course", "errors", "futures", "machine", "progress", "thread_pool", "worker"}


def behind_a_wall(room: str) -> set[str]:
    """Return the siblings that a module of the package must not import, not even inside a function."""
    if room in ENGINES:
        pools = set() if room == "thread_engine" else {"thread_pool"}
        return (ENGINES | UPSTAIRS | pools) - {room}
    return ENGINES | UPSTAIRS if room in FOUNDATIONS else set()


OPTIONAL = {"IPython", "cloudpickle", "dask", "distributed", "numpy", "ray", "rich", "tqdm"}
NOT_FOR_A_START = {"asyncio", "multiprocessing", "concurrent.futures.process"} | OPTIONAL
NOT_FOR_A_START |= {f"tercet.{engine}" for engine in ENGINES}


def siblings(text: str) -> set[str]:
    """Return the modules of the package that a module of the package imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("tercet.")}
        elif isinstance(node, ast.ImportFrom):
            found |= set(from_siblings(node))
    return found


def from_siblings(node: ast.ImportFrom) -> Iterator[str]:
    """Yield the modules of the package that `from ... import ...` names."""
    path = (node.module or "").split(".") if node.module else []
    if node.level == 0:
        if path[:1] != ["tercet"]:
            return
        path = path[1:]
    if path:
        yield path[0]
    else:
        yield from (name.name for name in node.names)


def imports_at_start(text: str) -> set[str]:
    """Return the packages that are imported when the module is, so not inside a function or for the type checker."""
    found = set()
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        waiting.extend(ast.iter_child_nodes(node))
    return found


def room_of(path: Path) -> str:
    """Return the module or sub-package of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_a_module_imports_no_sibling_behind_a_wall(path: Path) -> None:
    wrong = siblings(path.read_text()) & behind_a_wall(room_of(path))
    assert not wrong, f"{shown(path)} must not import {sorted(wrong)}: the engines do not know one another"


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_optional_packages_are_imported_inside_functions(path: Path) -> None:
    wrong = imports_at_start(path.read_text()) & OPTIONAL
    assert not wrong, f"{shown(path)} imports {sorted(wrong)} for everybody: import inside the function that needs it"


def imports_anywhere(text: str) -> set[str]:
    """Return the packages that are imported at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("module", ["futures", "thread_pool"])
def test_threads_never_need_processes_or_a_loop(module: str) -> None:
    assert not imports_anywhere((PACKAGE / f"{module}.py").read_text()) & {"asyncio", "multiprocessing"}


@pytest.mark.parametrize("module", ["tercet", "tercet.__main__"])
def test_a_start_loads_no_engine(module: str) -> None:
    ask = (
        f"import json, sys; before = set(sys.modules); import {module}; print(json.dumps([*set(sys.modules) - before]))"
    )
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    loaded = NOT_FOR_A_START & set(json.loads(answer.stdout))
    assert not loaded, f"`import {module}` loads {sorted(loaded)}; import them inside the functions that need them"


# --- both languages -------------------------------------------------------------------------------------------

LONGEST = 750
NAMELESS = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
EVERYTHING = sources(
    "crates/*/**/*.rs", "python/**/*.py", "python/**/*.pyi", "tools/**/*.py", "tests/**/*.py", "benches/**/*.py", "x"
)


def too_long(text: str) -> bool:
    """Say whether a file is long and its header comment does not say why, in a sentence that begins `Length:`."""
    if text.count("\n") <= LONGEST:
        return False
    header = "\n".join(text.splitlines()[:60])
    return not re.search(r"^(?://!|//|#|\s)*\s*Length: \S+ \S+", header, re.MULTILINE)


@pytest.mark.parametrize("path", EVERYTHING, ids=shown)
def test_a_long_file_says_why(path: Path) -> None:
    assert not too_long(path.read_text()), (
        f"{shown(path)} has more than {LONGEST} lines: let it be two nouns, or give the reason in its header comment, "
        "in a sentence that begins `Length:`"
    )


def test_every_file_has_found_its_name() -> None:
    nameless = [shown(path) for path in EVERYTHING if path.stem in NAMELESS]
    assert not nameless, f"a module with such a name is a name not found yet: {nameless}"


def test_there_is_something_to_check() -> None:
    assert RUST
    assert PYTHON
    assert {room_of(path) for path in PYTHON} & ENGINES


# --- the checkers fail when they should -----------------------------------------------------------------------

IN_MODEL, IN_SAMPLER, IN_CLI, IN_PY = (f"crates/tercet-{name}/src/lib.rs" for name in ("model", "sampler", "cli", "py"))


def package(name: str, *dependencies: str, kind: str | None = None) -> dict[str, Any]:
    return {"name": name, "dependencies": [{"name": other, "kind": kind} for other in dependencies]}


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        (package("tercet-model", "serde"), None),
        (package("tercet-model", "proptest", kind="dev"), None),
        (package("tercet-cli", "tercet-report", "clap"), None),
        (package("tercet-model", "libc"), "arithmetic only"),
        (package("tercet-sampler", "pyo3"), "must not depend on `pyo3`"),
        (package("tercet-report", "tercet-sampler"), "must not know `tercet-sampler`"),
        (package("tercet-report", "tercet-cli", kind="dev"), "must not know `tercet-cli`"),
        (package("tercet-shm", "tercet-sched"), "must not know `tercet-sched`"),
        (package("tercet-attic"), "new room"),
    ],
)
def test_manifests_are_told_apart(manifest: dict[str, Any], fault: str | None) -> None:
    assert (fault or "") in "".join(manifest_faults(manifest))
    assert bool(manifest_faults(manifest)) == bool(fault)


@pytest.mark.parametrize(
    ("name", "path", "code", "breaks"),
    [
        ("pyo3", IN_SAMPLER, "use pyo3::Python;", True),
        ("pyo3", IN_SAMPLER, "// as pyo3 does", False),
        ("pyo3", IN_PY, "use pyo3::Python;", False),
        ("door", IN_PY, "py.detach(|| 1)", True),
        ("door", IN_PY, "pyo3::Python::attach(|py| 1)", True),
        ("door", "crates/tercet-py/src/door.rs", "py.detach(|| 1)", False),
        ("arithmetic", IN_MODEL, "let now = std::time::Instant::now();", True),
        ("arithmetic", IN_MODEL, "use std::{\n    collections::BTreeMap,\n    fs::File,\n};", True),
        ("arithmetic", IN_MODEL, "use std::{cmp, collections::BTreeMap};\nlet fs = 1;", False),
        ("arithmetic", IN_MODEL, "unsafe { f() }", True),
        ("arithmetic", IN_MODEL, "#![forbid(unsafe_code)]", False),
        ("arithmetic", IN_SAMPLER, "use std::time::Instant;", False),
        ("order", IN_MODEL, "use std::collections::HashMap;", True),
        ("safe", "crates/tercet-report/src/html.rs", "unsafe { f() }", True),
        ("loom", "crates/tercet-sched/src/crew.rs", "use std::sync::Mutex;", True),
        ("loom", "crates/tercet-sched/src/crew.rs", "use crate::sync::Mutex;", False),
        ("loom", "crates/tercet-sched/src/sys/linux.rs", "use std::sync::atomic::AtomicU32;", False),
        ("print", IN_SAMPLER, 'println!("{x}");', True),
        ("print", IN_SAMPLER, "io::stderr().lock()", True),
        ("print", IN_SAMPLER, '/// println!("an example");\nlet s = "println!(";', False),
        ("print", IN_SAMPLER, "#[cfg(test)]\nmod tests {\n fn f() { dbg!(1); }\n}", False),
        ("print", IN_SAMPLER, "#[cfg(test)]\nmod tests {\n fn f() { }\n}\nfn g() { dbg!(1); }", True),
        ("print", IN_CLI, 'eprintln!("{x}");', False),
        ("exit", IN_CLI, "std::process::exit(1)", True),
        ("exit", "crates/tercet-cli/src/main.rs", "process::exit(1)", False),
        ("environment", IN_SAMPLER, 'std::env::var("HOME")', True),
        ("environment", IN_SAMPLER, "env::args_os()", True),
        ("environment", IN_CLI, 'std::env::var("NO_COLOR")', False),
        ("reading", IN_CLI, "libc::process_vm_readv(pid)", True),
        ("reading", IN_SAMPLER, "libc::process_vm_readv(pid)", False),
        ("untouched", IN_SAMPLER, "libc::ptrace(libc::PTRACE_ATTACH)", True),
        ("untouched", IN_SAMPLER, 'let hint = "the ptrace scope";', False),
    ],
)
def test_the_walls_in_rust_can_fall(name: str, path: str, code: str, breaks: bool) -> None:
    wall = next(wall for wall in WALLS if wall.name == name)
    assert bool(wall.faults(path, code)) == breaks


def test_a_fault_names_its_line() -> None:
    wall = next(wall for wall in WALLS if wall.name == "print")
    text = '/* two\nlines */\nlet c = \'"\';\nlet r = r#"dbg!(\n"#;\n  dbg!(c); // here\n'
    assert wall.faults(IN_SAMPLER, text) == [f"{IN_SAMPLER}:6: dbg!(c); // here"]


@pytest.mark.parametrize(
    ("code", "places"),
    [
        ("unsafe { f() }", [1]),
        ("let a = 1;\nlet b = unsafe { f() };", [2]),
        ("// SAFETY: `f` asks for nothing.\nunsafe { f() }", []),
        ("// SAFETY: the list\n// ends.\nlet b = g(\n    unsafe { f() },\n);", []),
        ("// SAFETY: `f` is one thing.\nunsafe { f() };\nunsafe { g() };", [3]),
        ("unsafe impl Send for A {}", [1]),
        ("// unsafe { f() }", []),
        ("/// # Safety\nunsafe fn f() {}", []),
    ],
)
def test_unsafe_without_a_reason_is_seen(code: str, places: list[int]) -> None:
    assert unsafe_without_reason(code) == places


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import tercet.threads", {"threads"}),
        ("from tercet import processes, aio as loop", {"processes", "aio"}),
        ("from .auto import map", {"auto"}),
        ("def f():\n    from . import threads", {"threads"}),
        ("from tercet.aio.loop import run", {"aio"}),
        ("import threading\nfrom concurrent import futures", set()),
    ],
)
def test_siblings_are_seen_in_every_form(code: str, names: set[str]) -> None:
    assert siblings(code) == names


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import numpy as np", {"numpy"}),
        ("try:\n    from tqdm.auto import tqdm\nexcept ImportError:\n    tqdm = None", {"tqdm"}),
        ("class A:\n    import rich", {"rich"}),
        ("def f():\n    import ray", set()),
        ("import typing\nif typing.TYPE_CHECKING:\n    import dask", {"typing"}),
    ],
)
def test_imports_at_start_are_told_from_later_ones(code: str, names: set[str]) -> None:
    assert imports_at_start(code) == names


def test_imports_are_seen_at_any_depth() -> None:
    code = "import os.path\nfrom a.b import c\ndef f():\n    from multiprocessing import Pool\n    import asyncio"
    assert imports_anywhere(code) == {"os", "a", "multiprocessing", "asyncio"}


def test_a_long_file_needs_a_reason() -> None:
    line = "x = 1\n"
    assert not too_long(line * LONGEST)
    assert too_long(line * (LONGEST + 1))
    assert too_long("# Length:\n" + line * LONGEST)
    assert not too_long("//! A table.\n//! Length: one row per version of CPython.\n" + line * LONGEST)
