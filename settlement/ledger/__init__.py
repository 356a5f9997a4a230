"""Ledger: the formats of the public log, and the accounts it makes provable."""
