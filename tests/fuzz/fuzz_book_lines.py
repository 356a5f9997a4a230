"""Coverage-guided fuzzing of the reader of JSON Lines books and of ``validate``.

No test runs this, and nothing of the project needs atheris. In a virtual environment of its own:

    python3.11 -m venv fuzzing && fuzzing/bin/pip install atheris numpy
    PYTHONPATH=. fuzzing/bin/python tests/fuzz/fuzz_book_lines.py -max_total_time=60 CORPUS

``CORPUS`` is a directory (made with ``mkdir``) that keeps what reached new code; the sample book
is put there first. Whatever raises anything but ``BookFileError`` and ``BookError`` ends the run
with the input in a file ``crash-...``; so does a book that does not survive being written again.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-untyped]  # not installed beside the project

with atheris.instrument_imports(include=["clearing", "json"]):
    from clearing.bookfile.errors import BookFileError
    from clearing.bookfile.lines import read_lines, write_lines
    from clearing.errors import BookError
    from clearing.validate import validate
    from tests.unit.clearing.full_book import BOOK


RECORDS = [json.loads(line) for line in write_lines(BOOK)]


def fuzz_once(data: bytes) -> None:
    """One input: text as it is, or a recipe for changes of the sample."""
    if data[:1] == b"{":
        read_once(data)
    else:
        read_once(changed_sample(atheris.FuzzedDataProvider(data)))


def changed_sample(draw: Any) -> bytes:
    """The sample with up to four values anywhere in it replaced, repeated or taken away."""
    records = copy.deepcopy(RECORDS)
    for _ in range(draw.ConsumeIntInRange(1, 4)):
        holder: Any = records
        key: Any = draw.ConsumeIntInRange(1, len(records) - 1)
        while (
            isinstance(holder[key], (dict, list)) and holder[key] and draw.ConsumeIntInRange(0, 7)
        ):
            holder = holder[key]
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = keys[draw.ConsumeIntInRange(0, len(keys) - 1)]
        action = draw.ConsumeIntInRange(0, 9)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif action == 2:
            other = RECORDS[draw.ConsumeIntInRange(0, len(RECORDS) - 1)]
            names = sorted(other)
            holder[key] = copy.deepcopy(other[names[draw.ConsumeIntInRange(0, len(names) - 1)]])
        else:
            holder[key] = junk(draw)
        if len(records) < 2:
            break
    return "\n".join(json.dumps(record) for record in records).encode()


def junk(draw: Any) -> Any:
    """A JSON value of any kind, mostly integers near the edges."""
    choice = draw.ConsumeIntInRange(0, 9)
    if choice < 3:
        return draw.ConsumeIntInRange(-2, 16)
    if choice < 5:
        return draw.ConsumeInt(9)
    edges = [2**53, 2**63 - 1, -(2**63), 10**8, 10**9, 3_600, 10**30, 0]
    if choice == 5:
        return edges[draw.ConsumeIntInRange(0, len(edges) - 1)]
    if choice == 6:
        return draw.ConsumeUnicode(4)
    names = ["", "a", "b", "c", "x", "o1", "g1", "NODE", "SITE", "INTERRUPTIBLE", "STRICT_UNIFORM"]
    if choice == 7:
        return names[draw.ConsumeIntInRange(0, len(names) - 1)]
    return [None, True, False, [], {}, 1.5, [[]], ["a"]][draw.ConsumeIntInRange(0, 7)]


def read_once(data: bytes) -> None:
    """One file: a book that survives, or a typed refusal."""
    try:
        book = read_lines(data.splitlines(keepends=True))
    except BookFileError as error:
        str(error).encode()
        return
    try:
        validate(book)
    except BookError as error:
        str(error).encode()
        if error.code == "BAD_TYPE":
            raise AssertionError("the reader let a wrong type through") from error
    if read_lines([line.encode() for line in write_lines(book)]) != book:
        raise AssertionError("the book changed when it was written and read again")


def seed_corpus(directory: Path) -> None:
    """Put the sample book, whole and record by record, where the fuzzer begins."""
    lines = list(write_lines(BOOK))
    (directory / "whole").write_text("\n".join(lines), encoding="utf-8")
    for number, line in enumerate(lines[2:]):
        text = "\n".join((*lines[:2], line))
        (directory / f"record-{number}").write_text(text, encoding="utf-8")


def main() -> None:
    """Run the fuzzer with the arguments of libFuzzer."""
    for argument in sys.argv[1:]:
        if not argument.startswith("-") and Path(argument).is_dir():
            seed_corpus(Path(argument))
    atheris.Setup(sys.argv, fuzz_once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
