"""Functions that read members of a JSON object. Each function checks the type of a value."""

from typing import Any, TypeGuard

_MAX_TIME = 253402300800  # the year 10000: a datetime cannot hold it


class NotASession(ValueError):
    """The claims in a decrypted token are not the claims of a session."""


def text(value: object) -> str | None:
    """Return ``value`` if ``value`` is a non-empty string, otherwise None."""
    return value if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...]:
    """Return the non-empty strings of a list, or the words of a string.

    For example, the claim ``scope`` is a string of words with spaces between them (RFC 6749 section
    3.3).

    :returns: the strings or words. An empty tuple if ``value`` is neither a list nor a string.
    """
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(filter(None, map(text, value))) if isinstance(value, list) else ()


def roles(value: object) -> tuple[str, ...]:
    """Return the non-empty strings of a list. A string is one role, even with spaces in it."""
    return (value,) if isinstance(value, str) and value else texts(value)


def is_user_id(value: object) -> TypeGuard[int | str]:
    """Return True if ``value`` can be a user's id: an integer or a non-empty string."""
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


def object_or_empty(value: object) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object, otherwise an empty dict."""
    return value if isinstance(value, dict) else {}


def is_time(value: object) -> TypeGuard[float]:
    """Return True if ``value`` is a time in epoch seconds, before the year 10000."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _MAX_TIME


def refuse_constant(name: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which Python's decoder of JSON accepts.

    This function is the ``parse_constant`` of the decoder.

    :raises ValueError: always.
    """
    raise ValueError(f"{name} is not JSON")


def required_object(value: object, name: str) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object.

    :param name: the name of the member, for the text of the error.
    :raises NotASession: if ``value`` is not a JSON object.
    """
    if not isinstance(value, dict):
        raise NotASession(f"{name} is not an object")
    return value


def required_text(value: object, name: str) -> str:
    """Return ``value`` if it is a non-empty string, otherwise raise :class:`NotASession`."""
    found = text(value)
    if found is None:
        raise NotASession(f"{name} is not a non-empty string")
    return found


def required_time(value: object, name: str) -> int:
    """Return ``value`` if it is whole epoch seconds, otherwise raise :class:`NotASession`."""
    if not is_time(value) or not isinstance(value, int):
        raise NotASession(f"{name} is not a time in whole seconds")
    return value


def user_id(value: object) -> int | str:
    """Return ``value`` if it can be a user's id, otherwise raise :class:`NotASession`."""
    if not is_user_id(value):
        raise NotASession("the id of the user is neither a non-empty string nor an integer")
    return value
