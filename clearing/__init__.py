"""Clearing: a pure engine for auctions of compute capacity. Data in, data out."""
