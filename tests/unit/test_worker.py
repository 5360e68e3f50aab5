"""`tercet.worker`: what a zygote and its workers take over of the program's modules."""

from __future__ import annotations

from collections.abc import Callable

from stage_for_pools import Program


def test_names_of_the_main_module_are_the_users(run: Callable[..., Program]) -> None:
    # Among them may be any that the module has in a worker before it is read.
    program = run(
        """
        import tercet
        from tercet.process_pool import ProcessPoolExecutor

        FIRST, SECOND = [1], [2]

        def read(x=None): return x + FIRST[0] + SECOND[0]

        if __name__ == "__main__":
            for _ in range(2):
                print(list(tercet.map(read, range(3), model="processes", workers=2)))
                with ProcessPoolExecutor(1) as executor:
                    print(executor.submit(read, 0).result())
        """
    )
    assert program.end() == (0, "[3, 4, 5]\n3\n" * 2, "")


def test_a_worker_loads_of_tercet_what_it_uses(run: Callable[..., Program]) -> None:
    program = run(
        """
        import sys, tercet

        def loaded(): return [name for name in ("tercet.auto", "tercet.process_pool") if name in sys.modules]

        def use(): return len(list(tercet.map(abs, range(3)))), *loaded()

        if __name__ == "__main__":
            with tercet.ProcessPoolExecutor(1) as executor:
                print(*[executor.submit(fn).result() for fn in (loaded, use)])
        """
    )
    assert program.end() == (0, "[] (3, 'tercet.auto')\n", "")
