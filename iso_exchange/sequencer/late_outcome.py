"""Outcomes that are read when somebody asks for them.

The outcome of a run says why each order got what it got, with a certificate: hundreds of
kilobytes that few ever ask for while the run is in the state. Two words of it decide whether the
state takes a result, and the service that cleared it hands them over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from clearing import codec
from clearing.outcome import Outcome


@dataclass(slots=True, kw_only=True, eq=False)
class LateOutcome:
    """An outcome, read or not yet.

    Attributes:
        book_sha256: Hex digest of the book that it is of.
        seed: Hex tie seed that it reveals.
        body: Its canonical JSON, empty once it was read.
    """

    book_sha256: str
    seed: str
    body: bytes = b""
    _read: Outcome | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """An outcome that was read."""
        return cls(book_sha256=outcome.book_sha256, seed=outcome.seed, _read=outcome)

    def read(self) -> Outcome:
        """The outcome.

        Raises:
            DocumentError: the body is none.
        """
        if self._read is None:
            self._read, self.body = codec.decode(self.body, Outcome), b""
        return self._read

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, read or not."""
        return isinstance(other, LateOutcome) and self.read() == other.read()

    __hash__ = None  # type: ignore[assignment]
