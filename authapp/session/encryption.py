"""Encrypt a session into a token (seal), and decrypt a token into a session (open).

See contract section 2. A token is a compact JWE (RFC 7516 section 3.1) with ``dir`` key management.
There are two formats, and Auth.js writes the same formats.

All tokens that are encrypted with one key have the same protected header, byte for byte. authapp
compares the header with the expected bytes and does not parse it. So an attacker cannot choose
another algorithm, another key or compression.

joserfc encrypts the tokens. To decrypt a token, this module calls the cipher directly, because that
is faster than joserfc. Decryption is more frequent: each session that is not in the cache must be
decrypted.
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
"""How many decrypted tokens are cached. Each cached token takes about 10 KB of memory."""

MAX_TOKEN_LENGTH = 16_384
"""The most characters of a token. A longer token is not decrypted. The chunks of a token of
authapp have fewer characters in total."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class CannotOpen(ValueError):
    """The token was not encrypted with one of the secrets, or does not contain a session."""


Decrypt = Callable[[bytes, bytes, bytes], bytes]
"""A function that takes an initialization vector, a ciphertext and a tag. It returns the plaintext.
"""


def _a256gcm(key: bytes, header: bytes) -> Decrypt:
    """Return a function that decrypts A256GCM (RFC 7518 section 5.3).

    :param header: the encoded protected header. It is the additional authenticated data.
    """
    cipher = AESGCM(key)

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        if len(iv) != 12 or len(tag) != 16:
            raise InvalidTag
        return cipher.decrypt(iv, ciphertext + tag, header)

    return decrypt


def _a256cbc_hs512(key: bytes, header: bytes) -> Decrypt:
    """Return a function that decrypts A256CBC-HS512 (RFC 7518 section 5.2.2.2).

    :param header: the encoded protected header. It is the additional authenticated data.
    """
    mac_key, cipher = key[:32], AES(key[32:])
    length = (8 * len(header)).to_bytes(8, "big")

    def decrypt(iv: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        signed = header + iv + ciphertext + length
        # hmac.digest() would release the GIL for data of this length. Under load, a thread then
        # waits 5 ms for the GIL.
        if not hmac.compare_digest(hmac.new(mac_key, signed, "sha512").digest()[:32], tag):
            raise InvalidTag
        decryptor, unpadder = Cipher(cipher, CBC(iv)).decryptor(), PKCS7(128).unpadder()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()

    return decrypt


@dataclass(frozen=True)
class Format:
    """The key derivation and the encryption of one version of Auth.js.

    :param name: the value of ``authapp.session.format``.
    :param encryption: the ``enc`` of the header (RFC 7518 section 5.1).
    :param decrypt: a function that takes a key and an encoded header, and returns a
        :data:`Decrypt` function for tokens with that key and header.
    :param key_length: the length of the key in bytes.
    :param key_info: the HKDF info. ``{}`` is replaced by the salt.
    :param salted: if True, the HKDF salt is the name of the cookie. If False, the salt is empty.
    :param names_key: if True, the header has the member ``kid``: the thumbprint of the key.
    """

    name: str
    encryption: str
    decrypt: Callable[[bytes, bytes], Decrypt]
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
        """Return the protected header of tokens of this key, in the member order of Auth.js."""
        header = {"alg": "dir", "enc": self.encryption}
        return {**header, "kid": _thumbprint(key)} if self.names_key else header

    def opener(self, key: OctKey) -> tuple[str, Decrypt]:
        """Return the encoded header of tokens of a key, and a function that decrypts such tokens.

        The header is needed to recognize such tokens.
        """
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
        self._format = FORMATS[format_name]
        self._algorithms = ["dir", self._format.encryption]
        self._keys = [self._format.key(secret, cookie_name) for secret in secrets]
        self._openers = [self._format.opener(key) for key in self._keys]
        #: Decrypts a token: :meth:`_open` with a cache. Sessions are immutable, so a cached session
        #: can be returned to many requests. Tokens that cannot be decrypted are not cached.
        self.open = lru_cache(maxsize=CACHE_SIZE)(self._open)
        #: Encrypts a session: :meth:`_seal` with a cache. After a renewal, many requests write the
        #: same session.
        self.seal = lru_cache(maxsize=CACHE_SIZE // 4)(self._seal)

    def _seal(self, session: Session) -> str:
        """Encrypt a session.

        :returns: a compact JWE, which consists of base64url characters and dots.
        """
        return jwe.encrypt_compact(
            self._format.header(self._keys[0]),
            json.dumps(session.to_claims(), separators=(",", ":")),
            self._keys[0],
            algorithms=self._algorithms,
        )

    def _open(self, token: str) -> Session:
        """Decrypt a token.

        :param token: any string.
        :returns: the session in the token.
        :raises CannotOpen: if no secret decrypts the token, or the token contains no session.
        """
        header, *segments = _segments(token)
        for expected, decrypt in self._openers:
            if header != expected:
                continue
            try:
                plaintext = decrypt(*segments)
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

    Each part must be canonical base64url. Otherwise an attacker could write one token in many ways,
    and fill the cache with them.

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


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
