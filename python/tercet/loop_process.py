"""Child processes of an event loop, and the pipes to them.

A child is started by `subprocess.Popen`, which knows every option and takes the quick way (`vfork`) where there is
one. The loop learns of its end from a descriptor of the process, so there is neither a thread for each child nor a
signal handler. Its standard input is a pipe on every version, as its outputs are.

Where a program has set a child watcher of its own, that one is asked, as with the standard loop.
"""

# Names of asyncio's that are used here, in all versions from 3.11 to 3.15 unless said otherwise:
# `BaseSubprocessTransport` with `_start`, `_process_exited`, `_wait`, `_proc`; the loop's `_make_subprocess_transport`,
# `_make_read_pipe_transport`, `_make_write_pipe_transport`, `_child_watcher_callback` (up to 3.13); the policy's
# `_watcher` (up to 3.13).

from __future__ import annotations

import functools
import os
import subprocess
from asyncio import base_events as _base_events
from asyncio import base_subprocess as _base_subprocess
from asyncio import events
from asyncio import unix_events as _unix_events
from typing import Any

# The rest of the loop, whose insides have no types.
_Loop: Any = object
base_events: Any = _base_events
unix_events: Any = _unix_events
_Transport: Any = _base_subprocess.BaseSubprocessTransport


class ProcessTransport(_Transport):  # type: ignore[misc]
    """A child process, whose standard input is a pipe and not a pair of sockets."""

    def _start(self, args: Any, shell: Any, stdin: Any, stdout: Any, stderr: Any, bufsize: Any, **more: Any) -> None:
        self._proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **more,
        )


@functools.cache
def has_process_descriptors() -> bool:
    """Return whether the system gives descriptors of processes. Containers may forbid it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def has_own_watcher() -> bool:
    """Return whether the program has set a child watcher that is none of those that `asyncio` takes by itself."""
    if not hasattr(events, "get_child_watcher"):
        return False
    watcher = getattr(getattr(events, "_event_loop_policy", None), "_watcher", None)
    usual = (unix_events.ThreadedChildWatcher, unix_events.PidfdChildWatcher)
    return watcher is not None and type(watcher) not in usual


class Processes(_Loop):  # type: ignore[misc]
    """The part of an event loop that has to do with child processes and pipes."""

    # Which descriptor stands for which child; a dictionary of the loop's own is made with the first one.
    _children: dict[int, int] | None = None

    def _make_read_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> Any:
        return self._make_pipe_reader(pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> Any:
        return self._make_pipe_writer(pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: Any,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: Any,
        extra: Any = None,
        **more: Any,
    ) -> Any:
        if not has_process_descriptors() or has_own_watcher():
            return await super()._make_subprocess_transport(
                protocol, args, shell, stdin, stdout, stderr, bufsize, extra, **more
            )
        waiter = self.create_future()
        transport = ProcessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **more
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any) -> None:
        pid = transport.get_pid()
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            # The process has no descriptor left: a thread needs none.
            waits = getattr(unix_events, "ThreadedChildWatcher", None) or unix_events._ThreadedChildWatcher
            waits().add_child_handler(pid, self._child_watcher_callback, transport)
            return
        if self._children is None:
            self._children = {}
        self._children[pid] = descriptor
        self._add_reader(descriptor, self._child_ended, pid, transport)

    def _child_ended(self, pid: int, transport: Any) -> None:
        self._forget_child(pid)
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            # Somebody else has waited for it. If that was the transport's own `Popen`, it knows.
            known = transport._proc.returncode if transport._proc is not None else None
            code = 255 if known is None else known
            if known is None:
                base_events.logger.warning(
                    "child process pid %d exit status already read: will report returncode 255", pid
                )
        # One turn later, so that what the child has written is read first.
        self.call_soon(self.call_soon, transport._process_exited, code)

    def _forget_child(self, pid: int) -> None:
        if self._children and (descriptor := self._children.pop(pid, None)) is not None:
            self._remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """Close the loop. Children that still run are watched no more."""
        if not self.is_running():
            for pid in list(self._children or ()):
                self._forget_child(pid)
        super().close()

    # --- for the native half ------------------------------------------------------------------------------------

    def _warn_of_lost_pipe_writes(self) -> None:
        base_events.logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")
