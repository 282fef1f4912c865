"""How this site proves to a backend or to a provider who it is (RFC 6749 section 2.3, RFC 7523)."""

from urllib.parse import quote

CLIENT_AUTH = ("basic", "post", "private_key_jwt", "none")
"""How this site proves to the backend who it is:

- ``basic``: with its secret in the header ``Authorization`` (RFC 6749 section 2.3.1),
- ``post``: with its secret in a field of the request (RFC 6749 section 2.3.1),
- ``private_key_jwt``: with an assertion that this site signs (RFC 7523),
- ``none``: not at all.
"""


def default_client_auth(secret: str | None, key: object, otherwise: str) -> str:
    """Return the default of ``client_auth``.

    :param otherwise: the default if there is neither a key nor a secret.
    :returns: ``private_key_jwt`` if there is a key, or else ``basic`` if there is a secret.
    """
    return "private_key_jwt" if key else "basic" if secret else otherwise


def basic(client_id: str | None, secret: str | None) -> tuple[str, str]:
    """Return the user name and the password of HTTP Basic authentication.

    The id and the secret are form-encoded before Basic encodes them (RFC 6749 section 2.3.1).
    """
    return quote(client_id or "", ""), quote(secret or "", "")
