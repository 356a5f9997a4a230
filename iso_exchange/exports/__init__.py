"""Exports from a bundle: reading it, evidence of entries, pages, files in binary formats.

What the exports say is worked out in ``settlement.exports``.
"""
