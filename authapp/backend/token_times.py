"""The times in the claims of a token (RFC 7519 section 4.1): ``exp``, ``iat`` and ``nbf``.

The backend's clock may differ from ours. ``skew`` is the number of seconds by which it is ahead:
see :func:`clock_skew`. ``now`` and all times are in seconds since the epoch.
"""

import math

from authapp.backend.protocol import BackendUnavailable, UnexpectedAnswer
from authapp.session.session import MAX_LIFETIME, Claims

MAX_SKEW = 7_200
"""Seconds by which a backend's clock may differ from ours. If the ``iat`` of a token is further in
the future, the token is refused. If the ``iat`` is further in the past, the token is taken for an
old token, and the clocks are taken to agree."""


def numeric_date(claims: Claims, name: str) -> int | None:
    """Return a NumericDate (RFC 7519 section 2), rounded down. None if the claim is missing.

    :raises BackendUnavailable: if the claim is anything but a finite number.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value):
        return math.floor(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BackendUnavailable(f"{name} of a token is not a time")
    return value


def bounded(expires: int, now: float) -> int:
    """Return the expiry of a token, by our clock.

    :raises BackendUnavailable: if it is more than :data:`MAX_LIFETIME` seconds ahead.
    """
    if expires > now + MAX_LIFETIME:
        raise BackendUnavailable("a token that expires more than ten years from now")
    return expires


def check_begun(claims: Claims, now: float, leeway: int, skew: int = 0) -> None:
    """Check that ``iat`` and ``nbf`` are at most ``leeway`` seconds in the future.

    :raises BackendUnavailable: if one of them is later than that, or is not a number.
    """
    for name in ("iat", "nbf"):
        begins = numeric_date(claims, name)
        if begins is not None and begins - skew > now + leeway:
            raise BackendUnavailable(f"the access token is not valid yet: see its {name}")


def clock_skew(claims: Claims, now: float, leeway: int) -> int:
    """Return how many seconds the backend's clock is ahead of ours.

    The caller passes the claims of a token that the backend has just issued. So the clocks differ
    if ``iat`` differs from ``now`` by more than the leeway, or if the token has already expired.

    :returns: the seconds, negative if the backend's clock is behind ours. 0 if the token shows no
        difference, or if ``iat`` is more than :data:`MAX_SKEW` seconds in the past.
    :raises BackendUnavailable: if ``iat`` is too far in the future, or a time is not a number.
    """
    issued, expires = numeric_date(claims, "iat"), numeric_date(claims, "exp")
    expired = expires is not None and expires <= now
    if issued is None or (abs(issued - int(now)) <= leeway and not expired):
        return 0
    skew = issued - int(now)
    if skew > MAX_SKEW:
        raise UnexpectedAnswer(
            f"a token issued {skew} s in the future; compare the clocks here and at the backend"
        )
    # An old token says nothing about the backend's clock.
    return skew if skew >= -MAX_SKEW else 0
