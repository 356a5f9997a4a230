"""Many clearings at once: regions of one book, what-if variants, back-tests."""
