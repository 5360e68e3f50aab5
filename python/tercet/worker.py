"""The far side of the process engine: what runs in a worker process.

The parent starts an interpreter that skips `site` and imports this file alone, and imports it itself for the framing
(`send`, `receive`). It names nothing else of tercet, and nothing that takes long to import: an interpreter
that has read only this file answers after 15 to 20 ms here, one that also imports `pickle` and `socket` after 40.

Life cycle
----------
1. The parent starts one process, the *nursery*, which stays single-threaded and forks the workers: a fork of it can
   inherit no lock that some thread holds, whatever the parent is doing.
2. Each worker answers on its *seats*, one socket each, one thread each. A seat speaks in turns: a request, a reply.
3. A seat whose other end closes is over; a worker without seats leaves. When the nursery's own socket closes, because
   the parent said so or because the parent is gone, the nursery kills every worker at once. Nothing is left behind.

Ctrl-C reaches every process of a terminal; here it does nothing, because the parent decides.
"""

from __future__ import annotations

import _socket
import builtins
import os
import sys
import time
from _pickle import dumps, loads
from _socket import socket
from _thread import allocate_lock, start_new_thread
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SEATS_MOST", "Files", "Main", "apply", "greet", "main", "receive", "send"]

SEATS_MOST = 200
"""How many sockets travel in one message; the kernel's own limit is 253."""

_JOINED_MOST = 1 << 16
"""A frame up to this many bytes is copied together and leaves in one call."""

_APPLY = ("tercet.worker", "apply")
"""The function that is here already."""

Part = bytes | bytearray | memoryview


# --- frames ---------------------------------------------------------------------------------------------------


def send(seat: socket, *parts: Part) -> None:
    """Send one frame. `receive` at the other end returns its parts."""
    sizes = [len(part) for part in parts]
    head = b"".join(number.to_bytes(8, "little") for number in (len(parts), sum(sizes), *sizes))
    if len(head) + sum(sizes) <= _JOINED_MOST:
        seat.sendall(head + b"".join(parts))
        return
    seat.sendall(head)
    for part in parts:
        seat.sendall(part)


def receive(seat: socket) -> list[memoryview] | None:
    """Wait for one frame and return its parts, or ``None`` when the other end is gone."""
    head = seat.recv(16, _socket.MSG_WAITALL)
    if len(head) < 16:
        return None
    count, total = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
    frame = memoryview(bytearray(count * 8 + total))
    filled = 0
    while filled < len(frame):
        came = seat.recv_into(frame[filled:], len(frame) - filled, _socket.MSG_WAITALL)
        if came == 0:
            return None
        filled += came
    parts = []
    start = count * 8
    for index in range(count):
        end = start + int.from_bytes(frame[index * 8 : index * 8 + 8], "little")
        parts.append(frame[start:end])
        start = end
    return parts


# --- the nursery ----------------------------------------------------------------------------------------------


