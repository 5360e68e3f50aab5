"""Pools of processes of many makers, behind one face; for `processes.py`.

The face: `submit(fn, *args)` gives something with `result()`, `map(fn, items)` takes every item as a task of its own,
`spread(fn, items)` takes many tiny ones the way that suits the pool best, `close()` ends it. A pool that cannot do one
of these has no such method.

loky, pebble, joblib, mpire and billiard are rivals, not dependencies:
`.venv/bin/pip install loky pebble joblib mpire billiard` brings them in. Ray is not among them: it takes about seven
seconds to start, and here every figure has a process of its own.
"""

import concurrent.futures
import multiprocessing


def share(items, workers):
    """As many items as make four chunks for each worker, which is what `multiprocessing.Pool` takes by itself."""
    return max(1, len(items) // (4 * workers))


class Futures:
    """Any pool with `submit` and `map` of `concurrent.futures`."""

    def __init__(self, pool, workers):
        self.pool, self.workers = pool, workers
        self.submit, self.map = pool.submit, pool.map

    def spread(self, fn, items):
        return self.pool.map(fn, items, chunksize=share(items, self.workers))

    def close(self):
        self.pool.shutdown()


class Stdlib(Futures):
    name = "stdlib"

    def __init__(self, workers):
        super().__init__(concurrent.futures.ProcessPoolExecutor(workers), workers)


class Tercet(Futures):
    name = "tercet"

    def __init__(self, workers):
        import tercet

        super().__init__(tercet.ProcessPoolExecutor(workers), workers)


class Loky(Futures):
    name = "loky"

    def __init__(self, workers):
        import loky

        super().__init__(loky.ProcessPoolExecutor(workers), workers)


class Multiprocessing:
    """`multiprocessing.Pool`; its `map` gets chunks of one, as the others do."""

    name = "mp.Pool"

    def __init__(self, workers):
        self.pool = self.open(workers)

    def open(self, workers):
        return multiprocessing.Pool(workers)

    def submit(self, fn, *args):
        answer = self.pool.apply_async(fn, args)
        answer.result = answer.get
        return answer

    def map(self, fn, items):
        return self.pool.map(fn, items, chunksize=1)

    def spread(self, fn, items):
        return self.pool.map(fn, items)

    def close(self):
        self.pool.close()
        self.pool.join()


class Billiard(Multiprocessing):
    """The fork of `multiprocessing.Pool` that Celery runs on."""

    name = "billiard"

    def open(self, workers):
        import billiard

        return billiard.Pool(workers)


class Pebble:
    name = "pebble"

    def __init__(self, workers):
        from pebble import ProcessPool

        self.pool, self.workers = ProcessPool(max_workers=workers), workers

    def submit(self, fn, *args):
        return self.pool.schedule(fn, args=args)

    def map(self, fn, items):
        return self.pool.map(fn, items, chunksize=1).result()

    def spread(self, fn, items):
        return self.pool.map(fn, items, chunksize=share(items, self.workers)).result()

    def close(self):
        self.pool.close()
        self.pool.join()


class Joblib:
    name = "joblib"

    def __init__(self, workers):
        import joblib

        self.joblib, self.workers = joblib, workers
        self.pool = joblib.Parallel(n_jobs=workers, batch_size=1).__enter__()

    def map(self, fn, items):
        return self.pool(self.joblib.delayed(fn)(item) for item in items)

    def spread(self, fn, items):
        self.pool.batch_size = share(items, self.workers)
        return self.pool(self.joblib.delayed(fn)(item) for item in items)

    def close(self):
        self.pool.__exit__(None, None, None)


class Mpire:
    name = "mpire"

    def __init__(self, workers):
        from mpire import WorkerPool

        self.pool, self.workers = WorkerPool(n_jobs=workers, keep_alive=True), workers

    def submit(self, fn, *args):
        answer = self.pool.apply_async(fn, args)
        answer.result = answer.get
        return answer

    def map(self, fn, items):
        return self.pool.map(fn, items, chunk_size=1, concatenate_numpy_output=False)

    def spread(self, fn, items):
        return self.pool.map(fn, items, chunk_size=share(items, self.workers))

    def close(self):
        self.pool.stop_and_join()


POOLS = {kind.name: kind for kind in (Tercet, Stdlib, Multiprocessing, Loky, Pebble, Joblib, Mpire, Billiard)}
