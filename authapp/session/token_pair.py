"""The tokens of a session, and who issued them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

_SUBJECT = ("sub", "sid")

SUB_ALONE = "sub without sid"
"""A ``name`` for :func:`group`: the sessions of one ``sub`` whose ID tokens contain no ``sid``."""


@dataclass(frozen=True)
class TokenPair:
    """The tokens in the backend's response to a login or a refresh.

    :param expires_in: seconds until the access token expires (RFC 6749 section 5.1). None: authapp
        uses the ``exp`` claim of the token, or else the setting ``backend.access_lifetime``.
    :param refresh_expires_in: seconds until the refresh token expires. None: authapp uses the
        ``exp`` claim of the refresh token, or else the setting ``refresh.lifetime``.
    :param user: claims about the user from the backend's response, or None.
    :param issuer: the OpenID Connect provider that issued the tokens. None: the backend issued
        them. A token is never sent to another issuer.
    :param id_claims: the claims about the user in the ID token and in the userinfo response. They
        have priority over the claims of the access token. None for tokens of the backend.
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
        """False if an OpenID Connect provider has issued no refresh token.

        In this case, ``refresh`` is the access token. For tokens of the backend, always True.
        """
        return self.issuer is None or self.refresh != self.access

    @property
    def subject(self) -> dict[str, Any]:
        """The ``sub`` and ``sid`` by which the OpenID Connect provider knows the session.

        Empty for tokens of the backend.
        """
        return {name: value for name, value in (self.id_claims or {}).items() if name in _SUBJECT}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups of sessions to which the session of these tokens belongs.

        An OpenID Connect provider can end all sessions of a group at once. The first group is all
        sessions with this ``sub``. The second is all sessions with this ``sid``. If the ID token
        has no ``sid``, the second is all sessions with this ``sub`` and without a ``sid``. Empty
        for tokens of the backend.
        """
        said = self.subject
        if "sub" not in said:
            return ()
        said = {SUB_ALONE: said["sub"], **said}
        names = ("sub", "sid" if "sid" in said else SUB_ALONE)
        return tuple(group(self.issuer, name, said[name]) for name in names)


def group(issuer: str | None, name: str, value: object) -> str:
    """Return the name of a group: all sessions with the same ``sub`` or ``sid`` of a provider.

    :param issuer: the provider.
    :param name: ``sub``, ``sid`` or :data:`SUB_ALONE`.
    :param value: the value of this ``sub`` or ``sid``.
    """
    return json.dumps([issuer, name, value])
