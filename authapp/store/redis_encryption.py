"""Key names and encrypted values for Redis.

A key name is ``authapp:`` and an HMAC of the key. An attacker who can read Redis but has no
secret cannot compute the HMAC. So the attacker cannot check whether a stolen token occurs in Redis.

A value is ``nonce || ciphertext || tag`` (AES-256-GCM). The associated data is the key name, so a
value that is copied to another key does not decrypt.

In a cluster, a key name has one of 256 *hash tags* after ``authapp:``. The keys of one group (of a
user, for example) have the same tag, and so they are on one node.
"""

import base64
import hmac
import os
from collections.abc import Iterable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authapp.session.encryption import derive
from authapp.store.protocol import Key

NAMES = 4096
"""How many key names are cached. The requests of one session need the same few names."""

PREFIX = b"authapp:"
"""The beginning of each key name in Redis."""

TAGS = tuple(b"{%02x}" % number for number in range(256))
"""The hash tags of a cluster."""

_NONCE = 12


def tag_of(name: bytes) -> bytes:
    """Return the hash tag of a key name, or an empty string."""
    at = len(PREFIX)
    return name[at : at + 4] if name[at : at + 1] == b"{" else b""


def by_tag(names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Group key names by their hash tags."""
    groups: dict[bytes, list[bytes]] = {}
    for name in names:
        groups.setdefault(tag_of(name), []).append(name)
    return groups


class KeyRing:
    """The key names and the encryption that are derived from one secret.

    :param tagged: True if key names have hash tags.
    """

    def __init__(self, secret: bytes, *, tagged: bool = False) -> None:
        self._tagged = tagged
        self._names = derive(secret, "authapp shared names", 32)
        self._cipher = AESGCM(derive(secret, "authapp shared values", 32))
        #: A function that returns the name of a key in Redis: :meth:`_name` with a cache.
        self.name = lru_cache(maxsize=NAMES)(self._name)

    def _name(self, key: Key) -> bytes:
        text = "\0".join((key.purpose, key.secret)).encode(errors="surrogatepass")
        digest = hmac.digest(self._names, text, "sha256")
        tag = b""
        if self._tagged:
            group = f"group\0{key.group}".encode(errors="surrogatepass")
            part = hmac.digest(self._names, group, "sha256") if key.group else digest
            tag = TAGS[part[0]]
        return PREFIX + tag + base64.urlsafe_b64encode(digest)

    def encrypt(self, name: bytes, text: str) -> bytes:
        """Encrypt a string that will be stored under one key name.

        :param name: the key name, from :attr:`name`.
        :returns: nonce, ciphertext and tag.
        """
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(errors="surrogatepass"), name)

    def decrypt(self, name: bytes, value: object) -> str | None:
        """Decrypt a value from Redis.

        :param name: the key name under which Redis holds the value.
        :param value: the reply of Redis.
        :returns: the string, or None if this secret did not encrypt the value for this key name.
        """
        if not isinstance(value, bytes):
            return None
        try:
            opened = self._cipher.decrypt(value[:_NONCE], value[_NONCE:], name)
            return opened.decode(errors="surrogatepass")
        except (InvalidTag, ValueError):  # ValueError: too few bytes
            return None
