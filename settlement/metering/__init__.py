"""Metering: the chip table, rated compute, and readings turned into billable quantities."""
