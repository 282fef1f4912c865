"""Request headers that tell an application who the user is, or where a request comes from.

Programs in front of an application add such headers. A client must not be able to send one of them
to the application, in any spelling. Many servers read ``X_Auth_Request_User`` as
``X-Auth-Request-User``, and PHP reads ``X.Auth.Request.User`` in the same way. So :func:`plain`
gives all spellings of a header the same name.
"""

import re

_SEPARATORS = {
    code: "-" for code in range(256) if not (chr(code).isascii() and chr(code).isalnum())
}

_IDENTITY = re.compile(
    "x-auth-request-"  # oauth2-proxy and authapp
    "|(x-)?remote-(?!(addr|address|client-ip|country|host|ip|port|proto)$)"  # Authelia, Kubernetes
    "|x-(authenticated|authentik|vouch|webauth)-"  # Kong, authentik, Vouch, Grafana
    "|x-(forwarded|original|proxy)-"  # oauth2-proxy and others
    "(access-token|emails?|groups?|id-token|preferred-.*|roles?"
    "|user(-?name|-?id|-(?!agent$|addr$|ip$).*)?)$"
)
_ADDRESS = re.compile("(x-)?remote-|x-(forwarded|original)-|x-real-ip$")


def plain(name: str) -> str:
    """Return the name of a header in lower case, with a hyphen for each separator.

    Each character that is neither a letter nor a digit of ASCII is a separator. For example,
    ``X_Auth.Request-User`` becomes ``x-auth-request-user``.

    :param name: the name, decoded as latin-1 (PEP 3333).
    """
    return name.translate(_SEPARATORS).lower()


def names_user(name: str) -> bool:
    """Return True if a header tells applications who the user is, or what the user may do.

    Return False for a header that says only where a request comes from, such as
    ``X-Forwarded-For``, ``X-Forwarded-Host`` or ``X-Remote-IP``. Ordinary proxies add these.

    :param name: the name of the header, from :func:`plain`.
    """
    return _IDENTITY.match(name) is not None


def names_user_or_address(name: str) -> bool:
    """Return True if a header tells applications who the user is, or where a request comes from.

    :param name: the name of the header, from :func:`plain`.
    """
    return names_user(name) or _ADDRESS.match(name) is not None
