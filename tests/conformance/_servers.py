"""A real redis-server and a real PostgreSQL, on loopback, in a temporary folder, and stopped in any case.

An installed one is used; otherwise Debian's package is downloaded and unpacked into `.cache/servers`, and nothing of
the system changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

import pythons
from house.message import Refusal, say
from house.place import CACHE

STORE = CACHE / "servers"
START_LIMIT_S = 60.0
PACKAGES = {
    "redis-server": [
        "redis-server",
        "redis-tools",
        "liblua5.1-0",
        "libatomic1",
        "libhiredis0.14",
        "libjemalloc2",
        "liblzf1",
    ],
    "postgres": ["postgresql-15", "postgresql-client-15", "postgresql-contrib"],
}
USER = "postgres"


def found(name: str) -> Path:
    """Return the path of a server's program, from the system or from the store."""
    if path := present(name):
        return path
    fetch(name)
    if path := present(name):
        return path
    raise Refusal(f"there is no `{name}` in the packages {', '.join(PACKAGES[name])}", "install it yourself")


def present(name: str) -> Path | None:
    """Look for a program."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *STORE.glob("**/bin")]
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, places)]))
    return Path(path) if path else None


def fetch(name: str) -> None:
    """Bring the packages of a program into the store."""
    if not shutil.which("apt-get"):
        raise Refusal(f"no `{name}` on this machine, and no `apt-get` to fetch it", "install it")
    say(f"fetching `{name}` into {STORE} ...")
    archives = pythons.empty(STORE / "archives")
    pythons.run(["apt-get", "-q", "download", *PACKAGES[name]], cwd=archives)
    for archive in archives.glob("*.deb"):
        pythons.run(["dpkg-deb", "-x", str(archive), str(STORE)])
    shutil.rmtree(archives)


def variables() -> dict[str, str]:
    """Return the environment in which programs of the store find their libraries."""
    folders = {str(path.parent) for path in STORE.glob("**/lib*.so*")}
    return dict(os.environ) | ({"LD_LIBRARY_PATH": os.pathsep.join(sorted(folders))} if folders else {})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """Run a redis-server, and give its port."""
    program, port = found("redis-server"), free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = [program, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        with running([str(word) for word in words], port, folder):
            yield port


@contextlib.contextmanager
def postgresql() -> Iterator[int]:
    """Run a PostgreSQL with a fresh cluster, and give its port. As it refuses to run as root, root lends it a user."""
    program, port = found("postgres"), free_port()
    user = USER if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)
        data = Path(folder, "data")
        make = [program.resolve().parent / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(make, user=user, cwd=folder, capture_output=True, text=True, env=variables(), check=False)
        if done.returncode:
            raise Refusal(f"could not make a cluster of PostgreSQL: {done.stderr.strip()[-500:]}", "see above")
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off", "port": port}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with running([str(program.resolve()), "-D", str(data), *settings], port, folder, user):
            yield port


@contextlib.contextmanager
def running(words: list[str], port: int, folder: str, user: str | None = None) -> Iterator[None]:
    """Run a server until the end, however that comes."""
    with Path(folder, "said.txt").open("w") as said:
        child = subprocess.Popen(
            words, cwd=folder, user=user, env=variables(), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        wait_for(child, port, Path(folder, "said.txt"))
        yield
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(child: subprocess.Popen[bytes], port: int, said: Path) -> None:
    """Wait until a server takes connections."""
    until = time.monotonic() + START_LIMIT_S
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if child.poll() is not None or time.monotonic() > until:
            raise Refusal(f"a server does not start: {said.read_text()[-500:].strip()}", "run it by hand to see why")
        time.sleep(0.05)


SERVICES = {"redis": redis, "postgresql": postgresql}
