"""`shared_array`: an array of numpy in memory that processes share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tercet import _tercet, handle

if TYPE_CHECKING:
    import numpy

__all__ = ["shared_array"]

_class: Any = None


def shared_array(shape: Any, dtype: Any = float) -> numpy.ndarray[Any, Any]:
    """Return an array of zeros that processes share.

    It goes to another process without a copy: as an argument of a task of `tercet.ProcessPoolExecutor`, or of a
    `multiprocessing.Process`. What one process writes, all others see; nothing guards it. Parts of it are shared too;
    what is computed from it is not. The memory goes with the last process that has it.

    Parameters
    ----------
    shape
        Its shape, as `numpy.zeros` takes it.
    dtype
        The type of its items; not one of Python's objects, which belong to one process.

    Returns
    -------
    numpy.ndarray
        The array.

    Raises
    ------
    ModuleNotFoundError
        numpy is not installed.
    ValueError
        The items are Python's objects, or a side is negative.

    Examples
    --------
    >>> array = shared_array((2, 3), "int64")
    >>> array[1] = 7
    >>> array.sum()
    np.int64(21)
    """
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"objects of Python cannot be shared: dtype {kind}")
    sides = (int(shape),) if not hasattr(shape, "__len__") else tuple(int(side) for side in shape)
    if any(side < 0 for side in sides):
        raise ValueError("negative dimensions are not allowed")
    found: numpy.ndarray[Any, Any] = _placed(
        _tercet.Memory(max(1, math.prod(sides) * kind.itemsize)), sides, kind, 0, None
    )
    return found


def _placed(memory: _tercet.Memory, shape: Any, dtype: Any, offset: int, strides: Any) -> Any:
    """Return an array over memory that is there."""
    import numpy

    made: Any = numpy.ndarray.__new__(_array_class(), shape, dtype, memoryview(memory), offset, strides)  # type: ignore[arg-type]
    made._memory = memory
    return made


def _array_class() -> Any:
    """Return the class of shared arrays, which is made when numpy is there."""
    global _class
    if _class is not None:
        return _class
    import numpy

    class SharedArray(numpy.ndarray):  # type: ignore[misc, unused-ignore]  # it is `Any` where numpy is not
        """An array in memory that processes share, or a part of one."""

        def __array_finalize__(self, source: Any) -> None:
            self._memory = getattr(source, "_memory", None)

        def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
            if array is self:
                return array
            plain = numpy.asarray(array)
            return plain[()] if return_scalar or plain.ndim == 0 else plain

        def __reduce_ex__(self, protocol: Any) -> Any:
            memory = self._memory
            begin = self.__array_interface__["data"][0]
            if memory is None or not 0 <= begin - memory.address < len(memory):
                # It was computed from a shared one, and is an array like any other.
                return numpy.asarray(self).__reduce_ex__(protocol)
            far = handle.to_descriptor(self, memory.fileno())
            place = begin - memory.address
            return _rebuilt, (far, memory.offset, len(memory), self.shape, self.dtype, place, self.strides)

    _class = SharedArray
    return _class


def _rebuilt(far: Any, begin: int, size: int, shape: Any, dtype: Any, offset: int, strides: Any) -> Any:
    return _placed(_tercet.Memory._from_fd(far.detach(), begin, size), shape, dtype, offset, strides)
