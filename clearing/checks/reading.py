"""Attributes of many values as columns: nearly all of a verification's time is spent here.

Everything that loops over orders or awards does so inside the interpreter's own C code.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from clearing.checks.exact import Bools, Ints


def attribute(values: Sequence[object], name: str) -> Ints:
    """An integer attribute of each value; as Python integers where one does not fit int64."""
    read = attrgetter(name)
    try:
        return np.fromiter(map(read, values), dtype=np.int64, count=len(values))
    except OverflowError:
        return np.array(list(map(read, values)), dtype=object)


def truths(values: Sequence[object], name: str) -> Bools:
    """A truth value of each value."""
    return np.fromiter(map(attrgetter(name), values), dtype=np.bool_, count=len(values))


def joined(values: Sequence[object], name: str) -> tuple[list[Any], Ints]:
    """The items of a tuple of each value, end to end, and the length of each tuple."""
    tuples = list(map(attrgetter(name), values))
    lengths = np.fromiter(map(len, tuples), dtype=np.int64, count=len(tuples))
    return list(chain.from_iterable(tuples)), lengths


def are(identities: Ints, member: Enum) -> Bools:
    """Which identities are those of this member; members are singletons."""
    found: Bools = identities == id(member)
    return found


def identities(values: Sequence[object], name: str) -> Ints:
    """Identity of an attribute of each value, to tell enumeration members apart."""
    return np.fromiter(map(id, map(attrgetter(name), values)), dtype=np.int64, count=len(values))
