"""Cargo, the linker, and the build of `tercet._tercet`.

The build goes through maturin, the same tool that `pip install .` uses, so that there is one way to build. It runs on
this terminal, where cargo draws its own progress bar; elsewhere cargo prints one line per crate.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from house.message import Refusal, say
from house.place import ROOT
from house.process import child_environment, run

# Folders of a crate that the extension is not compiled from.
ASIDE = ("tests", "examples", "benches", "proptest-regressions")
MANIFESTS = ("Cargo.toml", "Cargo.lock", ".cargo/config.toml")


def fingerprint(is_released: bool) -> str:
    """Return a text that changes when anything changes that the extension is compiled from, or how it is."""
    digest = hashlib.blake2b(digest_size=12)
    for path in _sources():
        status = path.stat()
        digest.update(f"{path.relative_to(ROOT)} {status.st_mtime_ns} {status.st_size}\n".encode())
    return f"{digest.hexdigest()} {'released' if is_released else 'developed'}"


def _sources() -> Iterator[Path]:
    yield from (ROOT / name for name in MANIFESTS if (ROOT / name).exists())
    for crate in sorted((ROOT / "crates").iterdir()):
        for part in sorted(crate.iterdir()):
            if part.name not in ASIDE:
                yield from _files(part)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def build(python: Path, env: Mapping[str, str], *, is_released: bool) -> None:
    """Compile the extension for `python` and put it beside the Python sources."""
    say("compiling the Rust engines: all of them the first time, later only what changed ...")
    how = ["--release"] if is_released else []
    code = run([python.with_name("maturin"), "develop", "--skip-install", *how], env, to_stderr=True)
    if code:
        raise Refusal(
            f"could not compile the Rust engines: `maturin develop` ended with exit code {code}",
            "its own message stands above; when it speaks of the lock file, run `cargo update --workspace`",
        )


def cargo_variables(python: Path) -> dict[str, str]:
    """Return what maturin tells cargo, so that `cargo clippy` and the build do not undo each other's work."""
    return {
        "PYO3_PYTHON": str(python),
        "PYTHON_SYS_EXECUTABLE": str(python),
        "PYO3_ENVIRONMENT_SIGNATURE": _signature(python),
        "PYO3_BUILD_EXTENSION_MODULE": "1",
    }


def _signature(python: Path) -> str:
    ask = "import sys; print(f'cpython-{sys.version_info[0]}.{sys.version_info[1]}-{sys.maxsize.bit_length() + 1}bit')"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def check_tools() -> None:
    """Refuse, with a hint, where cargo or a linker is missing or too old."""
    found = _cargo_version()
    wanted = re.search(r'^rust-version = "(\d+)\.(\d+)', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if wanted and found < (oldest := (int(wanted[1]), int(wanted[2]))):
        raise Refusal(
            f"Rust {found[0]}.{found[1]} is too old for tercet: it needs {oldest[0]}.{oldest[1]} or newer",
            "run `rustup update`, or install a newer `cargo` with your system's packages",
        )
    if not shutil.which("cc") and not any(name.endswith("_LINKER") for name in os.environ):
        raise Refusal(
            "could not find a linker: `cc` is not on `PATH`",
            "install a C compiler, on Debian `apt install gcc libc6-dev`, on Fedora `dnf install gcc`",
        )


def _cargo_version() -> tuple[int, int]:
    _find_cargo()
    env = child_environment()
    answer = subprocess.run(["cargo", "--version"], capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    number = re.match(r"cargo (\d+)\.(\d+)", answer.stdout)
    if not number:
        raise Refusal(
            f"could not run `cargo --version`: {answer.stderr.strip()}",
            "when `cargo` belongs to rustup, `rustup default stable` chooses a toolchain",
        )
    return int(number[1]), int(number[2])


def _find_cargo() -> None:
    """Put rustup's own folder on `PATH` where the shell does not know it yet."""
    if shutil.which("cargo"):
        return
    folder = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"
    if not (folder / "cargo").exists():
        raise Refusal(
            "could not find `cargo`: tercet's engines are written in Rust",
            "install Rust 1.85 or newer with `rustup` or with your system's packages, then run the same command again",
        )
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(folder)])