class _Nursery:
    """Forks workers on request and takes them along when it goes."""

    def __init__(self, control: socket) -> None:
        self._control = control
        self._children: set[int] = set()

    def serve(self) -> None:
        """Answer until the parent closes its end."""
        while True:
            request, fds = self._request()
            if request[:1] == b"F":
                self._answer(self._fork(fds))
            elif request[:1] == b"S":
                self._answer(self._status(int.from_bytes(request[1:9], "little")))
            else:
                break
        if request[:1] == b"B":
            self._see_off()
        for pid in self._children:
            os.kill(pid, 9)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _request(self) -> tuple[bytes, list[int]]:
        request, extra, _, _ = self._control.recvmsg(16, _socket.CMSG_SPACE(4 * SEATS_MOST))
        fds = [
            int.from_bytes(data[start : start + 4], sys.byteorder)
            for _, _, data in extra
            for start in range(0, len(data) - len(data) % 4, 4)
        ]
        return request, fds

    def _answer(self, number: int) -> None:
        self._control.send(number.to_bytes(8, "little", signed=True))

    def _fork(self, fds: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._control.close()
            _work([socket(fileno=fd) for fd in fds])
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        return pid

    def _status(self, pid: int) -> int:
        """Wait for the end of a worker that has closed its seats: its exit code, negative for a signal."""
        if pid not in self._children:
            return 0
        self._children.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _see_off(self) -> None:
        """Give the workers, whose seats are closed, a second to leave by themselves."""
        until = time.monotonic() + 1
        while self._children and time.monotonic() < until:
            self._children = {pid for pid in self._children if os.waitpid(pid, os.WNOHANG)[0] == 0}
            time.sleep(0.001 if self._children else 0)


# --- one worker -----------------------------------------------------------------------------------------------


def _work(seats: list[socket]) -> None:
    """Serve every seat, each in a thread of its own, then leave. Never returns."""
    code = 1
    try:
        bench = _Bench()
        left = allocate_lock()
        waiting = len(seats)

        def serve(seat: socket) -> None:
            nonlocal waiting
            bench.serve(seat)
            with left:
                waiting -= 1
                if waiting == 0:
                    everyone_left.release()

        everyone_left = allocate_lock()
        everyone_left.acquire()
        for seat in seats[1:]:
            start_new_thread(serve, (seat,))
        serve(seats[0])
        everyone_left.acquire()
        code = 0
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


class _Bench:
    """What the seats of one worker have in common: the function, learnt once."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._function: Callable[..., Any] | None = None
        self._refusal: str | None = None

    def serve(self, seat: socket) -> None:
        """Answer requests until the other end closes, or is gone in the middle of a reply."""
        asked = time.perf_counter()
        queue = _RunQueue()
        try:
            while (parts := receive(seat)) is not None:
                idle_s = time.perf_counter() - asked
                header = loads(parts[0])
                reply = self._learn(header) if header[0] == "learn" else self._run(header, parts[1], queue)
                _flush()
                send(seat, dumps((*reply[0], idle_s), 5), *reply[1])
                del parts, header, reply
                asked = time.perf_counter()
        except OSError:
            pass

    def _learn(self, header: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[bytes]]:
        with self._lock:
            if self._function is None and self._refusal is None:
                try:
                    self._function = _settle_in(header[1])
                except BaseException as error:
                    self._refusal = f"{type(error).__name__}: {error}"
        return (("ready",) if self._refusal is None else ("refused", self._refusal)), []

    def _run(
        self, header: tuple[Any, ...], packed: memoryview, queue: _RunQueue
    ) -> tuple[tuple[Any, ...], list[bytes]]:
        _, budget_s, stops_at_error, form = header
        try:
            items = loads(packed)
        except BaseException as error:
            return ("unreadable", f"{type(error).__name__}: {error}"), []
        function = self._function
        assert function is not None
        results: list[bytes] = []
        errors: dict[int, tuple[str, Any]] = {}
        queued = queue.waited_s()
        started, cpu_started = time.perf_counter(), time.thread_time()
        for index, item in enumerate(items):
            blob = b""
            try:
                if form == "one":
                    value = function(item)
                elif form == "many":
                    value = function(*item)
                else:
                    value = function(*item[0], **item[1])
            except BaseException as error:
                errors[index] = ("raised", _describe(error))
            else:
                try:
                    blob = dumps(value, 5)
                except BaseException as error:
                    errors[index] = ("result", (_name_of(type(value)), f"{type(error).__name__}: {error}"))
                del value
            results.append(blob)
            if (errors and stops_at_error) or time.perf_counter() - started > budget_s:
                break
        wall_s, cpu_s = time.perf_counter() - started, time.thread_time() - cpu_started
        return ("ran", errors, wall_s, cpu_s, queue.waited_s() - queued), results


class _RunQueue:
    """How long this thread was ready to run and had no processor: no fault of its tasks, and no wait of theirs."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def waited_s(self) -> float:
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9


def _name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _describe(error: BaseException) -> tuple[bytes | None, str, str, str]:
    """An exception as something that always travels: itself if it survives pickling, and its description."""
    import traceback

    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        trace = f"{_name_of(type(error))}: {text}\n"
    blob: bytes | None
    try:
        blob = dumps(error, 5)
        if type(loads(blob)) is not type(error):
            blob = None
    except Exception:
        blob = None
    return blob, _name_of(type(error)), text, trace


# --- becoming like the parent ---------------------------------------------------------------------------------


def _settle_in(order: dict[str, Any]) -> Callable[..., Any]:
    """Take over what the parent's code may rely on, and return the function to run."""
    sys.path[:] = order["path"]
    sys.argv[:] = order["argv"]
    sys.prefix, sys.exec_prefix = order["prefix"]
    sys.setrecursionlimit(order["limits"][0])
    sys.set_int_max_str_digits(order["limits"][1])
    if order["decimal"] is not None:
        import decimal

        decimal.setcontext(loads(order["decimal"]))
    greet()
    _postpone("tercet")
    sys.meta_path.append(Files(order["files"]))
    main = sys.modules["__main__"] = sys.modules["__mp_main__"] = Main(order["main"])
    function = _find(order)
    for module, name, packed in order["carried"]:
        if module == "__main__":
            main.read()
        _carry(vars(sys.modules[module]), name, packed)
    _reseed()
    return function


def _carry(module: dict[str, Any], name: str, packed: bytes) -> None:
    """Give a global the value that it has in the parent, unless it has it already: then it stays the same object."""
    try:
        if name in module and dumps(module[name], 5) == packed:
            return
    except Exception:
        pass
    module[name] = loads(packed)


def greet() -> None:
    """Add the few built-in names that `site` adds, since it was skipped."""
    from _sitebuiltins import Quitter

    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))


