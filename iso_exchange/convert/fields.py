"""Reading a protobuf body field by field, with every field checked and none overlooked.

A ``Reader`` notes which fields of a message were asked for. What a body states beyond
them is refused: a signed body must not say more than the exchange acted on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clearing.errors import InvariantError
from clearing.units import UnixSeconds
from iso_exchange.convert.enums import Codes
from iso_exchange.sequencer.refusals import Code, Rejected

D = TypeVar("D")
V = TypeVar("V", bound=int)

IDENTIFIER_LENGTH_MAX: Final = 64
REFERENCE_LENGTH_MAX: Final = 300
"""A contract identifier is four identifiers long."""
REASON_LENGTH_MAX: Final = 500
INT64_MAX: Final = 2**63 - 1
INSTANT_MAX: Final = 253_402_300_799
"""Last second of the year 9999, the largest of google.protobuf.Timestamp."""
SHA256_BYTES: Final = 32
GOT_LENGTH_MAX: Final = 80

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_AREA: Final = re.compile(r"[A-Z]{2,8}")


class RefusedBodyError(Exception):
    """Why reading stopped; ``command_from`` turns it into its value and never lets it out."""

    def __init__(self, rejected: Rejected) -> None:
        """Carry the refusal."""
        super().__init__(f"{rejected.code.value}: {rejected.field}: {rejected.advice}")
        self.rejected = rejected


class BodyError(ValueError):
    """A command that the wire cannot say, such as a fabric without a wire value.

    Attributes:
        field: Path of the field of the body.
    """

    def __init__(self, field: str, detail: str) -> None:
        """Keep the field; the message joins both."""
        super().__init__(f"{field}: {detail}" if field else detail)
        self.field = field


def malformed(field: str, advice: str, *, got: str = "", limit: str = "") -> RefusedBodyError:
    """Refusal of a field that is not well formed."""
    return RefusedBodyError(
        Rejected(
            code=Code.MALFORMED_BODY,
            field=field,
            advice=advice,
            got=got[:GOT_LENGTH_MAX],
            limit=limit,
        )
    )


def not_taken(field: str, advice: str) -> RefusedBodyError:
    """Refusal of something that is well formed and that the market does not act on."""
    return RefusedBodyError(Rejected(code=Code.NOT_CLEARED_YET, field=field, advice=advice))


def misplaced(field: str, advice: str, *, got: str = "") -> RefusedBodyError:
    """Refusal of something that is well formed and makes no sense where it stands."""
    return RefusedBodyError(
        Rejected(code=Code.INVALID_VALUE, field=field, advice=advice, got=got[:GOT_LENGTH_MAX])
    )


def timestamp(seconds: int) -> Timestamp:
    """Whole seconds since the epoch as the wire has them."""
    return Timestamp(seconds=seconds)


def timestamp_of_us(time_us: int) -> Timestamp:
    """Microseconds since the epoch as the wire has them."""
    seconds, rest = divmod(time_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def number_of(codes: Codes[V, str], text: str, field: str) -> V:
    """Wire number of an open vocabulary's text.

    Raises:
        BodyError: the wire has no value for it.
    """
    number = codes.find(text)
    if number is None:
        raise BodyError(field, f"the wire has no value for {text!r}, only {', '.join(codes.names)}")
    return number


def octets_of(hex_text: str, field: str) -> bytes:
    """Bytes of lower-case hex.

    Raises:
        BodyError: it is not hex.
    """
    try:
        return bytes.fromhex(hex_text)
    except ValueError as error:
        raise BodyError(field, f"not hex: {hex_text!r}") from error


_FIELD_COUNTS: Final[dict[Any, int]] = {}


def _field_count(message: Message) -> int:
    """Fields that messages of this kind can have; asking the descriptor each time is slow."""
    kind = type(message)
    count = _FIELD_COUNTS.get(kind)
    if count is None:
        count = _FIELD_COUNTS[kind] = len(message.DESCRIPTOR.fields)
    return count


class Reader:
    """Checked access to the fields of one message.

    Every method raises ``RefusedBodyError`` with the path of the field that is at fault.
    """

    __slots__ = ("_children", "_message", "_path", "_read")

    def __init__(self, message: Message, path: str = "") -> None:
        """Read ``message``, which stands at ``path`` of the body."""
        self._message = message
        self._path = path
        self._read: set[str] = set()
        self._children: list[Reader] = []

    def path(self, name: str) -> str:
        """Path of a field, from the body on."""
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str, *, longest: int, shortest: int = 1) -> str:
        """Text without control characters, of a length in characters."""
        value: str = self._get(name)
        if not shortest <= len(value) <= longest:
            raise malformed(
                self.path(name),
                "it is required" if not value else "mind its length",
                got=f"{len(value)} characters",
                limit=f"{shortest} to {longest} characters",
            )
        self._refuse_control(name, value)
        return value

    def identifier(self, name: str, *, optional: bool = False) -> str:
        """Identifier that the body gives to something new."""
        value: str = self._get(name)
        if _IDENTIFIER.fullmatch(value) or (optional and not value):
            return value
        raise malformed(
            self.path(name),
            "use 1 to 64 of a-z, A-Z, 0-9, dot, dash and underscore",
            got=value,
        )

    def reference(self, name: str, *, optional: bool = False) -> str:
        """Identifier of something that exists; whether it does is judged later."""
        return self.text(name, longest=REFERENCE_LENGTH_MAX, shortest=0 if optional else 1)

    def reason(self) -> str:
        """The field ``reason``: why, for people."""
        return self.text("reason", longest=REASON_LENGTH_MAX)

    def matching(self, name: str, pattern: re.Pattern[str], advice: str) -> str:
        """Text of a fixed form."""
        value: str = self._get(name)
        if pattern.fullmatch(value):
            return value
        raise malformed(self.path(name), advice, got=value)

    def references(self, name: str, *, most: int, least: int = 0) -> tuple[str, ...]:
        """Identifiers of existing things, none twice."""
        values = self._distinct(name, self._many(name, most, least))
        for position, value in enumerate(values):
            if not 0 < len(value) <= REFERENCE_LENGTH_MAX:
                raise malformed(
                    self.path(f"{name}[{position}]"),
                    "give an identifier or leave the item out",
                    got=value,
                    limit=f"1 to {REFERENCE_LENGTH_MAX} characters",
                )
            self._refuse_control(f"{name}[{position}]", value)
        return values

    def areas(self, name: str, *, most: int) -> tuple[str, ...]:
        """Country codes (ISO 3166-1 alpha-2) and areas such as ``EEA``, none twice."""
        values = self._distinct(name, self._many(name, most, 0))
        for position, value in enumerate(values):
            if not _AREA.fullmatch(value):
                raise malformed(
                    self.path(f"{name}[{position}]"),
                    "use a country code (ISO 3166-1 alpha-2) or the name of an area, such as EEA",
                    got=value,
                )
        return values

    def octets(self, name: str, *, length: int) -> bytes:
        """Bytes of an exact length."""
        value: bytes = self._get(name)
        if len(value) == length:
            return value
        raise malformed(
            self.path(name),
            "send the raw bytes",
            got=f"{len(value)} bytes",
            limit=f"{length} bytes",
        )

    def octets_or_none(self, name: str, *, length: int) -> bytes:
        """Octets of one length, or none at all."""
        value: bytes = self._get(name)
        if len(value) not in (0, length):
            raise malformed(
                self.path(name), f"give {length} bytes or none", got=f"{len(value)} bytes"
            )
        return value

    def octets_up_to(self, name: str, *, most: int) -> bytes:
        """Bytes of at most a length, or none at all."""
        value: bytes = self._get(name)
        if len(value) > most:
            raise malformed(
                self.path(name), "send fewer", got=f"{len(value)} bytes", limit=f"{most} bytes"
            )
        return value

    def document(self, name: str, *, most: int) -> bytes:
        """Bytes of a document, not empty."""
        value: bytes = self._get(name)
        if 0 < len(value) <= most:
            return value
        raise malformed(
            self.path(name),
            "send the exact bytes of the document",
            got=f"{len(value)} bytes",
            limit=f"1 to {most} bytes",
        )

    def integer(self, name: str) -> int:
        """A number whose range is judged against the market, by the state machine."""
        value: int = self._get(name)
        return value

    def bounded(self, name: str, low: int, high: int = INT64_MAX) -> int:
        """A number inside a range."""
        value: int = self._get(name)
        if low <= value <= high:
            return value
        raise malformed(
            self.path(name), "choose a number in range", got=str(value), limit=f"{low} to {high}"
        )

    def integers(self, name: str, *, most: int) -> tuple[int, ...]:
        """A list of numbers whose ranges are judged against the market, by the state machine."""
        return tuple(self._many(name, most, 0))

    def integer_or_none(self, name: str) -> int | None:
        """A number with presence: 0 is a statement, unset is none."""
        value: int = self._get(name)
        return value if self._message.HasField(name) else None

    def flag(self, name: str) -> bool:
        """True or false."""
        value: bool = self._get(name)
        return value

    def instant(self, name: str) -> UnixSeconds:
        """A required time in whole seconds."""
        found = self.instant_or_none(name)
        if found is None:
            raise malformed(self.path(name), "it is required")
        return found

    def instant_or_none(self, name: str) -> UnixSeconds | None:
        """A time in whole seconds, or None when it is unset."""
        value: Timestamp = self._get(name)
        if not self._message.HasField(name):
            return None
        if value.nanos != 0:
            raise malformed(
                self.path(name), "times are whole seconds", got=f"{value.nanos} nanoseconds"
            )
        if not 0 <= value.seconds <= INSTANT_MAX:
            raise malformed(
                self.path(name),
                "give seconds since 1970-01-01T00:00:00Z",
                got=str(value.seconds),
                limit=f"0 to {INSTANT_MAX}",
            )
        return UnixSeconds(value.seconds)

    def choice(self, name: str, codes: Codes[V, D]) -> D:
        """A required value of an enumeration."""
        return self._code(name, self._get(name), codes)

    def choice_or(self, name: str, codes: Codes[V, D], default: D) -> D:
        """A value of an enumeration; ``default`` when it is UNSPECIFIED."""
        number: int = self._get(name)
        return default if number == 0 else self._code(name, number, codes)

    def choices(self, name: str, codes: Codes[V, D], *, least: int = 0) -> tuple[D, ...]:
        """Values of an enumeration, none twice."""
        numbers = self._distinct(name, self._many(name, len(codes.names) + 1, least))
        return tuple(
            self._code(f"{name}[{position}]", number, codes)
            for position, number in enumerate(numbers)
        )

    def which(self, oneof: str, advice: str) -> str:
        """Name of the member of a oneof that is set; exactly one must be."""
        found: str | None = self._message.WhichOneof(oneof)
        if found is None:
            raise malformed(self.path(oneof), advice)
        return found

    def child(self, name: str) -> Reader:
        """A required message."""
        found = self.child_or_none(name)
        if found is None:
            raise malformed(self.path(name), "it is required")
        return found

    def child_or_none(self, name: str) -> Reader | None:
        """A message, or None when it is unset."""
        value: Message = self._get(name)
        return self._adopt(value, name) if self._message.HasField(name) else None

    def plain(self, name: str) -> Any:  # noqa: ANN401 - the field decides
        """A message whose fields the caller reads all by itself, None when it is unset."""
        value = self._get(name)
        return value if self._message.HasField(name) else None

    def bytes_of(self, name: str) -> bytes:
        """Bytes that state a message, empty when it is unset; they count as read."""
        value: Message = self._get(name)
        return value.SerializeToString() if self._message.HasField(name) else b""

    def children(self, name: str, *, most: int, least: int = 0) -> tuple[Reader, ...]:
        """A list of messages."""
        return tuple(
            self._adopt(item, f"{name}[{position}]")
            for position, item in enumerate(self._many(name, most, least))
        )

    def rows(
        self, name: str, fields: tuple[str, ...], *, most: int, least: int = 0
    ) -> list[tuple[Any, ...]]:
        """A list of messages of plain values, ``fields`` being all the fields that they have.

        Their values are for the caller to check.
        """
        rows = self._many(name, most, least)
        if rows and len(rows[0].DESCRIPTOR.fields) != len(fields):
            message = f"{rows[0].DESCRIPTOR.name} has other fields than {fields}"
            raise InvariantError(message)
        return list(map(attrgetter(*fields), rows))

    def finish(self) -> None:
        """Refuse what the message states and nothing asked for, here and below."""
        # Where every field that the message may have was asked for, nothing can be left.
        if len(self._read) < _field_count(self._message):
            for field, _ in self._message.ListFields():
                if field.name not in self._read:
                    raise not_taken(
                        self.path(field.name), "this exchange does not act on it yet: leave it out"
                    )
        for child in self._children:
            child.finish()

    def is_finished(self) -> bool:
        """Whether everything that the message states was asked for, here and below."""
        try:
            self.finish()
        except RefusedBodyError:
            return False
        return True

    def _get(self, name: str) -> Any:  # noqa: ANN401 - the field decides
        self._read.add(name)
        return getattr(self._message, name)

    def _adopt(self, message: Message, name: str) -> Reader:
        child = Reader(message, self.path(name))
        self._children.append(child)
        return child

    def _many(self, name: str, most: int, least: int) -> Sequence[Any]:
        values: Sequence[Any] = self._get(name)
        if not least <= len(values) <= most:
            raise malformed(
                self.path(name),
                "give at least one" if not values else "mind the number of items",
                got=f"{len(values)} items",
                limit=f"{least} to {most} items",
            )
        return values

    def _distinct(self, name: str, values: Sequence[D]) -> tuple[D, ...]:
        seen: set[D] = set()
        for position, value in enumerate(values):
            if value in seen:
                raise malformed(
                    self.path(f"{name}[{position}]"), "name each item once", got=str(value)
                )
            seen.add(value)
        return tuple(values)

    def _code(self, name: str, number: int, codes: Codes[V, D]) -> D:
        value = codes.value(number)
        if value is None:
            raise malformed(
                self.path(name),
                "it is required" if number == 0 else "this number has no meaning here",
                got=str(number),
                limit=", ".join(codes.names),
            )
        return value

    def _refuse_control(self, name: str, value: str) -> None:
        if value.isprintable():  # nearly all are, and no control character is
            return
        if _CONTROL.search(value):
            raise malformed(self.path(name), "leave control characters out", got=repr(value))
