"""Publication of a chip table; what is in it is judged by ``settlement.metering.chip_table``."""

from __future__ import annotations

import hashlib
from typing import Final

from iso_exchange.api.v1 import chip_table_pb2
from iso_exchange.commands import PublishChipTable
from iso_exchange.convert.fields import SHA256_BYTES, Reader, malformed
from iso_exchange.convert.headers import read_header, write_header

VERSION_LENGTH_MAX: Final = 32
DOCUMENT_BYTES_MAX: Final = 20 * 1024


def read_chip_table(body: Reader) -> PublishChipTable:
    """Publication of a chip table whose digest is the stated one."""
    document = body.document("document", most=DOCUMENT_BYTES_MAX)
    digest = hashlib.sha256(document).digest()
    if body.octets("sha256", length=SHA256_BYTES) != digest:
        raise malformed(
            body.path("sha256"), "state the SHA-256 of the document", limit=digest.hex()
        )
    return PublishChipTable(
        header=read_header(body),
        version=body.text("version", longest=VERSION_LENGTH_MAX),
        document=document,
    )


def write_chip_table(command: PublishChipTable) -> chip_table_pb2.ChipTablePublication:
    """Body of a chip table's publication."""
    return chip_table_pb2.ChipTablePublication(
        header=write_header(command.header),
        version=command.version,
        sha256=hashlib.sha256(command.document).digest(),
        document=command.document,
    )
