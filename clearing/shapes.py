"""Annotations as shapes: reading and checking many values of one kind at a time.

A book of a million steps is a few hundred kinds of field and not a million values: every
shape here works on a whole column, so that the cost per value is that of a list
comprehension. What is wrong is named by its place, such as ``offers[3].segments[0].first``.

========================  =====================================================
annotation                values; as JSON
========================  =====================================================
``int`` and ``NewType``   integer; a number, or decimal text (read only)
``str``                   text that UTF-8 can hold
``bool``                  true or false
``bytes``                 lower-case hex text
``Enum``                  its value
``X | None``              null or X
``tuple[X, ...]``         array
``tuple[X, Y]``           array of that length
frozen dataclass          object with a key per field
========================  =====================================================
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from itertools import accumulate, chain, islice
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol

from clearing.errors import InvariantError

LATER: Final[Mapping[str, bool]] = types.MappingProxyType({"later": True})
"""Metadata of a field that was added to a kind whose digests are already recorded somewhere.

Its key is left out of the canonical form while the field has its default, so that values
recorded before it existed keep their bytes.
"""

RETIRED: Final = "RETIRED_KEYS"
"""Class attribute of a dataclass: keys of fields that are gone, with the one value they had.

Without an annotation, so that it is no field. The keys stay in the canonical form for the same
reason, and may have no other value.
"""


class Misfit(Exception):  # noqa: N818 - the caller turns it into its own refusal
    """The first value of a column that is not of its shape.

    Attributes:
        index: Position in the column.
        path: Fields and positions from there inwards.
        what: What is wrong with it, for people.
    """

    def __init__(self, index: int, path: tuple[str | int, ...], what: str) -> None:
        """Keep the parts."""
        super().__init__(index, path, what)
        self.index = index
        self.path = path
        self.what = what

    def below(self, index: int, *names: str | int) -> Misfit:
        """The same misfit seen from the column that holds this one."""
        return Misfit(index, (*names, *self.path), self.what)


def place_text(path: Iterable[str | int]) -> str:
    """A path as text.

    Example:
        >>> place_text(("offers", 3, "segments", 0, "first"))
        'offers[3].segments[0].first'
    """
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


class Shape(Protocol):
    """What a field may hold."""

    def read(self, raws: list[Any]) -> list[Any]:
        """Values of parsed JSON; ``raws`` itself where they are the values already.

        Consumes ``raws``.

        Raises:
            Misfit: one of them is not of this shape.
        """

    def check(self, values: Sequence[Any]) -> None:
        """Make sure that values are exactly of this shape: no subclass, no float, no list.

        Raises:
            Misfit: one of them is not of this shape.
        """


def first_other(values: Sequence[Any], kind: type) -> int:
    """Position of the first value whose type is not ``kind``."""
    return next(index for index, value in enumerate(values) if type(value) is not kind)


def expect(values: Sequence[Any], kind: type, what: str) -> None:
    """Make sure that every value is of exactly one type.

    Raises:
        Misfit: naming the first that is not.
    """
    if set(map(type, values)) <= {kind}:
        return
    index = first_other(values, kind)
    raise Misfit(index, (), f"expected {what}, got {brief(values[index])}")


def brief(value: object) -> str:
    """A value for a message, cut short; never its whole content."""
    if isinstance(value, (dict, list, tuple)) or is_dataclass(value):
        return f"a {type(value).__name__}"
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to print"
    return text if len(text) <= _BRIEF_LENGTH else f"{text[:_BRIEF_LENGTH]}..."


_BRIEF_LENGTH: Final = 60


class Whole:
    """Integers."""

    def read(self, raws: list[Any]) -> list[Any]:
        """Numbers, and decimal text for those that readers of JSON would round."""
        if set(map(type, raws)) <= {int}:
            return raws
        return [self._one(index, raw) for index, raw in enumerate(raws)]

    def check(self, values: Sequence[Any]) -> None:
        """Integers and nothing that merely behaves like one."""
        expect(values, int, "an integer")

    @staticmethod
    def _one(index: int, raw: object) -> int:
        if type(raw) is int:
            return raw
        digits = raw.removeprefix("-") if isinstance(raw, str) else ""
        if isinstance(raw, str) and digits.isascii() and digits.isdigit():
            try:
                return int(raw)
            except ValueError as error:  # thousands of digits
                raise Misfit(index, (), f"expected an integer, got {brief(raw)}") from error
        raise Misfit(index, (), f"expected an integer, got {brief(raw)}")


class Text:
    """Strings."""

    def read(self, raws: list[Any]) -> list[Any]:
        """Strings as they are."""
        self.check(raws)
        return raws

    def check(self, values: Sequence[Any]) -> None:
        """Strings that have a UTF-8 form."""
        expect(values, str, "text")
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            for index, value in enumerate(values):
                if any("\ud800" <= character <= "\udfff" for character in value):
                    message = "expected text, got half of a surrogate pair"
                    raise Misfit(index, (), message) from None
            raise


class Truth:
    """Booleans."""

    def read(self, raws: list[Any]) -> list[Any]:
        """Booleans as they are."""
        self.check(raws)
        return raws

    def check(self, values: Sequence[Any]) -> None:
        """Booleans only."""
        expect(values, bool, "true or false")


class Octets:
    """Byte strings; hex text in documents."""

    def read(self, raws: list[Any]) -> list[Any]:
        """Bytes of hex text."""
        expect(raws, str, "hex text")
        found = []
        for index, raw in enumerate(raws):
            try:
                found.append(bytes.fromhex(raw))
            except ValueError as error:
                raise Misfit(index, (), f"expected hex text, got {brief(raw)}") from error
        return found

    def check(self, values: Sequence[Any]) -> None:
        """Bytes only."""
        expect(values, bytes, "bytes")


class Choice:
    """Members of one enum."""

    def __init__(self, kind: type[Enum]) -> None:
        self._kind = kind
        self._members = {member.value: member for member in kind}

    def read(self, raws: list[Any]) -> list[Any]:
        """Members by value."""
        try:
            return list(map(self._members.__getitem__, raws))
        except (KeyError, TypeError):
            for index, raw in enumerate(raws):
                if not isinstance(raw, (str, int)) or raw not in self._members:
                    known = ", ".join(map(str, self._members))
                    message = f"expected one of {known}, got {brief(raw)}"
                    raise Misfit(index, (), message) from None
            raise

    def check(self, values: Sequence[Any]) -> None:
        """Members only."""
        expect(values, self._kind, f"a {self._kind.__name__}")


class Maybe:
    """A shape, or nothing."""

    def __init__(self, inner: Shape) -> None:
        self._inner = inner

    def read(self, raws: list[Any]) -> list[Any]:
        """Null as None."""
        there = [index for index, raw in enumerate(raws) if raw is not None]
        values: list[Any] = [None] * len(raws)
        if there:
            read = self._on(there, self._inner.read, [raws[index] for index in there])
            for index, value in zip(there, read, strict=True):
                values[index] = value
        return values

    def check(self, values: Sequence[Any]) -> None:
        """None is always fine."""
        there = [index for index, value in enumerate(values) if value is not None]
        if there:
            self._on(there, self._inner.check, [values[index] for index in there])

    @staticmethod
    def _on(there: list[int], work: Callable[[list[Any]], Any], values: list[Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        try:
            return work(values)
        except Misfit as misfit:
            raise misfit.below(there[misfit.index]) from None


class Many:
    """Tuples of any length of one shape."""

    def __init__(self, inner: Shape) -> None:
        self._inner = inner

    def read(self, raws: list[Any]) -> list[Any]:
        """Arrays as tuples."""
        expect(raws, list, "an array")
        if not any(raws):
            return [()] * len(raws)
        items = iter(self._flat(raws, self._inner.read))
        return [tuple(islice(items, count)) for count in map(len, raws)]

    def check(self, values: Sequence[Any]) -> None:
        """Tuples only."""
        expect(values, tuple, "a tuple")
        if any(values):
            self._flat(values, self._inner.check)

    @staticmethod
    def _flat(rows: Sequence[Any], work: Callable[[list[Any]], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        try:
            return work(list(chain.from_iterable(rows)))
        except Misfit as misfit:
            before = 0
            for row, end in enumerate(accumulate(map(len, rows))):
                if misfit.index < end:
                    raise misfit.below(row, misfit.index - before) from None
                before = end
            raise


class Row:
    """Tuples of a fixed length."""

    def __init__(self, items: tuple[Shape, ...]) -> None:
        self._items = items

    def read(self, raws: list[Any]) -> list[Any]:
        """Arrays of the right length as tuples."""
        columns = self._columns(raws, list, "an array")
        read = [
            self._at(place, shape.read, column)
            for place, (shape, column) in enumerate(zip(self._items, columns, strict=True))
        ]
        return list(zip(*read, strict=True))

    def check(self, values: Sequence[Any]) -> None:
        """Tuples of the right length."""
        columns = self._columns(values, tuple, "a tuple")
        for place, (shape, column) in enumerate(zip(self._items, columns, strict=True)):
            self._at(place, shape.check, column)

    def _columns(self, rows: Sequence[Any], kind: type, what: str) -> list[list[Any]]:
        expect(rows, kind, what)
        size = len(self._items)
        for index, row in enumerate(rows):
            if len(row) != size:
                raise Misfit(index, (), f"expected {size} items, got {len(row)}")
        return [[row[place] for row in rows] for place in range(size)]

    @staticmethod
    def _at(place: int, work: Callable[[list[Any]], Any], column: list[Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        try:
            return work(column)
        except Misfit as misfit:
            raise misfit.below(misfit.index, place) from None


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    shape: Shape
    required: bool


class Record:
    """Instances of one dataclass."""

    _no_keys: ClassVar[Mapping[str, int]] = {}

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        hints = typing.get_type_hints(kind)
        self._members = tuple(
            _Member(
                name=member.name,
                shape=shape_of(hints[member.name]),
                required=member.default is MISSING and member.default_factory is MISSING,
            )
            for member in fields(kind)
            if member.init
        )
        self._retired = getattr(kind, RETIRED, self._no_keys)
        self._known = {member.name for member in self._members} | self._retired.keys()
        self._required = {member.name for member in self._members if member.required}

    def read(self, raws: list[Any]) -> list[Any]:
        """Objects without unknown keys; those with a default may be missing."""
        expect(raws, dict, "an object")
        written = self._check_keys(raws)
        for member in self._members:
            there = raws
            if any(member.name not in keys for keys in written):
                there = [raw for raw in raws if member.name in raw]
            column = [raw[member.name] for raw in there]
            try:
                values = member.shape.read(column)
            except Misfit as misfit:
                index = self._position(raws, there, misfit.index)
                raise misfit.below(index, member.name) from None
            if values is not column:
                for raw, value in zip(there, values, strict=True):
                    raw[member.name] = value
        kind = self._kind
        return [kind(**raw) for raw in raws]

    def check(self, values: Sequence[Any]) -> None:
        """Instances of the class itself, every field of its shape."""
        expect(values, self._kind, f"a {self._kind.__name__}")
        for member in self._members:
            try:
                member.shape.check(list(map(attrgetter(member.name), values)))
            except Misfit as misfit:
                raise misfit.below(misfit.index, member.name) from None

    def _check_keys(self, raws: list[Any]) -> list[tuple[str, ...]]:
        """The sets of keys that objects have, each once."""
        written = list(dict.fromkeys(map(tuple, raws)))
        for keys in written:
            unknown = sorted(set(keys) - self._known)
            missing = sorted(self._required.difference(keys))
            if not unknown and not missing:
                continue
            index = next(index for index, raw in enumerate(raws) if tuple(raw) == keys)
            if unknown:
                name = unknown[0] if unknown[0].isidentifier() else brief(unknown[0])
                raise Misfit(index, (name,), "unknown field")
            raise Misfit(index, (missing[0],), "missing field")
        for key, value in self._retired.items():
            for index, raw in enumerate(raws):
                found = raw.pop(key, value)
                if type(found) is not int or found != value:
                    raise Misfit(index, (key,), f"expected {value}, the only value it can have")
        return written

    @staticmethod
    def _position(raws: list[Any], there: list[Any], index: int) -> int:
        return index if there is raws else next(i for i, r in enumerate(raws) if r is there[index])


_SIMPLE: Final[Mapping[type, Shape]] = {
    int: Whole(),
    str: Text(),
    bool: Truth(),
    bytes: Octets(),
}


_SHAPES: Final[dict[Any, Shape]] = {}


def shape_of(annotation: Any) -> Shape:  # noqa: ANN401 - an annotation
    """Shape of an annotation.

    Raises:
        InvariantError: documents have no form for it.
    """
    shape = _SHAPES.get(annotation)
    if shape is None:
        shape = _SHAPES[annotation] = _make_shape(annotation)
    return shape


def _make_shape(annotation: Any) -> Shape:  # noqa: ANN401 - an annotation
    while hasattr(annotation, "__supertype__"):
        annotation = annotation.__supertype__
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is tuple:
        if arguments[-1:] == (Ellipsis,):
            return Many(shape_of(arguments[0]))
        return Row(tuple(map(shape_of, arguments)))
    if origin in {typing.Union, types.UnionType}:
        inner = tuple(part for part in arguments if part is not types.NoneType)
        if len(inner) == 1:
            return Maybe(shape_of(inner[0]))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        return Choice(annotation)
    elif isinstance(annotation, type) and is_dataclass(annotation):
        return Record(annotation)
    raise InvariantError(f"documents have no form for {annotation!r}")
