"""What is my Python program waiting on, and which model of concurrency fits it?

`map` measures the first tasks, picks threads, processes, an event loop or the plain loop, and runs the rest that way;
`why` gives the advice alone. The command ``tercet why app.py`` asks the same question of a whole program.

Examples
--------
>>> import tercet
>>> list(tercet.map(abs, [-1, 2, -3]))
[1, 2, 3]
"""

# General layout: `auto` is the face of map; `pilot` decides, `course` carries the items and the results, `sizer` grows
# and shrinks; `engine` is the seam behind which the engines stand (`thread_engine`, `process_engine`, `loop_engine`);
# `portable` and `purity` say what may go to another process; `advice` tells it all to a person. `_tercet` is the native
# half. This file only names what is public.

from __future__ import annotations

from tercet._tercet import __version__
from tercet.advice import Advice
from tercet.auto import Map, map, why
from tercet.errors import NotPortable, RemoteError, WorkerDied
from tercet.executor import Executor

__all__ = ["Advice", "Executor", "Map", "NotPortable", "RemoteError", "WorkerDied", "__version__", "map", "why"]
