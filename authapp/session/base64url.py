"""Encode and decode base64url without padding (RFC 7515 section 2)."""

import base64
import binascii


def encode(raw: bytes) -> str:
    """Encode bytes as text, without ``=`` at the end."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Decode a text that :func:`encode` wrote.

    Only one text is accepted for the same bytes. Python's decoder accepts many: it ignores
    characters outside the alphabet, and the spare bits of the last character (RFC 4648
    section 3.5).

    :returns: the bytes.
    :raises ValueError: if :func:`encode` would write these bytes in another way.
    """
    raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    # It is enough to encode the last bytes again. Spare bits can only be there, and each ignored
    # character makes the rest of the text too long.
    groups = len(raw) // 3
    if encode(raw[3 * groups :]) != text[4 * groups :] or "+" in text or "/" in text:
        raise ValueError("not canonical base64url")
    return raw
