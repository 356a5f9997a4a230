"""Where participants want their notices posted to."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from iso_exchange.commands import SetWebhook
from iso_exchange.sequencer.effects import Accepted, Meta
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.state import State

URL_LENGTH_MAX: Final = 500
SCHEMES: Final = frozenset({"https", "http"})
"""Plain http is for a laptop; elsewhere the sender refuses it (``iso_exchange.webhooks``)."""


def set_webhook(state: State, command: SetWebhook, _: Meta) -> Accepted | Rejected:
    """Keep, replace or forget an address."""
    signer = command.header.signer_id
    if not command.url:
        state.webhooks.pop(signer, None)
        return Accepted(owners=(signer,))
    if not _is_address(command.url):
        return Rejected(
            code=Code.INVALID_VALUE,
            field="url",
            advice=f"an https address with a host, at most {URL_LENGTH_MAX} characters",
            got=command.url[:URL_LENGTH_MAX],
        )
    state.webhooks[signer] = command.url
    return Accepted(owners=(signer,))


def _is_address(url: str) -> bool:
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = not parts.username and not parts.password and not parts.fragment
    return parts.scheme in SCHEMES and bool(parts.hostname) and plain and port != 0
