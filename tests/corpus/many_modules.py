"""A program of 150 modules that spends its life importing them.
Answer: the imports; import what is needed, where it is needed."""

import importlib
import pathlib
import sys
import tempfile
import time

HEAD = """import dataclasses, enum, re

LINE = re.compile(r"(?P<key>[a-z_]+)\\s*=\\s*(?P<value>[^#]*)(#.*)?")
Shade = enum.Enum("Shade", [f"SHADE_{number}" for number in range(60)])

@dataclasses.dataclass(order=True, frozen=True)
class Record:
    number: int = 1
    shade: Shade = Shade.SHADE_1
"""
STEP = """
def step_{0}(record, depth={0}):
    return [(record.number + {0}, depth, shade) for shade in Shade if shade is not record.shade]
"""
MODULE = HEAD + "".join(map(STEP.format, range(100)))


def write_modules(folder, names):
    for name in names:
        pathlib.Path(folder, name + ".py").write_text(MODULE)
    sys.path.insert(0, folder)


if __name__ == "__main__":
    names = [f"part_{number}" for number in range(150)]
    with tempfile.TemporaryDirectory() as folder:
        write_modules(folder, names)
        start = time.perf_counter()
        parts = [importlib.import_module(name) for name in names]
        took = time.perf_counter() - start
    print(f"{len(parts)} modules")
    print(f"work: {took:.3f}")
