"""One HTTP request with a body, for witnesses and timestamp authorities."""

from __future__ import annotations

import http.client
from typing import Final
from urllib.parse import urlsplit

ANSWER_BYTES_MAX: Final = 64 * 1024


def post(url: str, body: bytes, *, content_type: str, seconds_max: float) -> tuple[int, bytes]:
    """Status and body of the answer; no redirect is followed, and blocks up to the limit.

    Raises:
        ValueError: not an address of HTTP, or an answer that is too large.
        OSError: nobody answers.
        http.client.HTTPException: what answers does not speak HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"{url} is no http or https address"
        raise ValueError(message)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=seconds_max)
    path = parts.path or "/"
    try:
        target = f"{path}?{parts.query}" if parts.query else path
        connection.request("POST", target, body, {"Content-Type": content_type})
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX + 1)
    finally:
        connection.close()
    if len(answer) > ANSWER_BYTES_MAX:
        message = f"the answer is longer than {ANSWER_BYTES_MAX} bytes"
        raise ValueError(message)
    return response.status, answer
