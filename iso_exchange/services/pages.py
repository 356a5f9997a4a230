"""Pages of lists: sizes, and tokens that say where the next page begins.

A token is opaque to clients: where to go on, and a digest of the request that it belongs to,
so that a token used with another filter is refused instead of skipping items.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from google.protobuf.message import Message

from iso_exchange.sequencer.refusals import Code
from iso_exchange.services.errors import Refused, refuse

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
TOKEN_LENGTH_MAX: Final = 1_024
DIGEST_LENGTH: Final = 16

T = TypeVar("T")
Key = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a list request asks for.

    Attributes:
        size: 1 to 1,000.
        after: Sort key of the last item of the page before, None for the first page.
        digest: Of the request without its page fields.
    """

    size: int
    after: Key | None
    digest: str

    def token(self, key: Key) -> str:
        """Token of the page that follows the item with this key."""
        text = json.dumps([self.digest, *key], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_of(request: Message) -> Page:
    """Read ``page_size`` and ``page_token`` of a list request.

    Raises:
        Refused: INVALID_ARGUMENT: a negative size, or a token that is not of this request.
    """
    size: int = getattr(request, "page_size")  # noqa: B009 - every list request has both
    token: str = getattr(request, "page_token")  # noqa: B009 - and Message has neither
    if size < 0:
        raise refuse(
            Code.INVALID_VALUE,
            "page_size",
            "0 for 100 items, or 1 to 1,000",
            got=str(size),
        )
    digest = _digest(request)
    after: Key | None = None
    if token:
        found, *key = _read(token)
        if found != digest:
            raise _bad_token()
        after = tuple(key)
    return Page(size=min(size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX), after=after, digest=digest)


def cut(
    page: Page, items: Iterable[T], key: Callable[[T], Key], *, descending: bool = False
) -> tuple[Sequence[T], str]:
    """One page of items, and the token of the next, empty on the last.

    Args:
        items: All that match, in any order.
        key: Sort key, unique among the items; descending where stated.

    Raises:
        Refused: INVALID_ARGUMENT: the token was made for other keys.
    """
    ordered = sorted(items, key=key, reverse=descending)
    after = page.after
    if after is not None:
        try:
            ordered = [
                item for item in ordered if (key(item) < after if descending else key(item) > after)
            ]
        except TypeError as error:
            raise _bad_token() from error
    chosen = ordered[: page.size]
    more = len(ordered) > len(chosen)
    return chosen, page.token(key(chosen[-1])) if more else ""


def _digest(request: Message) -> str:
    plain = type(request)()
    plain.CopyFrom(request)
    plain.ClearField("page_size")
    plain.ClearField("page_token")
    content = f"{request.DESCRIPTOR.full_name}\n".encode() + plain.SerializeToString(
        deterministic=True
    )
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def _read(token: str) -> list[int | str]:
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        raise _bad_token()
    padded = token + "=" * (-len(token) % 4)
    try:
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _bad_token() from error
    plain = isinstance(parts, list) and all(type(part) in {int, str} for part in parts)
    if not plain or not parts:
        raise _bad_token()
    return list(parts)


def _bad_token() -> Refused:
    return refuse(
        Code.INVALID_VALUE,
        "page_token",
        "send next_page_token of the page before, with every other field unchanged",
    )
