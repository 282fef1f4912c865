"""Encrypt a session into a token (seal), and decrypt a token into a session (open).

See contract section 2. A token is a compact JWE (RFC 7516 section 3.1) with ``dir`` key management.
There are two formats, and Auth.js writes the same formats.

All tokens that are encrypted with one key have the same protected header, byte for byte. authapp
does not parse the header, but compares it with the expected bytes. So an attacker cannot choose
another algorithm, another key or compression.

This module calls the ciphers of the package cryptography directly, because joserfc takes several
times as long. Speed matters: every session that is not in the cache must be decrypted, and every
renewed session must be encrypted. Tests compare the tokens with those of joserfc and Auth.js.
"""

import hmac
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwk
from joserfc.jwk import OctKey

from authapp.session import base64url
from authapp.session.claims import refuse_constant
from authapp.session.session import Session

_write_json = json.JSONEncoder(separators=(",", ":")).encode

CACHE_SIZE = 4096
"""How many decrypted sessions are cached. Each takes about 10 KB of memory."""

MAX_TOKEN_LENGTH = 16_384
"""The length of the longest encrypted session that authapp decrypts, in characters. authapp itself
writes only shorter ones."""

_JSON = json.JSONDecoder(parse_constant=refuse_constant)

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class CannotOpen(ValueError):
    """The token was not encrypted with one of the secrets, or does not contain a session."""


class ContentEncryption(NamedTuple):
    """The two directions of an authenticated encryption (RFC 7518 section 5) with one key.

    :ivar encrypt: takes the plaintext, and returns a new random initialization vector, the
        ciphertext and the tag.
    :ivar decrypt: takes the initialization vector, the ciphertext and the tag, and returns the
        plaintext. It raises ``InvalidTag`` or ``ValueError`` if another key was used.
    """

    encrypt: Callable[[bytes], tuple[bytes, bytes, bytes]]
    decrypt: Callable[[bytes, bytes, bytes], bytes]


def _a256gcm(key: bytes, header: bytes) -> ContentEncryption:
    """Return A256GCM (RFC 7518 section 5.3).

    :param header: the encoded protected header. It is the additional authenticated data.
    """
    cipher = AESGCM(key)

    def encrypt(plaintext: bytes) -> tuple[bytes, bytes, bytes]:
        iv = os.urandom(12)
        sealed = cipher.encrypt(iv, plaintext, header)
        return iv, sealed[:-16], sealed[-16:]

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        if len(iv) != 12 or len(tag) != 16:
            raise InvalidTag
        return cipher.decrypt(iv, ciphertext + tag, header)

    return ContentEncryption(encrypt, decrypt)


