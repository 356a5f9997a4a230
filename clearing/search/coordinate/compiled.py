"""Machine code for the loops that NumPy cannot express, typed as the function it came from.

Compiled code is cached on disk beside the module (or in ``NUMBA_CACHE_DIR``), one thread, no
fast-math: the same arrays give the same bits on every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

from clearing.program import Floats

Loop = TypeVar("Loop", bound=Callable[..., object])

_NJIT: Final[Any] = numba.njit
"""Its stubs lack an option that is needed here."""


def compiled(loop: Loop) -> Loop:
    """Compile a function of arrays and numbers that allocates nothing.

    Reference counting is off: with it, every record of arrays that is handed to an inner
    function costs two atomic operations per array, ten times what the function itself does.
    """
    return cast("Loop", _NJIT(cache=True, error_model="numpy", _nrt=False)(loop))


def allocating(loop: Loop) -> Loop:
    """Compile a function that makes arrays of its own; for what runs once, not per order."""
    return cast("Loop", _NJIT(cache=True, error_model="numpy")(loop))


@compiled
def copy_into(target: Floats, source: Floats) -> None:
    """Copy an array of the same length."""
    for at in range(source.size):
        target[at] = source[at]
