"""Replay of real job traces through the spot market: regimes, layout, bounds, figures, report."""
