"""CPython's own tests of process pools and of what processes share, with tercet's classes in place.

    ./x conformance processes                                     this interpreter, all start methods
    ./x conformance processes --python 3.12 --python 3.13         others, each in an environment of its own
    ./x conformance processes --method spawn --row Pool imap      the tests of one row whose name contains it

The tests are run where they are installed, as with `threads.py`. A row is a class of tercet or a family of them, what
they stand for in the standard library, and the tests that are about them. The rest of `multiprocessing` stays as it
is, so ours meet theirs; `all of them` replaces everything, under the tests of processes themselves. `cloudpickle` is
hidden, so that what pickle refuses is refused.

A test that is expected to fail stands in `processes.toml`, with the reason in a sentence. Exit code 0 means that
everything else passed, and that nothing on the list did.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from _rows import Row, Table

_MULTIPROCESSING = "test_multiprocessing_{method}"

_QUEUES = ("Queue", "JoinableQueue", "SimpleQueue")
_LOCKS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier")
_VALUES = ("Value", "Array", "RawValue", "RawArray")


def _of(module: str, names: Iterable[str]) -> dict[str, str]:
    """Return the pairs for names of a module; what makes objects elsewhere takes its classes from there."""
    return {f"multiprocessing.{module}.{name}": f"tercet.{name}" for name in names}


_CONNECTIONS = _of("connection", ["Pipe"]) | {
    "multiprocessing.connection.Connection": "tercet.connection.Connection",
}


def _row(replaces: dict[str, str], *classes: str) -> Row:
    return Row(replaces, _MULTIPROCESSING, classes)


_EXECUTOR = Row({"concurrent.futures.process.ProcessPoolExecutor": "tercet.ProcessPoolExecutor"})

ROWS = {
    "ProcessPoolExecutor": _EXECUTOR,
    # As above, but a crash breaks the pool, as it does there.
    "on_crash=break": _EXECUTOR | {"concurrent.futures.process.ProcessPoolExecutor": "standins.ProcessPoolExecutor"},
    "Pool": _row(
        _of("pool", ["Pool"]),
        "WithProcessesTestPool",
        "WithProcessesTestPoolWorkerErrors",
        "WithProcessesTestPoolWorkerLifetime",
        "TestInitializers",
        "TestPoolNotLeakOnFailure",
    ),
    "queues": _row(
        _of("queues", _QUEUES),
        "WithProcessesTestQueue",
        "TestSimpleQueue",
        "TestStdinBadfiledescriptor",
    ),
    "connections": _row(
        _CONNECTIONS,
        "WithProcessesTestConnection",
        "WithProcessesTestListener",
        "WithProcessesTestListenerClient",
        "WithProcessesTestPoll",
        "WithProcessesTestPicklingConnections",
        "WithProcessesTestLogging",
        "WithManagerTestMyManager",
        "WithManagerTestRemoteManager",
        "WithManagerTestContainers",
        "TestInvalidHandle",
        "TestWait",
        "TestTimeouts",
        "TestCloseFds",
        "TestIgnoreEINTR",
        "OtherTest",
    ),
    "locks": _row(
        _of("synchronize", _LOCKS),
        "WithProcessesTestLock",
        "WithProcessesTestSemaphore",
        "WithProcessesTestCondition",
        "WithProcessesTestEvent",
        "WithProcessesTestBarrier",
        "TestNamedResource",
        "TestResourceTracker",
    ),
    "values": _row(
        _of("sharedctypes", _VALUES),
        "WithProcessesTestValue",
        "WithProcessesTestArray",
        "WithProcessesTestSharedCTypes",
    ),
    "all of them": _row(
        _of("queues", _QUEUES)
        | _CONNECTIONS
        | _of("synchronize", _LOCKS)
        | _of("sharedctypes", _VALUES)
        | _of("pool", ["Pool"]),
        "WithProcessesTestProcess",
        "WithProcessesTestSubclassingProcess",
        "WithProcessesTestPollEintr",
        "WithProcessesTestAtExit",
        "TestForkAwareThreadLock",
        "TestNoForkBomb",
        "TestStartMethod",
        "TestImportStar",
        "MiscTestCase",
    ),
}

TABLE = Table("processes", ROWS, methods=("fork", "forkserver", "spawn"), hidden="cloudpickle")

if __name__ == "__main__":
    sys.exit(TABLE.main())
