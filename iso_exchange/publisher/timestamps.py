"""RFC 3161 timestamps of checkpoints: a third party's word for when a root existed.

Over SHA-256 of the note text, so that the stamp holds whatever signature lines a copy of
the checkpoint carries. An authority that is away costs its stamp and nothing else.

Needs the package ``rfc3161-client`` (extra ``timestamps``).
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
from pathlib import Path
from typing import Final

import structlog
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    decode_timestamp_response,
)

from iso_exchange.publisher.files import replace
from iso_exchange.publisher.posting import post
from iso_exchange.publisher.publisher import Publisher
from settlement.ledger.checkpoint import parse_note
from settlement.storage.store import Published

ANSWER_SECONDS_MAX: Final = 20.0
RETRY_SECONDS: Final = 60.0
DIRECTORY: Final = "timestamps"
_OK: Final = 200

log = structlog.get_logger("timestamps")


class TimestampError(RuntimeError):
    """An authority answered something else than a timestamp of what it was asked."""


class Timestamps:
    """Stamps the published checkpoint now and then."""

    def __init__(self, *, publisher: Publisher, url: str, seconds: float, directory: Path) -> None:
        """Keep the parts.

        Args:
            url: Of the authority (RFC 3161, section 3.4).
            seconds: Between two stamps.
            directory: Of the published log; ``timestamps/`` is made below it.
        """
        self._publisher = publisher
        self._url = url
        self._seconds = seconds
        self._directory = directory / DIRECTORY

    async def run(self) -> None:
        """Stamp for ever."""
        stamped = -1
        while True:
            published = self._publisher.published
            if published is not None and published.size != stamped:
                try:
                    await self.stamp(published)
                except (TimestampError, OSError, ValueError, http.client.HTTPException) as error:
                    log.warning("no timestamp", url=self._url, reason=str(error))
                    await asyncio.sleep(min(self._seconds, RETRY_SECONDS))
                    continue
                stamped = published.size
            await asyncio.sleep(self._seconds)

    async def stamp(self, published: Published) -> Path:
        """Have one checkpoint stamped; the response and the note lie side by side.

        Raises:
            TimestampError: it was refused, or is of something else.
            OSError: nobody answers, or it cannot be written.
            ValueError: the answer is none.
        """
        text = parse_note(published.checkpoint).text
        request = TimestampRequestBuilder().data(text).hash_algorithm(HashAlgorithm.SHA256).build()
        status, body = await asyncio.to_thread(
            post,
            self._url,
            request.as_bytes(),
            content_type="application/timestamp-query",
            seconds_max=ANSWER_SECONDS_MAX,
        )
        if status != _OK:
            raise TimestampError(f"status {status}")
        response = decode_timestamp_response(body)
        if response.status != PKIStatus.GRANTED:
            raise TimestampError(f"{PKIStatus(response.status).name}: {response.status_string}")
        stamped = response.tst_info.message_imprint.message
        if stamped != hashlib.sha256(text).digest() or response.tst_info.nonce != request.nonce:
            raise TimestampError("a timestamp of something else")
        path = self._directory / f"{published.size}.tsr"
        await asyncio.to_thread(replace, path.with_suffix(".checkpoint"), published.checkpoint)
        await asyncio.to_thread(replace, path, body)
        log.info("stamped", size=published.size, time=str(response.tst_info.gen_time))
        return path
