"""The settings ``authapp.routes.<name>``: the paths of authapp's own pages."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from authapp.settings.ini import Ini

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "home": "/",
        "admin": "/admin",
        "login": "/login",
        "login_challenge": "/login/challenge",
        "logout": "/logout",
        "session": "/session",
        "session_ended": "/session/ended",
        "account": "/account",
        "account_sessions": "/account/sessions",
        "sessions": "/sessions",
        "health": "/health",
        "verify": "/verify",
        "login_oidc": "/login/oidc",
        "login_oidc_callback": "/login/oidc/callback",
        "logout_backchannel": "/logout/backchannel",
    }
)
"""Name of a route -> its path, below the application's ``route_prefix`` (contract section 4)."""

_REQUIRED = ("login", "login_challenge", "logout", "session")
"""Routes whose path cannot be ``none``, because authapp's other pages and its script need them."""


def read_paths(reader: Ini) -> Mapping[str, str | None]:
    """Read the path of each route.

    :param reader: gives the text of each setting, and collects the problems.
    :returns: name of a route -> its path, or None if the application does not want this route.
    """
    paths: dict[str, str | None] = dict(PATHS)
    for name, path in paths.items():
        paths[name] = reader.take(f"routes.{name}", _path, path)
    for name in _REQUIRED:
        if paths[name] is None:
            reader.problem(f"authapp.routes.{name} = none: the other pages need it; set a path")
    return MappingProxyType(paths)


def _path(text: str) -> str | None:
    """Read a path without placeholders. For ``none``, return None."""
    if text == "none":
        return None
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+", text) or {".", ".."} & set(text.split("/")):
        raise ValueError("must be a path such as /sign-in, or none")
    return text
