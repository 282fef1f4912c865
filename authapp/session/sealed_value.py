"""Encrypted values with a lifetime, for cookies that are not a session."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from authapp.session.encryption import derive

MAX_LENGTH = 4000
"""The most characters of an encrypted value, because the value has to fit into one cookie."""


class SealedValue:
    """Encrypts and decrypts JSON objects for one purpose.

    The first secret encrypts. Each of the secrets can decrypt.

    :param secrets: at least one secret. The newest secret is first.
    :param purpose: the name of the purpose. A value that was encrypted for one purpose cannot be
        decrypted for another purpose.
    :param lifetime: the seconds for which a value can be decrypted.
    """

    def __init__(self, secrets: Sequence[bytes], purpose: str, lifetime: int) -> None:
        keys = [derive(secret, f"authapp {purpose}", 32) for secret in secrets]
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        self.lifetime = lifetime

    def seal(self, value: Mapping[str, Any]) -> str:
        """Return an encrypted JSON object, in characters that a cookie may have."""
        return self._fernet.encrypt(json.dumps(value).encode()).decode().rstrip("=")

    def open(self, text: str) -> dict[str, Any] | None:
        """Return the JSON object in an encrypted value. None if the value is invalid or too old.

        :param text: any string.
        """
        if len(text) > MAX_LENGTH:
            return None
        try:
            padded = text.encode() + b"=" * (-len(text) % 4)
            value: dict[str, Any] = json.loads(self._fernet.decrypt(padded, ttl=self.lifetime))
        except (InvalidToken, ValueError):
            return None
        return value
