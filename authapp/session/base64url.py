"""Encode and decode base64url without padding (RFC 7515 section 2)."""

import base64
import binascii

_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""The allowed last characters of a base64url string. The index is its length modulo 4.

- Index 0: not used, because all characters are allowed.
- Index 1: no base64url string has such a length.
- Index 2 and 3: some bits of the last character encode no data. In the allowed characters, these
  bits are 0."""


def encode(raw: bytes) -> str:
    """Encode bytes as base64url, without ``=`` at the end."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Decode a string that :func:`encode` wrote.

    For the same bytes, this function accepts only one string. Python's decoder accepts many strings
    for the same bytes: it ignores characters outside the alphabet, and the bits of the last
    character that encode no data (RFC 4648 section 3.5).

    :returns: the bytes.
    :raises ValueError: if :func:`encode` would return a different string for these bytes.
    """
    length = len(text)
    raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-length % 4))
    # If the decoder has ignored a character, ``raw`` is too short. Only the last character can have
    # bits that encode no data.
    if (
        len(raw) != length * 3 // 4
        or (length % 4 and text[-1] not in _LAST[length % 4])
        or "+" in text
        or "/" in text
    ):
        raise ValueError("not canonical base64url")
    return raw
