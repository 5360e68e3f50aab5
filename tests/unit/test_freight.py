"""Large buffers between a pool of processes and its workers: they travel by handle, and nobody can tell."""

from __future__ import annotations

import array
import gc
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tercet.parcel import LARGE, pack, pack_args, pack_result
from tercet.process_pool import ProcessPoolExecutor, WorkerCrashed

pytestmark = pytest.mark.timeout(90)

PATIENCE_S = 60
SIZES = [LARGE - 1, LARGE, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3 << 20]


class Block:
    """An object with a buffer, as an array of numpy has one."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.data),)


class Strided:
    """An object whose buffer is not in one run, which pickle takes only in one."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Strided, (pickle.PickleBuffer(memoryview(self.data)[::2]),)


class Text(bytes):
    """Bytes that are more than that."""


def kinds_of(*args: Any, third: Any = None) -> tuple[list[type], tuple[Any, ...]]:
    return [type(arg) for arg in args] + ([] if third is None else [type(third)]), args


def echo(value: Any) -> Any:
    return value


def scribble(block: Block) -> tuple[int, bytes]:
    """Write to the argument, and return what it held and holds."""
    view = memoryview(block.data).cast("B")
    before = view[0]
    view[0] = view[-1] = 255
    return before, bytes([view[0], view[-1]])


def keep(block: Block) -> None:
    """Hold on to an argument for ever."""
    KEPT.append(block)


def first_of_kept() -> list[int]:
    return [memoryview(block.data).cast("B")[0] for block in KEPT]


def fork_and_read(block: Block) -> int:
    """Read the argument in a fork, after it is gone here."""
    reader, writer = os.pipe()
    begin, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(begin, 1)
        os.write(writer, bytes([memoryview(block.data).cast("B")[0]]))
        os._exit(0)
    del block
    gc.collect()
    os.write(go, b".")
    value = os.read(reader, 1)[0]
    os.waitpid(pid, 0)
    return value


def die_with(block: Block) -> None:
    os._exit(1)


def memory_files(pid: int) -> int:
    """How many bytes the memory files of a process hold: each once."""
    sizes = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "memfd:tercet" in os.readlink(link):
                stat = link.stat()
                sizes[stat.st_ino] = stat.st_blocks * 512
        except OSError:
            continue
    return sum(sizes.values())


KEPT: list[Any] = []


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def single() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1) as executor:
        yield executor


