"""Reads tokens and lifetimes in the responses of a backend or of a provider."""

import re

from authapp.session.session import MAX_LIFETIME

MAX_TOKEN = 8 * 1024
"""The maximum length of a token, in characters. All tokens of a session must fit into three
cookies."""

_TOKEN = re.compile(rf"\A[!-~]{{1,{MAX_TOKEN}}}\Z")


def usable_token(value: object) -> str | None:
    """Return the token in ``value``, without ``Bearer``.

    :returns: the token. None if ``value`` is not a string, has a character that is not allowed in a
        header, or is longer than :data:`MAX_TOKEN`.
    """
    if not isinstance(value, str):
        return None
    value = value.removeprefix("Bearer ")
    return value if _TOKEN.match(value) else None


def seconds(value: object) -> int | None:
    """Return a lifetime (a number or a string of digits) as whole seconds. None if invalid."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 1 <= value <= MAX_LIFETIME else None
