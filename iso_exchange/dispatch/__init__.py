"""Dispatch: which nodes run what, who is told, and what is reclaimed when something breaks."""
