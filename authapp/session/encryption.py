"""Seal a session into a token and open it again: contract section 2.

A sealed session is a compact JWE (RFC 7516 section 3.1) with ``dir`` key management, in one
of two formats that Auth.js writes too. The protected header of each format is always the
same bytes, so it is compared before anything is parsed: other algorithms, compression,
foreign key ids and whatever else can stand in a header never reach a parser.

joserfc seals. Opening, which every session costs that is not in the cache, is the one call of
the cipher that a known header leaves to do.
"""

import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7
from joserfc import jwe, jwk
from joserfc.jwk import OctKey

from authapp.session import base64url
from authapp.session.session import Session

CACHE_SIZE = 4096
"""How many opened tokens are remembered; each takes some 10 KB."""

MAX_TOKEN_LENGTH = 16_384
"""Characters of the longest token worth opening: more than all chunks together hold."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class CannotOpen(ValueError):
    """A token that was not sealed with one of our keys, or does not hold a session."""


Decrypt = Callable[[bytes, bytes, bytes], bytes]
"""From initialization vector, ciphertext and tag to the plaintext."""


def _a256gcm(key: bytes, header: bytes) -> Decrypt:
    """RFC 7518 section 5.3; the encoded header is authenticated too."""
    cipher = AESGCM(key)

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        if len(iv) != 12 or len(tag) != 16:
            raise InvalidTag
        return cipher.decrypt(iv, ciphertext + tag, header)

    return decrypt


def _a256cbc_hs512(key: bytes, header: bytes) -> Decrypt:
    """RFC 7518 section 5.2.2.2."""
    mac_key, cipher = key[:32], AES(key[32:])
    length = (8 * len(header)).to_bytes(8, "big")

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        signed = header + iv + ciphertext + length
        # hmac.digest gives the interpreter's lock away for texts as long as these.
        if not hmac.compare_digest(hmac.new(mac_key, signed, "sha512").digest()[:32], tag):
            raise InvalidTag
        decryptor, unpadder = Cipher(cipher, CBC(iv)).decryptor(), PKCS7(128).unpadder()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()

    return decrypt


@dataclass(frozen=True)
class Format:
    """How one version of Auth.js derives its key and which encryption it uses."""

    name: str
    encryption: str
    decrypt: Callable[[bytes, bytes], Decrypt]
    key_length: int
    key_info: str
    salted: bool
    names_key: bool

    def key(self, secret: bytes, cookie_name: str) -> OctKey:
        """The key for a secret; of ``authjs-5`` the cookie's name is a part."""
        salt = cookie_name if self.salted else ""
        info = self.key_info.format(salt)
        return OctKey.import_key(derive(secret, info, self.key_length, salt.encode()))

    def header(self, key: OctKey) -> dict[str, str]:
        """The protected header, in the order in which the peers write it."""
        header = {"alg": "dir", "enc": self.encryption}
        return {**header, "kid": _thumbprint(key)} if self.names_key else header

    def opener(self, key: OctKey) -> tuple[str, Decrypt]:
        """The encoded header of what a key has sealed, and what decrypts that."""
        header = json.dumps(self.header(key), separators=(",", ":")).encode()
        encoded = base64url.encode(header)
        return encoded, self.decrypt(key.raw_value, encoded.encode())


FORMATS = {
    each.name: each
    for each in (
        Format(
            name="next-auth-4",
            encryption="A256GCM",
            decrypt=_a256gcm,
            key_length=32,
            key_info="NextAuth.js Generated Encryption Key",
            salted=False,
            names_key=False,
        ),
        Format(
            name="authjs-5",
            encryption="A256CBC-HS512",
            decrypt=_a256cbc_hs512,
            key_length=64,
            key_info="Auth.js Generated Encryption Key ({})",
            salted=True,
            names_key=True,
        ),
    )
}


def derive(secret: bytes, info: str, length: int, salt: bytes = b"") -> bytes:
    """A key for one purpose: HKDF-SHA256 of a secret (RFC 5869)."""
    return HKDF(SHA256(), length, salt, info.encode()).derive(secret)


def _thumbprint(key: OctKey) -> str:
    """RFC 7638 thumbprint of a symmetric key, with SHA-512."""
    value = {"k": base64url.encode(key.raw_value), "kty": "oct"}
    return jwk.thumbprint(value, "sha512")


class Sealer:
    """Seals with the first secret, opens with every one.

    :param secrets: at least one, the newest first.
    :param format_name: a key of :data:`FORMATS`.
    :param cookie_name: part of the key in the format ``authjs-5``.
    """

    def __init__(self, secrets: Sequence[bytes], format_name: str, cookie_name: str) -> None:
        self._format = FORMATS[format_name]
        self._algorithms = ["dir", self._format.encryption]
        self._keys = [self._format.key(secret, cookie_name) for secret in secrets]
        self._openers = [self._format.opener(key) for key in self._keys]
        #: A session is immutable, so what was opened once can be handed out again. The
        #: cache is bounded, and keeps nothing of tokens that do not open.
        self.open = lru_cache(maxsize=CACHE_SIZE)(self._open)
        #: After a renewal many requests at once write the same session.
        self.seal = lru_cache(maxsize=CACHE_SIZE // 4)(self._seal)

    def _seal(self, session: Session) -> str:
        """The session as a compact JWE: base64url characters and dots."""
        return jwe.encrypt_compact(
            self._format.header(self._keys[0]),
            json.dumps(session.to_claims(), separators=(",", ":")),
            self._keys[0],
            algorithms=self._algorithms,
        )

    def _open(self, token: str) -> Session:
        """The session in a token.

        :raises CannotOpen: for anything but a token sealed with one of the secrets.
        """
        header, *segments = _segments(token)
        for expected, decrypt in self._openers:
            if header != expected:
                continue
            try:
                plaintext = decrypt(*segments)
            except (InvalidTag, ValueError):  # ValueError: an odd length
                continue
            return self._read(plaintext)
        raise CannotOpen("no secret opens it")

    def _read(self, plaintext: bytes) -> Session:
        """The session that a plaintext describes."""
        try:
            claims = _JSON.decode(plaintext.decode())
            if _SURROGATE.search(plaintext):
                json.dumps(claims, ensure_ascii=False).encode()
            return Session.from_claims(claims)
        except (ValueError, RecursionError) as error:
            raise CannotOpen(type(error).__name__) from None


def _segments(token: str) -> tuple[str, bytes, bytes, bytes]:
    """Encoded header, and decoded initialization vector, ciphertext and tag of a compact JWE.

    :raises CannotOpen: for any other text, and for a second spelling of one: it would be a
        second key in every cache and log.
    """
    parts = token.split(".") if len(token) <= MAX_TOKEN_LENGTH else []
    if len(parts) != 5 or parts[1]:
        raise CannotOpen("not a compact JWE with a direct key")
    try:
        iv, ciphertext, tag = map(base64url.decode, parts[2:])
    except ValueError:
        raise CannotOpen("not base64url") from None
    return parts[0], iv, ciphertext, tag


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