def content(size: int, seed: int = 0) -> bytearray:
    return bytearray((bytes(range(256)) * (size // 256 + 1))[seed : seed + size - 7] + b"the end")


@pytest.mark.parametrize("size", SIZES)
def test_a_buffer_comes_back_as_it_was(pool: ProcessPoolExecutor, size: int) -> None:
    data = content(size)
    back = pool.submit(echo, Block(data)).result()
    assert bytes(back.data) == bytes(data)
    assert not memoryview(back.data).readonly


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_were(pool: ProcessPoolExecutor, size: int) -> None:
    data = bytes(content(size))
    assert pool.submit(echo, data).result() == data


@pytest.mark.parametrize("size", SIZES)
def test_bytes_among_other_arguments_are_bytes(pool: ProcessPoolExecutor, size: int) -> None:
    data, block = bytes(content(size)), Block(content(size, 1))
    for named in ({}, {"third": data}):
        kinds, back = pool.submit(kinds_of, data, block, 7, data, **named).result()
        assert kinds == [bytes, Block, int, bytes, *[bytes] * len(named)]
        assert [back[0], back[3], bytes(back[1].data)] == [data, data, bytes(block.data)]


def test_large_bytes_stay_out_of_the_pickle() -> None:
    data = bytes(content(LARGE))
    for packed in (pack_args((1, data)), pack(echo, (data,), None), pack_result(data)[1]):
        whole, beside = packed
        assert len(whole) < 200
        assert [buffer is data for buffer in beside] == [True]
    assert isinstance(pack_args((data[1:],)), bytes)


def test_a_buffer_of_bytes_comes_as_bytes_as_with_pickle(pool: ProcessPoolExecutor) -> None:
    data = bytes(content(LARGE))
    assert type(pickle.loads(pickle.dumps(pickle.PickleBuffer(data), 5))) is bytes
    back = pool.submit(echo, Block(data)).result().data
    assert type(back) is bytes
    assert back == data


def test_bytes_of_a_class_of_their_own_keep_it(pool: ProcessPoolExecutor) -> None:
    data = Text(content(1 << 20))
    back = pool.submit(echo, data).result()
    assert type(back) is Text
    assert back == data


@pytest.mark.parametrize("size", [3 << 20, (8 << 20) + 1])
def test_memory_of_bytes_is_used_again(single: ProcessPoolExecutor, size: int) -> None:
    def run() -> int:
        for seed in range(10):
            data = bytes(content(size, seed))
            assert single.submit(echo, data).result() == data
        return memory_files(os.getpid())

    once = run()
    assert run() <= once + 4 * size


def test_many_buffers_of_many_sizes_keep_their_places(pool: ProcessPoolExecutor) -> None:
    blocks = [Block(content(size, seed)) for seed, size in enumerate(SIZES * 3)]
    back = pool.submit(echo, blocks).result()
    assert [bytes(block.data) for block in back] == [bytes(block.data) for block in blocks]


def test_what_is_for_reading_stays_so(pool: ProcessPoolExecutor) -> None:
    back = pool.submit(echo, Block(bytes(content(1 << 20)))).result()
    assert memoryview(back.data).readonly


def test_a_buffer_that_is_not_in_one_run_is_refused_as_pickle_does(pool: ProcessPoolExecutor) -> None:
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(Strided(b"x" * 1000), 5)
    with pytest.raises(pickle.PicklingError):
        pool.submit(echo, Strided(b"x" * (1 << 20))).result()
    assert pool.submit(echo, 1).result() == 1


@pytest.mark.parametrize("size", SIZES)
def test_an_argument_is_a_copy(single: ProcessPoolExecutor, size: int) -> None:
    data = content(size)
    was = bytes(data)
    for _ in range(3):
        # The same bytes every time: what one task wrote no other sees.
        assert single.submit(scribble, Block(data)).result() == (was[0], b"\xff\xff")
    assert bytes(data) == was


def test_an_argument_is_as_it_was_at_the_submit(single: ProcessPoolExecutor) -> None:
    data = content(1 << 20)
    futures = []
    for number in range(5):
        data[0] = number
        futures.append(single.submit(echo, Block(data)))
    assert [memoryview(future.result().data)[0] for future in futures] == list(range(5))


def test_what_a_worker_keeps_stays_as_it_is(single: ProcessPoolExecutor) -> None:
    for number in range(5):
        data = content(1 << 20)
        data[0] = number
        single.submit(keep, Block(data)).result()
    for _ in range(20):
        single.submit(echo, Block(content(1 << 20))).result()
    assert single.submit(first_of_kept).result() == list(range(5))


def test_what_the_program_keeps_stays_as_it_is(single: ProcessPoolExecutor) -> None:
    kept = []
    for number in range(20):
        data = content(1 << 20)
        data[0] = number
        kept.append(single.submit(echo, Block(data)).result())
    assert [memoryview(block.data)[0] for block in kept] == list(range(20))
    single.shutdown()
    assert [memoryview(block.data)[0] for block in kept] == list(range(20))
    assert bytes(kept[0].data)[1:] == bytes(content(1 << 20))[1:]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="to fork beside threads is warned about")
def test_a_fork_of_the_program_reads_what_it_had(single: ProcessPoolExecutor) -> None:
    data = content(1 << 20)
    data[0] = 77
    held = [single.submit(echo, Block(data)).result()]
    reader, writer = os.pipe()
    begin, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(begin, 1)
        os.write(writer, bytes([memoryview(held[0].data)[0]]))
        os._exit(0)
    held.clear()
    for _ in range(20):
        single.submit(echo, Block(content(1 << 20))).result()
    os.write(go, b".")
    assert os.read(reader, 1)[0] == 77
    os.waitpid(pid, 0)


def test_a_fork_of_a_worker_reads_what_it_had(single: ProcessPoolExecutor) -> None:
    data = content(1 << 20)
    data[0] = 77
    assert single.submit(fork_and_read, Block(data)).result() == 77


def test_an_argument_of_many_tasks_is_there_once(single: ProcessPoolExecutor, tmp_path: Path) -> None:
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    data = content(4 << 20)
    held = single.submit(Path.read_bytes, fifo)
    before = memory_files(os.getpid())
    futures = [single.submit(scribble, Block(data)) for _ in range(20)]
    assert memory_files(os.getpid()) - before < 6 << 20
    fifo.write_bytes(b".")
    held.result()
    assert {future.result() for future in futures} == {(data[0], b"\xff\xff")}


def test_memory_is_used_again(pool: ProcessPoolExecutor) -> None:
    def run() -> int:
        for _ in range(20):
            pool.submit(echo, Block(content(4 << 20))).result()
        return memory_files(os.getpid())

    run()
    once = run()
    assert run() <= once + (8 << 20)


def test_a_crash_gives_back_what_was_lent(pool: ProcessPoolExecutor) -> None:
    def run() -> int:
        for _ in range(5):
            assert isinstance(pool.submit(die_with, Block(content(4 << 20))).exception(PATIENCE_S), WorkerCrashed)
        return memory_files(os.getpid())

    run()
    once = run()
    assert run() <= once + (4 << 20)


def test_large_arguments_of_a_crash_are_sent_again() -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(echo, 0).result()
        crash = executor.submit(die_with, Block(content(1 << 20)))
        futures = [executor.submit(echo, Block(content(1 << 20, seed))) for seed in range(10)]
        assert isinstance(crash.exception(PATIENCE_S), WorkerCrashed)
        for seed, future in enumerate(futures):
            assert bytes(future.result(PATIENCE_S).data) == bytes(content(1 << 20, seed))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_start_method(method: str) -> None:
    import multiprocessing

    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
        data = content(1 << 20)
        assert bytes(executor.submit(echo, Block(data)).result().data) == bytes(data)


def test_results_of_many_threads(pool: ProcessPoolExecutor) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for turn in range(10):
            data = content(300_000 + turn, seed)
            if bytes(pool.submit(echo, Block(data)).result().data) != bytes(data):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_where_the_system_refuses_memory_buffers_go_along() -> None:
    """A program whose address space is limited: no arena fits, and everything works."""
    import subprocess

    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_freight as T
from tercet.process_pool import ProcessPoolExecutor
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
with ProcessPoolExecutor(1) as executor:
    data = T.content(3 << 20)
    assert bytes(executor.submit(T.echo, T.Block(data)).result().data) == bytes(data)
    assert executor.submit(T.scribble, T.Block(data)).result() == (data[0], b"\\xff\\xff")
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


def test_arrays_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    with ProcessPoolExecutor(2) as executor:
        for shape in [(10,), (1000, 1000), (3, 0)]:
            made = numpy.arange(float(numpy.prod(shape))).reshape(shape)
            for given in (made, numpy.asfortranarray(made), made[::2]):
                back = executor.submit(echo, given).result()
                assert numpy.array_equal(back, given)
                assert back.flags.writeable
                back += 1
                assert not given.size or not numpy.array_equal(back, given)


def test_other_objects_with_buffers(pool: ProcessPoolExecutor) -> None:
    numbers = array.array("q", range(100_000))
    assert pool.submit(echo, numbers).result() == numbers
    data = bytearray(content(1 << 20))
    assert pool.submit(echo, data).result() == data
