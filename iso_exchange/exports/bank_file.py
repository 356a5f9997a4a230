"""Read the operator's bank table: CSV with a header, or a JSON array of objects."""

from __future__ import annotations

import csv
import io
import json

from settlement.exports.bank import BankDetails, bank_table
from settlement.exports.errors import ExportError, ExportErrorCode


def read_bank_table(text: str, name: str) -> dict[str, BankDetails]:
    """Bank details by party.

    Args:
        text: Content of the file.
        name: Of the file; ``.json`` is JSON, everything else CSV.

    Raises:
        ExportError: ``BANK_DETAILS_INVALID``.
    """
    if name.lower().endswith(".json"):
        return bank_table(_json_rows(text, name))
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise _invalid(name, f"line {reader.line_num} has another number of columns")
            rows.append(row)
    except csv.Error as error:
        raise _invalid(name, f"line {reader.line_num}: {error}") from error
    return bank_table(rows)


def _json_rows(text: str, name: str) -> list[dict[str, str]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _invalid(name, f"no JSON: {error}") from error
    if not isinstance(document, list):
        raise _invalid(name, "expected an array of objects")
    for row in document:
        if not isinstance(row, dict) or not all(isinstance(item, str) for item in row.values()):
            raise _invalid(name, "expected an array of objects with texts")
    return document


def _invalid(subject: str, detail: str) -> ExportError:
    return ExportError(ExportErrorCode.BANK_DETAILS_INVALID, subject, detail)
