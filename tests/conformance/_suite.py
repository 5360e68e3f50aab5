"""Where CPython's own tests are, for interpreters that came without them.

Many builds leave out some of the package `test`. The distributions that have the interpreter keep its tests in a
package of their own, which is unpacked into `.cache/tests` and put after the tests that the interpreter has. Nothing
of the system changes, and nothing of CPython's enters this repository.

The packages are downloaded by apt, which checks their signatures, from the mirror that this machine uses. Debian has
no Python 3.12: that one comes from Ubuntu, whose address and keys are in packages of Debian.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

import pythons
from house.message import Refusal, say
from house.place import CACHE

STORE = CACHE / "tests"

DEBIAN = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid", "3.15": "sid"}
UBUNTU = {"3.12": "noble-updates"}


def is_missing(python: Path, name: str) -> bool:
    """Say whether an interpreter came without the suite `name`."""
    ask = f"import importlib.util as util, sys; sys.exit(util.find_spec('test.{name}') is None)"
    return subprocess.run([python, "-c", ask], stderr=subprocess.DEVNULL, check=False).returncode != 0


def stored(version: str) -> Path | None:
    """Return the folder of tests that was fetched for a version."""
    folder = STORE / version / "usr" / "lib" / f"python{version}" / "test"
    return folder if folder.is_dir() else None


def fetched(version: str, name: str) -> Path:
    """Return the folder of tests for a version; fetch it if need be."""
    if not (folder := stored(version)):
        fetch(version, name)
        folder = stored(version)
    if folder is None:
        raise Refusal(
            f"there are no tests in the package for Python {version}", f"remove `{STORE}` and run the same again"
        )
    return folder


def fetch(version: str, name: str) -> None:
    """Bring the tests for a version into the store."""
    if version not in DEBIAN | UBUNTU or not shutil.which("apt-get"):
        raise Refusal(
            f"Python {version} came without `test.{name}`, and this machine has no way to fetch it",
            f"use an interpreter that has its tests, or put their folder at `{STORE / version}/usr/lib/...`",
        )
    say(f"fetching CPython's tests for Python {version} into {STORE} ...")
    draft = pythons.empty(STORE / f"{version}.new")
    source = debian(DEBIAN[version]) if version in DEBIAN else ubuntu(UBUNTU[version], draft)
    unpack(source, [f"libpython{version}-testsuite"], draft)
    shutil.rmtree(STORE / version, ignore_errors=True)
    draft.rename(STORE / version)


def debian(suite: str) -> str:
    """Return the line that names a suite of Debian to apt."""
    return pythons.source(pythons.mirror(), suite)


def ubuntu(suite: str, folder: Path) -> str:
    """Return the line that names a suite of Ubuntu to apt."""
    unpack(debian(pythons.SUITE), ["debootstrap", "ubuntu-keyring"], folder)
    share = folder / "usr" / "share"
    script = (share / "debootstrap" / "scripts" / "gutsy").read_text()
    addresses = re.findall(r"default_mirror (\S+archive\S+)", script)
    if not addresses:
        raise Refusal(
            "could not fetch CPython's tests: no address of Ubuntu in the package `debootstrap`",
            "use an interpreter that has its tests",
        )
    keyring = share / "keyrings" / "ubuntu-archive-keyring.gpg"
    return pythons.source(addresses[0], suite, components="main universe", keyring=keyring)


def unpack(source: str, packages: list[str], folder: Path) -> None:
    """Download packages and unpack them."""
    archives = folder / "archives"
    apt = pythons.private_apt(folder / "apt", source)
    apt("update")
    for archive in pythons.download(apt, packages, pythons.empty(archives)):
        pythons.run(["dpkg-deb", "-x", str(archive), str(folder)])
    for spent in (archives, folder / "apt"):
        shutil.rmtree(spent)
