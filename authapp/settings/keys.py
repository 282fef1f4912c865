"""Reads secrets, and the keys that verify access tokens (see :mod:`.allowed_values`).

Outside development, a secret that somebody could guess is refused: one from an example, for
example. Somebody who has the secret can forge sessions or tokens, and can try each guess offline.
"""

import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from authapp.backend.token_reader import Verify
from authapp.settings.allowed_values import EMBEDDED, ONLY_IN_DEVELOPMENT, Http, resolve, url

SECRET_LENGTH = 32
"""A secret must have at least this many bytes (RFC 7518 section 3.2 for HS256)."""

MAKE_ONE = 'make a good one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

_DISTINCT = 8
"""A secret must have at least this many different bytes."""

_PLACEHOLDERS = re.compile(
    "developmentonly|placeholder|example|insecure|donotuse|notasecret|notsecret|password|letmein"
    "|change(me|this|it|before|in)|pleasechange|replace(me|this|with|it)|(put|insert|enter)your"
    "|your(own|app|secret|key|random|jwt)|(my|super|top|very)secret|secretkey|(secret|key)(goes)?here"
    "|qwerty|asdfgh|abcdefgh"
)
"""Parts of placeholders, in lower case and without other characters than letters and digits."""

_NOT_FILLED_IN = re.compile(r"\$\{|\$\(|%\(|\{\{")
"""Parts of templates that no program has filled in."""


def secrets(development: bool) -> Callable[[str], tuple[bytes, ...]]:
    """Return a function that reads one or more secrets, one per line."""

    def read(text: str) -> tuple[bytes, ...]:
        secrets = tuple(resolve(line).encode() for line in text.split("\n") if line.strip())
        for number, secret in enumerate(secrets, 1):
            line = f"line {number}" if len(secrets) > 1 else "it"
            if problem := _too_short(secret) or (not development and _guessable(secret)):
                raise ValueError(f"{line} {problem}; {MAKE_ONE}")
        if len(set(secrets)) < len(secrets):
            raise ValueError("two lines hold the same secret")
        return secrets

    return read


def _too_short(secret: bytes) -> str | None:
    if len(secret) < SECRET_LENGTH:
        return f"has fewer than {SECRET_LENGTH} bytes"
    if len(set(secret)) < _DISTINCT:
        return f"has fewer than {_DISTINCT} different bytes"
    return None


def _guessable(secret: bytes) -> str | None:
    """Return what is wrong with a secret that is a placeholder, or None."""
    text = secret.decode(errors="replace").casefold()
    word = _PLACEHOLDERS.search(re.sub("[^a-z0-9]", "", text)) or _NOT_FILLED_IN.search(text)
    if word is None:
        return None
    return f"is a placeholder, which contains {word[0]!r}, and {ONLY_IN_DEVELOPMENT}"


def verify(development: bool, http: Http) -> Callable[[str], Verify]:
    """Return a function that reads ``backend.verify``: ``secret:…``, ``jwks:…`` or ``pem:…``."""

    def read(text: str) -> Verify:
        kind, _, value = text.partition(":")
        value = resolve(value)
        if kind == "secret" and value:
            secret = value.encode()
            if not development and (problem := _too_short(secret) or _guessable(secret)):
                raise ValueError(f"the secret {problem}; {MAKE_ONE}, for the backend and for here")
            return Verify(secret=value)
        if kind == "jwks" and value:
            allowed = "jwks: and a URL such as https://auth.example.com/jwks"
            allowed = f"jwks:{EMBEDDED}, or {allowed}" if development else allowed
            return Verify(jwks=value if value == EMBEDDED else url(value, http, allowed))
        if kind == "pem" and value:
            return Verify(pem=_public_key(value))
        raise ValueError("must be secret:…, jwks:URL or pem:PATH")

    return read


def _public_key(text: str) -> str:
    """Return a public key in PEM format. The text is the key, or the path of the key file."""
    try:
        pem = text if text.startswith("-----BEGIN") else Path(text).read_text(encoding="utf-8-sig")
        load_pem_public_key(pem.encode())
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise ValueError("pem: and a file with a public key in PEM format is allowed") from None
    return pem
