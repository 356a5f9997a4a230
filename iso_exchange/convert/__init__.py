"""Conversion between the protobuf bodies of the API and the commands of the exchange.

``command_from`` is total: whatever a client signed becomes a command or a refusal that
names the field. ``body_of`` and ``payload_of`` are its inverse, for who signs. What the
API answers is made in ``iso_exchange.convert.views``.
"""

from iso_exchange.convert.bodies import body_of, command_from, payload_of
from iso_exchange.convert.fields import BodyError

__all__ = ["BodyError", "body_of", "command_from", "payload_of"]
