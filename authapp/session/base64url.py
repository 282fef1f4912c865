"""base64url without padding (RFC 7515 section 2)."""

import base64
import binascii


def encode(raw: bytes) -> str:
    """The text for these bytes."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes for which :func:`encode` writes this very text.

    :raises ValueError: for any other text, such as a second spelling: decoders pass over odd
        characters and over the spare bits of the last one (RFC 4648 section 3.5).
    """
    raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    # What was passed over makes the rest of the text too long; spare bits are in the rest only.
    whole = len(raw) // 3
    if encode(raw[3 * whole :]) != text[4 * whole :] or "+" in text or "/" in text:
        raise ValueError("a second spelling")
    return raw
