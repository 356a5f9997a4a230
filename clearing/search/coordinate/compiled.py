"""Machine code for the loops that NumPy cannot express, typed as the function it came from.

Compiled code is cached on disk beside the module, or where ``NUMBA_CACHE_DIR`` says; where nothing
can be written it is compiled in memory. One thread, no fast-math: the same arrays give the same
bits.

Half of the time to compile went into wrappers that unpack records of arrays from Python objects. A
function that only compiled ones call has none (``inner``), and none has one for C.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

from clearing.program import Floats

Loop = TypeVar("Loop", bound=Callable[..., object])

_NJIT: Final[Any] = numba.njit
"""Its stubs lack options that are needed here."""


def _sources() -> int:
    """Checksum of this package."""
    found = 0
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found = zlib.crc32(source.read_bytes(), found)
    return found


SOURCES: Final = _sources()
"""Cached code holds what it calls in other modules, of which Numba's own stamp knows nothing: code
that was compiled from other sources is not used."""


def compiled(loop: Loop) -> Loop:
    """Compile a function of arrays and numbers that allocates nothing, and that Python calls.

    Reference counting is off: with it, every record of arrays that is handed to an inner
    function costs two atomic operations per array, ten times what the function itself does.
    """
    return _compile(loop, {"_nrt": False})


def inner(loop: Loop) -> Loop:
    """The same for one that only compiled functions call; a call from Python ends the process."""
    return _compile(loop, {"_nrt": False, "no_cpython_wrapper": True})


def allocating(loop: Loop) -> Loop:
    """Compile a function that makes arrays of its own; for what runs once, not per order."""
    return _compile(loop, {})


def _compile(loop: Loop, options: dict[str, bool]) -> Loop:
    options = {"no_cfunc_wrapper": True, **options}
    try:
        found = _NJIT(cache=True, error_model="numpy", **options)(loop)
    except RuntimeError:
        # Numba finds no place where it may write.
        return cast("Loop", _NJIT(error_model="numpy", **options)(loop))
    file = found._cache._cache_file  # noqa: SLF001 - Numba has no public way to widen the stamp
    file._source_stamp = (*file._source_stamp, SOURCES)  # noqa: SLF001
    return cast("Loop", found)


@inner
def copy_into(target: Floats, source: Floats) -> None:
    """Copy an array of the same length."""
    for at in range(source.size):
        target[at] = source[at]
