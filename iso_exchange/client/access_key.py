"""A buyer's access key: the X25519 key that suppliers seal access details to.

``access.pem`` in the identity directory (PKCS #8). It is made where it is used and never leaves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from iso_exchange.client.errors import IdentityError
from iso_exchange.identity.ca import write_private

ACCESS_KEY_FILE: Final = "access.pem"


def access_key(directory: Path) -> X25519PrivateKey:
    """Access key of an identity directory; made when there is none.

    Raises:
        IdentityError: the file cannot be read, or holds another kind of key.
    """
    path = directory / ACCESS_KEY_FILE
    try:
        if not path.exists():
            made = X25519PrivateKey.generate()
            write_private(
                path,
                made.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise IdentityError(f"{path}: {error}") from error
    if not isinstance(key, X25519PrivateKey):
        raise IdentityError(f"{path}: not an X25519 key")
    return key
