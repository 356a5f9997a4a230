"""Which addresses the exchange calls for a participant, and which it never does."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from iso_exchange.commands import SetWebhook
from iso_exchange.sequencer.refusals import Code
from iso_exchange.webhooks import WebhookError, post
from tests.unit.sequencer.world import registered


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://192.168.1.1:8443/",
    ],
)
def test_nothing_inside_is_called(url: str) -> None:
    with pytest.raises(WebhookError, match="no public host"):
        post(url, b"{}", 1)


def test_a_name_that_points_inside_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def inside(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    with pytest.raises(WebhookError, match="no public host"):
        post("https://notices.example/", b"{}", 1)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://lab.example/x",
        "https:///x",
        "https://user:pass@lab.example/",
        "https://lab.example/#part",
        "https://lab.example:99999/",
        "https://lab.example/ x",
        "https://lab.example/" + "x" * 500,
        "lab.example",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    world = registered()
    command = SetWebhook(header=world.header("lab"), url=url)
    assert world.refused(command).code is Code.INVALID_VALUE


def test_an_address_is_kept_replaced_and_forgotten() -> None:
    world = registered()
    for url in ("https://lab.example/a", "https://lab.example/b"):
        world.must(SetWebhook(header=world.header("lab"), url=url))
    assert world.state.webhooks == {"lab": "https://lab.example/b"}
    world.must(SetWebhook(header=world.header("lab"), url=""))
    assert world.state.webhooks == {}
