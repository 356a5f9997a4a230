"""What the ledger survives, as often as one likes: ``python -m tests.torture 1000``."""
