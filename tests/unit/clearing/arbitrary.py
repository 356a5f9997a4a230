"""Any value of an annotated type, sound or not: what the codec and the readers must survive."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from hypothesis import strategies as st

integers = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53 - 1, 2**53, -(2**53), 2**63]),
)
texts = st.text(max_size=8)


@cache
def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation; fields with a default have it half of the time."""
    while hasattr(annotation, "__supertype__"):
        annotation = annotation.__supertype__
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin in {typing.Union, types.UnionType}:
        return st.one_of(*map(values, arguments))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if is_dataclass(annotation):
        return instances(annotation)
    return {
        int: integers,
        str: texts,
        bool: st.booleans(),
        bytes: st.binary(max_size=4),
        types.NoneType: st.none(),
    }[annotation]


def instances(kind: Any) -> st.SearchStrategy[Any]:
    """Instances of a dataclass."""
    hints = typing.get_type_hints(kind)
    parts = {}
    for field in fields(kind):
        part = values(hints[field.name])
        parts[field.name] = part if field.default is MISSING else st.just(field.default) | part
    return st.builds(kind, **parts)
