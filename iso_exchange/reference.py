"""Reference data that ships with the exchange, read from the installed packages."""

from __future__ import annotations

from importlib import resources

from settlement.metering import chip_table
from settlement.metering.chip_table import ChipTable


def read_default_bytes() -> bytes:
    """Exact bytes of the chip table that ships with this version."""
    return resources.files("settlement.metering").joinpath("chip_table.json").read_bytes()


def read_default() -> ChipTable:
    """Chip table that ships with this version.

    Raises:
        ChipTableError: the installed file was changed into something unreadable.
    """
    return chip_table.parse(read_default_bytes())
