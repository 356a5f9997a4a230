"""Books and outcomes on disk: JSON Lines or Parquet (docs/reference/book-file.md)."""
