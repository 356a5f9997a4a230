"""Book files without files: lines of text to a book and back.

The Parquet form and everything that touches a disk is in ``iso_exchange.bookfile``; both forms
are described in docs/reference/book-file.md.
"""
