"""Typed errors of the readers of real data and of the scenarios built on it."""

from __future__ import annotations


class DataError(ValueError):
    """A file of real data that is missing, malformed or does not hold what is asked of it.

    Attributes:
        code: Stable reason code: ``FILE_MISSING``, ``NOT_GZIP``, ``NOT_UTF8``,
            ``EMPTY_FILE``, ``WRONG_HEADER``, ``WRONG_COLUMNS``, ``BAD_VALUE``,
            ``UNKNOWN_TENANT``, ``NO_QUOTE``, ``NO_OFFERS``, ``NO_JOBS``,
            ``NO_DEMAND``.
        path: File or folder.
        line: Line in the decompressed file, 1 is the header; 0 when no line is to blame.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, path: str, line: int, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {path}{f':{line}' if line else ''}: {advice}")
        self.code = code
        self.path = path
        self.line = line
        self.advice = advice


class ScenarioError(ValueError):
    """A scenario that cannot be built from these arguments.

    Attributes:
        code: Stable reason code: ``DAY_OUT_OF_RANGE``, ``SEED_OUT_OF_RANGE``.
        advice: What to do about it, one sentence.
    """

    def __init__(self, code: str, advice: str) -> None:
        """Keep the parts; the message joins them."""
        super().__init__(f"{code}: {advice}")
        self.code = code
        self.advice = advice
