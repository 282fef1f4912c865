"""What Redis holds of ours: key names that tell nothing, and encrypted values.

A key name is ``authapp:`` and an HMAC of what it stands for. Someone who can read Redis cannot
test a stolen token against it. A value is ``nonce || ciphertext || tag`` (AES-256-GCM) with its
key name as associated data. A value that is copied to another key does not decrypt.
"""

import base64
import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authapp.session.encryption import derive
from authapp.store.protocol import Key

NAMES = 4096
"""How many key names are cached: every request of a session needs the same ones."""

_NONCE = 12


class KeyRing:
    """The key names and the encryption that one secret gives."""

    def __init__(self, secret: bytes) -> None:
        self._names = derive(secret, "authapp shared names", 32)
        self._cipher = AESGCM(derive(secret, "authapp shared values", 32))
        #: The name in Redis of a key.
        self.name = lru_cache(maxsize=NAMES)(self._name)

    def _name(self, key: Key) -> bytes:
        text = "\0".join(key).encode(errors="surrogatepass")
        return b"authapp:" + base64.urlsafe_b64encode(hmac.digest(self._names, text, "sha256"))

    def encrypt(self, name: bytes, text: str) -> bytes:
        """Encrypt a text for one key name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(errors="surrogatepass"), name)

    def decrypt(self, name: bytes, value: object) -> str | None:
        """The text of a value, or None if it was not encrypted for this name with this secret."""
        if not isinstance(value, bytes):
            return None
        try:
            opened = self._cipher.decrypt(value[:_NONCE], value[_NONCE:], name)
            return opened.decode(errors="surrogatepass")
        except (InvalidTag, ValueError):  # ValueError: too few bytes
            return None
