"""The tokens of a session, and who issued them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

_SUBJECT = ("sub", "sid")

SUB_ALONE = "sub without sid"
"""The name of the group of a user's sessions for which the provider has given no ``sid``."""


@dataclass(frozen=True)
class TokenPair:
    """The tokens in the backend's response to a login or a refresh.

    :param expires_in: seconds until the access token expires (RFC 6749 section 5.1). None: authapp
        uses the ``exp`` claim of the token, if the token is a JWT.
    :param refresh_expires_in: the same for the refresh token.
    :param user: claims about the user from the backend's response, or None.
    :param issuer: the OpenID Connect provider that issued the tokens, or None for the backend. A
        token is never sent to another issuer.
    :param id_claims: the claims about the user in the ID token and in the userinfo
        response. They have priority over the claims of the access token.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int | None = None
    refresh_expires_in: int | None = None
    user: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    issuer: str | None = None
    id_claims: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def alone(self) -> "TokenPair":
        """Return the two tokens without their lifetimes, as a session stores them."""
        return replace(self, expires_in=None, refresh_expires_in=None, user=None)

    @property
    def renewable(self) -> bool:
        """False if there is no refresh token. ``refresh`` is then the access token."""
        return self.issuer is None or self.refresh != self.access

    @property
    def subject(self) -> dict[str, Any]:
        """The ``sub`` and ``sid`` by which the provider knows the session. The backend has none."""
        return {name: value for name, value in (self.id_claims or {}).items() if name in _SUBJECT}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that a provider can end: the sessions of the ``sub``, and of the ``sid``."""
        said = self.subject
        if "sub" not in said:
            return ()
        said = {SUB_ALONE: said["sub"], **said}
        names = ("sub", "sid" if "sid" in said else SUB_ALONE)
        return tuple(group(self.issuer, name, said[name]) for name in names)


def group(issuer: str | None, name: str, value: object) -> str:
    """Return the name of a group of sessions: those with one ``sub`` or ``sid`` of a provider."""
    return json.dumps([issuer, name, value])
