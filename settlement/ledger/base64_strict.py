"""Canonical standard base64 (RFC 4648, section 4): one encoding per byte string.

A lenient decoder lets a third party change logged or signed text without changing what
it decodes to. Here two different texts never decode to the same bytes.
"""

from __future__ import annotations

import base64
import binascii


def encode_base64(data: bytes) -> str:
    """Standard alphabet, padded, no line breaks."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """The bytes, or None when the text is not their one canonical encoding.

    Refused besides foreign characters: missing padding, the URL-safe alphabet, white
    space, and bits that are set behind the last whole byte.
    """
    try:
        encoded = text.encode("ascii")
        data = binascii.a2b_base64(encoded)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # The decoder skips foreign characters and ignores unused bits; encoding again shows both.
    return data if binascii.b2a_base64(data, newline=False) == encoded else None
