"""Benchmarks: frozen specs x sizes x phases, run with ``make bench``; never timed tests."""
