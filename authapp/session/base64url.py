"""Encode and decode base64url without padding (RFC 7515 section 2)."""

import base64
import binascii


def encode(raw: bytes) -> str:
    """Encode bytes as base64url, without ``=`` at the end."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Decode a string that :func:`encode` wrote.

    For the same bytes, this function accepts only one string. Python's decoder accepts many strings
    for the same bytes, because it ignores characters outside the alphabet, and the unused bits of
    the last character (RFC 4648 section 3.5).

    :returns: the bytes.
    :raises ValueError: if :func:`encode` would return a different string for these bytes.
    """
    raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    # It is enough to compare the last group. Only the last character can have unused bits, and each
    # ignored character makes the last group of ``text`` too long.
    groups = len(raw) // 3
    if encode(raw[3 * groups :]) != text[4 * groups :] or "+" in text or "/" in text:
        raise ValueError("not canonical base64url")
    return raw