class Files:
    """Finds modules that the parent has loaded from files by hand, when nobody else does."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, *_: object) -> Any:
        """Find a module, as the import system asks for it."""
        import importlib.util

        file = self._files.get(name)
        if file is None:
            return None
        folder, name_of_file = os.path.split(file)
        places = [folder] if name_of_file == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)


def _postpone(module: str) -> None:
    """Import a package only when something in it is asked for: most programs import tercet, few tasks use it."""
    import importlib.util

    spec = importlib.util.find_spec(module)
    if spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)


def apply(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `fn`: the function of work whose every item brings its own."""
    return fn(*args, **kwargs)


def _find(order: dict[str, Any]) -> Callable[..., Any]:
    for module, file in order["sources"]:
        _import(module, file)
    if order["named"] == _APPLY:
        return apply
    found: Any
    if order["packed"] is not None:
        found = loads(order["packed"])
    else:
        module, qualname = order["named"]
        found = sys.modules[module]
        for name in qualname.split("."):
            found = getattr(found, name)
    function: Callable[..., Any] = found
    return function


def _import(module: str, file: str | None) -> None:
    """Import a module by name, or from its file where that name leads elsewhere or nowhere."""
    import importlib.util

    if module == "__main__":
        return
    spec = None
    for attempt in ("as it is", "with site"):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and (file is None or _is_same(spec.origin, file)):
            importlib.import_module(module)
            return
        if attempt == "as it is":
            _run_site()
    if file is None:
        importlib.import_module(module)
        return
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import `{module}` from `{file}`")
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made
    spec.loader.exec_module(made)


def _is_same(one: str | None, other: str) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def _run_site() -> None:
    """Run the start-up hooks of installed packages, which an editable install may need to be found at all."""
    import site

    path = list(sys.path)
    site.main()
    sys.path[:] = path


def _reseed() -> None:
    """Give this worker random numbers of its own: copies of one process would draw the same."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


class Main(ModuleType):
    """The parent's main module, read only when something in it is asked for."""

    def __init__(self, source: tuple[str, str, bool] | None) -> None:
        super().__init__("__mp_main__")
        self.__dict__["_source"] = source

    def __getattr__(self, name: str) -> Any:
        if "_source" not in self.__dict__:
            raise AttributeError(f"module `__main__` has no attribute `{name}`")
        self.read()
        return getattr(self, name)

    def read(self) -> None:
        """Run the main module, once: all of it, or its definitions alone."""
        source = self.__dict__.pop("_source", None)
        if source is None:
            return
        file, package, only_definitions = source
        with open(file, "rb") as script:
            text = script.read()
        self.__dict__.update(__file__=file, __package__=package or None)
        try:
            exec(_definitions(text, file) if only_definitions else compile(text, file, "exec"), self.__dict__)
        except BaseException:
            # The next who asks is to see what is wrong, too.
            self.__dict__["_source"] = source
            raise


def _definitions(text: bytes, file: str) -> Any:
    """Compile a script's imports, functions and classes alone, so that nothing it does is done again."""
    import ast

    tree = ast.parse(text, file)
    tree.body = [node for node in tree.body if _is_definition(node)]
    return compile(tree, file, "exec")


def _is_definition(node: Any) -> bool:
    import ast

    if isinstance(node, ast.Try):
        return all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in node.body)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


# --- the start ------------------------------------------------------------------------------------------------


def main(control: int) -> None:
    """Be the nursery, with the parent at the other end of this socket."""
    from _signal import SIGINT, signal  # type: ignore[import-not-found]  # the typeshed knows it as `signal` only

    signal(SIGINT, _ignore)
    os.closerange(max(3, control + 1), 1 << 16)
    _Nursery(socket(fileno=control)).serve()
    os._exit(0)


def _ignore(*_: object) -> None:
    """Stand for Ctrl-C. Not SIG_IGN, which a program started by a task would inherit."""
