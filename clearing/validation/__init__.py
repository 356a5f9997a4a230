"""Guards of ``clearing.validate``, by subject; each runs over whole columns of a book."""
