"""The native half of tercet."""

from typing import TypedDict, final

__all__ = ["Probe", "__version__", "build_info", "decide", "machine", "main"]

__version__: str

class _Machine(TypedDict):
    cores: float
    has_gil: bool

class _Reading(TypedDict):
    samples: int
    shares: dict[str, float]
    wall_s: float
    cpu_s: float
    queue_delay_s: float

class _Build(TypedDict):
    version: str
    profile: str
    target: str

@final
class Probe:
    """Looks at one thread of this process at a time, from a native thread that never takes the GIL."""

    def __new__(cls, hz: float = 1000.0) -> Probe: ...
    def watch(self, native_tid: int) -> None:
        """Forget what was seen and watch the thread with this native number."""
    def read(self) -> _Reading:
        """Return what was seen since `watch`."""
    def rest(self) -> None:
        """Stop watching until the next `watch`."""
    def stop(self) -> None:
        """End the native thread; the probe sees nothing any more."""

def main(arguments: list[str], python: str | None = None) -> int:
    """Run the command line and return its exit code."""

def decide(profile: str) -> str:
    """Decide what to do about a profile."""

def machine() -> _Machine:
    """Return the limits of this machine."""

def build_info() -> _Build:
    """Return the version of tercet and how it was built, for a report of a fault."""
