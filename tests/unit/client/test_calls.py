"""The table of calls is total and agrees with the services."""

from __future__ import annotations

import typing

import pytest

from iso_exchange import commands
from iso_exchange.client.calls import CALLS, rpc_of
from iso_exchange.kinds import ENTRY_KINDS


def test_every_command_of_participants_has_a_call_and_no_other() -> None:
    signed_as_protobuf = {
        command
        for command in typing.get_args(commands.Command)
        if ENTRY_KINDS[command].payload_type.endswith("+protobuf")
    }
    assert set(CALLS) == signed_as_protobuf


@pytest.mark.parametrize("command", list(CALLS))
def test_each_call_takes_an_envelope_and_answers_a_receipt(command: type) -> None:
    rpc = rpc_of(command)
    assert set(rpc.request.DESCRIPTOR.fields_by_name) >= {"request_id", "envelope"}
    assert "receipt" in rpc.response.DESCRIPTOR.fields_by_name
    assert rpc.path.startswith("/iso_exchange.api.v1.")


def test_a_command_without_a_call_is_named() -> None:
    with pytest.raises(ValueError, match="SettleHour"):
        rpc_of(commands.SettleHour)
