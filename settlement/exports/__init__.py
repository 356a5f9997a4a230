"""Exports of a settled ledger: billing rows, journals, payment files, tables, reports.

Pure: ledger data in (``settlement.exports.extract``), text, rows or bytes out. Nothing here
reads a clock, so the same ledger gives the same bytes. See docs/reference/exports.md.
"""
