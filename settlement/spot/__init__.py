"""The spot layer: how positions moved after the auction, and what it costs (R3-R6)."""