def _a256cbc_hs512(key: bytes, header: bytes) -> ContentEncryption:
    """Return A256CBC-HS512 (RFC 7518 sections 5.2.2 and 5.2.5).

    :param header: the encoded protected header. It is the additional authenticated data.
    """
    mac_key, cipher = key[:32], AES(key[32:])
    length = (8 * len(header)).to_bytes(8, "big")

    def tag_of(iv: bytes, ciphertext: bytes) -> bytes:
        # hmac.digest() would release the GIL for data of this length. Under load, the thread would
        # then wait 5 ms until it gets the GIL again.
        signed = header + iv + ciphertext + length
        return hmac.new(mac_key, signed, "sha512").digest()[:32]

    def encrypt(plaintext: bytes) -> tuple[bytes, bytes, bytes]:
        iv, missing = os.urandom(16), 16 - len(plaintext) % 16
        encryptor = Cipher(cipher, CBC(iv)).encryptor()
        padded = plaintext + bytes([missing]) * missing  # RFC 5652 section 6.3
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        return iv, ciphertext, tag_of(iv, ciphertext)

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        if not hmac.compare_digest(tag_of(iv, ciphertext), tag):
            raise InvalidTag
        decryptor = Cipher(cipher, CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        # The tag is right, so the padding tells nobody anything.
        if not padded or not 1 <= padded[-1] <= 16:
            raise InvalidTag
        return padded[: -padded[-1]]

    return ContentEncryption(encrypt, decrypt)


@dataclass(frozen=True)
class Format:
    """The key derivation and the encryption of one version of Auth.js.

    :param name: the value of ``authapp.session.format``.
    :param encryption: the ``enc`` of the header (RFC 7518 section 5.1).
    :param cipher: a function that takes a key and an encoded header, and returns the
        :class:`ContentEncryption` of tokens with that key and header.
    :param key_length: the length of the key in bytes.
    :param key_info: the HKDF info. ``{}`` is replaced by the salt.
    :param salted: if True, the HKDF salt is the name of the cookie. If False, the salt is empty.
    :param names_key: if True, the header has the member ``kid``: the thumbprint of the key.
    """

    name: str
    encryption: str
    cipher: Callable[[bytes, bytes], ContentEncryption]
    key_length: int
    key_info: str
    salted: bool
    names_key: bool

    def key(self, secret: bytes, cookie_name: str) -> OctKey:
        """Derive the key from a secret.

        :param cookie_name: the name of the session cookie. Only ``authjs-5`` uses it.
        """
        salt = cookie_name if self.salted else ""
        info = self.key_info.format(salt)
        return OctKey.import_key(derive(secret, info, self.key_length, salt.encode()))

    def header(self, key: OctKey) -> dict[str, str]:
        """Return the protected header of tokens of this key. Its members are in Auth.js's order."""
        header = {"alg": "dir", "enc": self.encryption}
        return {**header, "kid": _thumbprint(key)} if self.names_key else header

    def with_key(self, key: OctKey) -> tuple[str, ContentEncryption]:
        """Return what is needed to recognize, encrypt and decrypt tokens of a key.

        :returns: the encoded header of the tokens, and their encryption.
        """
        encoded = base64url.encode(_write_json(self.header(key)).encode())
        return encoded, self.cipher(key.raw_value, encoded.encode())


FORMATS = {
    each.name: each
    for each in (
        Format(
            name="next-auth-4",
            encryption="A256GCM",
            cipher=_a256gcm,
            key_length=32,
            key_info="NextAuth.js Generated Encryption Key",
            salted=False,
            names_key=False,
        ),
        Format(
            name="authjs-5",
            encryption="A256CBC-HS512",
            cipher=_a256cbc_hs512,
            key_length=64,
            key_info="Auth.js Generated Encryption Key ({})",
            salted=True,
            names_key=True,
        ),
    )
}
"""The formats of a session cookie, by the values of ``authapp.session.format``."""


def derive(secret: bytes, info: str, length: int, salt: bytes = b"") -> bytes:
    """Derive a key for one purpose from a secret, with HKDF-SHA256 (RFC 5869).

    :param info: the name of the purpose. The keys of different purposes are different.
    :param length: the length of the key in bytes.
    :param salt: the HKDF salt.
    :returns: the key.
    """
    return HKDF(SHA256(), length, salt, info.encode()).derive(secret)


def fingerprint(secret: bytes) -> str:
    """Return the name of a secret: 16 hex digits, from which nobody can compute the secret.

    Two applications with the same fingerprint have the same secret.
    """
    return derive(secret, "authapp fingerprint", 8).hex()


def _thumbprint(key: OctKey) -> str:
    """Return the thumbprint of a symmetric key (RFC 7638), with SHA-512."""
    value = {"k": base64url.encode(key.raw_value), "kty": "oct"}
    return jwk.thumbprint(value, "sha512")


class Sealer:
    """Encrypts and decrypts sessions.

    The first secret encrypts. Each of the secrets can decrypt, so secrets can be rotated without
    signing users out.

    :param secrets: at least one secret. The newest secret is first.
    :param format_name: a key of :data:`FORMATS`.
    :param cookie_name: the name of the session cookie. In ``authjs-5`` the key depends on the name.
    """

    def __init__(self, secrets: Sequence[bytes], format_name: str, cookie_name: str) -> None:
        version = FORMATS[format_name]
        keys = [version.key(secret, cookie_name) for secret in secrets]
        self._ciphers = [version.with_key(key) for key in keys]
        #: Decrypts a session: :meth:`_open` with a cache. Sessions are immutable, so a cached
        #: session can be returned to many requests. A failed decryption is not cached.
        self.open = lru_cache(maxsize=CACHE_SIZE)(self._open)
        #: Encrypts a session: :meth:`_seal` with a cache. After a renewal, many requests write the
        #: same session.
        self.seal = lru_cache(maxsize=CACHE_SIZE // 4)(self._seal)

    def _seal(self, session: Session) -> str:
        """Encrypt a session.

        :returns: a compact JWE, which consists of base64url characters and dots.
        """
        header, cipher = self._ciphers[0]
        segments = cipher.encrypt(_write_json(session.to_claims()).encode())
        iv, ciphertext, tag = map(base64url.encode, segments)
        return f"{header}..{iv}.{ciphertext}.{tag}"

    def _open(self, token: str) -> Session:
        """Decrypt a token.

        :param token: any string.
        :returns: the session in the token.
        :raises CannotOpen: if no secret decrypts the token, or the token contains no session.
        """
        header, *segments = _segments(token)
        for expected, cipher in self._ciphers:
            if header != expected:
                continue
            try:
                plaintext = cipher.decrypt(*segments)
            except (InvalidTag, ValueError):  # ValueError: an impossible length
                continue
            return self._read(plaintext)
        raise CannotOpen("no secret decrypts the token")

    def _read(self, plaintext: bytes) -> Session:
        """Read the session from a plaintext.

        :raises CannotOpen: if the plaintext is not valid JSON, or not a session.
        """
        try:
            claims = _JSON.decode(plaintext.decode())
            if _SURROGATE.search(plaintext):  # a lone surrogate cannot be encoded as UTF-8
                json.dumps(claims, ensure_ascii=False).encode()
            return Session.from_claims(claims)
        except (ValueError, RecursionError) as error:
            raise CannotOpen(type(error).__name__) from None


def _segments(token: str) -> tuple[str, bytes, bytes, bytes]:
    """Split a compact JWE with a direct key.

    Each part must be canonical base64url. Otherwise an attacker could encode one token as many
    different strings, and fill the cache with these strings.

    :returns: the encoded header, and the decoded initialization vector, ciphertext and tag.
    :raises CannotOpen: if ``token`` is not a compact JWE with a direct key.
    """
    parts = token.split(".") if len(token) <= MAX_TOKEN_LENGTH else []
    if len(parts) != 5 or parts[1]:
        raise CannotOpen("not a compact JWE with a direct key")
    try:
        iv, ciphertext, tag = map(base64url.decode, parts[2:])
    except ValueError:
        raise CannotOpen("not base64url") from None
    return parts[0], iv, ciphertext, tag
