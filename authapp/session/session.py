"""The session: an immutable value, and pure functions of a session and the time.

This module does not use cookies, keys, the network or Pyramid. Times are whole seconds since the
epoch, except the time of sign-in, which may have a fraction.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

from authapp.session import base64url
from authapp.session.claims import (
    is_time,
    object_or_empty,
    required_object,
    required_text,
    required_time,
    roles,
    text,
    texts,
    user_id,
)
from authapp.session.token_pair import TokenPair as TokenPair

MAX_LIFETIME = 315_360_000
"""The longest lifetime of a token that authapp accepts, in seconds: ten years."""

Claims = Mapping[str, Any]
"""The claims of a token: a JSON object (RFC 7519 section 4)."""


class Phase(Enum):
    """The phase of a session (contract section 3)."""

    FRESH = "fresh"  # the access token is valid and need not be renewed yet
    DUE = "due"  # the access token is still valid, and it is time to renew it
    EXPIRED = "expired"  # the access token has expired, the refresh token is valid
    ENDED = "ended"  # the refresh token has expired

    @property
    def valid(self) -> bool:
        """True if the access token can be used, which means that the phase is fresh or due."""
        return self in (Phase.FRESH, Phase.DUE)


@dataclass(frozen=True)
class Validity:
    """The expiry times of the access token and the refresh token, in epoch seconds."""

    valid_until: int
    refresh_until: int


@dataclass(frozen=True)
class Identity:
    """The user who is signed in.

    :param claims: all claims of the access token (none if the token is not a JWT). After a sign-in
        with OpenID Connect, also the claims of the ID token.
    """

    id: int | str
    email: str | None = None
    name: str | None = None
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    claims: Claims = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def principals(self) -> tuple[str, ...]:
        """The principals of this user in ACLs, in addition to Everyone and Authenticated."""
        roles = (f"role:{role}" for role in self.roles)
        return (f"user:{self.id}", *roles, *(f"scope:{scope}" for scope in self.scopes))


@dataclass(frozen=True)
class Session:
    """The session of a signed-in user.

    A session is stored in the encrypted cookie. After a renewal, the store also keeps the new
    session for some time: see :mod:`authapp.renewal.successors`.

    :param sid: the session id. A sign-in creates the session id, and a renewal keeps it.
    :param issued_at: the time at which authapp received the tokens.
    :param authenticated_at: the time of sign-in.
    :param claims: the claims from which the session was read. Members that authapp does not know
        are written back unchanged.
    :param used_at: the time of the user's last recorded request, in epoch seconds. None if no
        request is recorded: see :attr:`last_used`.
    :param remember: True if the browser may keep the cookie after the browser is closed. None if
        the sign-in form did not ask the user.
    """

    identity: Identity
    tokens: TokenPair
    validity: Validity
    sid: str = field(repr=False)
    issued_at: int
    authenticated_at: float
    claims: Claims = field(default_factory=dict, repr=False, hash=False)
    used_at: int | None = None
    remember: bool | None = None

    @property
    def last_used(self) -> int:
        """The time of the user's last request that is recorded in the session, in epoch seconds.

        If no request is recorded, it is ``issued_at``.
        """
        return self.issued_at if self.used_at is None else self.used_at

    @property
    def digest(self) -> str:
        """The name of this session in logs: 16 hex digits of the SHA-256 hash of the session id."""
        return hashlib.sha256(self.sid.encode()).hexdigest()[:16]

    @classmethod
    def start(
        cls,
        identity: Identity,
        tokens: TokenPair,
        validity: Validity,
        now: float,
        authenticated_at: float | None = None,
        remember: bool | None = None,
    ) -> "Session":
        """Create the session of a user who has just signed in, with a new session id.

        :param authenticated_at: the time of sign-in. The default is ``now``.
        :param remember: see :class:`Session`.
        """
        return cls(
            identity,
            tokens.alone(),
            validity,
            sid=secrets.token_urlsafe(16),
            issued_at=int(now),
            authenticated_at=now if authenticated_at is None else authenticated_at,
            used_at=int(now),
            remember=remember,
        )

    def renewed(
        self, identity: Identity, tokens: TokenPair, validity: Validity, now: float
    ) -> "Session":
        """Return the successor of this session: the same session id and user, with new tokens.

        If ``identity`` has no name or no email, the successor keeps the name or email of this
        session, which may come from the sign-in form or a Next.js application. Roles and scopes
        come from ``identity`` only.
        """
        before = self.identity
        return replace(
            self,
            identity=replace(
                identity, name=identity.name or before.name, email=identity.email or before.email
            ),
            tokens=tokens.alone(),
            validity=validity,
            issued_at=int(now),
            used_at=self.last_used,  # a renewal is not a request of the user
            claims={name: value for name, value in self.claims.items() if name != "error"},
        )

    def phase(self, now: float, buffer: float) -> Phase:
        """Return the phase of this session at the time ``now``.

        :param buffer: an access token is due for renewal this many seconds before it expires. If
            ``buffer`` is longer than a third of the token's lifetime, this third is used instead,
            so that a short-lived token is not due at every request.
        """
        valid_until = self.validity.valid_until
        left = valid_until - now
        if self.validity.refresh_until <= now:
            return Phase.ENDED
        if left <= 0:
            return Phase.EXPIRED
        if left > min(buffer, (valid_until - self.issued_at) / 3):
            return Phase.FRESH
        return Phase.DUE

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to encrypt (contract section 2). Each call creates a new ``jti``."""
        user, before = self.identity, object_or_empty(self.claims.get("data"))
        data = {
            **before,
            "tokens": {
                **object_or_empty(before.get("tokens")),
                "access": self.tokens.access,
                "refresh": self.tokens.refresh,
            },
            "user": {
                **object_or_empty(before.get("user")),
                "id": user.id,
                "email": user.email,
                "roles": list(user.roles),
                "scopes": list(user.scopes),
            },
            "validity": {
                **object_or_empty(before.get("validity")),
                "valid_until": self.validity.valid_until,
                "refresh_until": self.validity.refresh_until,
            },
            "sid": self.sid,
            "auth_time": self.authenticated_at,
        }
        if self.used_at is not None:
            # If ``iat`` differs when the cookie is read, another application has written it.
            data["used"] = {"at": self.used_at, "iat": self.issued_at}
        if self.remember is not None:
            data["remember"] = self.remember
        if self.tokens.issuer is not None:
            data["tokens"]["issuer"] = self.tokens.issuer
            data["id_claims"] = self.tokens.id_claims
        return {
            **self.claims,
            "sub": str(user.id),
            "name": user.name,
            "email": user.email,
            "data": data,
            "iat": self.issued_at,
            "exp": self.validity.refresh_until,
            "jti": secrets.token_urlsafe(12),
        }

    def largest_part(self) -> str:
        """Return the name and the size of the largest part of this session, for the log.

        If this part is the access token, its largest claim is named too.
        """
        tokens = len(self.tokens.access) + len(self.tokens.refresh)
        parts = {
            "the access token": len(self.tokens.access),
            "the refresh token": len(self.tokens.refresh),
            "everything else": len(json.dumps(self.to_claims())) - tokens,
        }
        name = max(parts, key=lambda part: parts[part])
        message = f"{name} has {parts[name]} bytes"
        sizes = {claim: len(json.dumps(value)) for claim, value in self.identity.claims.items()}
        if name == "the access token" and sizes:
            largest = max(sizes, key=lambda claim: sizes[claim])
            message += f", its claim {largest[:64]!r} {sizes[largest]}"
        return message

    @classmethod
    def from_claims(cls, claims: object) -> "Session":
        """Create a session from decrypted claims.

        A Next.js application that shares the cookie may have written the claims. Such claims have
        no ``sid`` and no ``auth_time``. Optional members are ignored if their type is wrong.

        :param claims: the JSON value that was in the session cookie, decrypted and decoded.
        :raises NotASession: if a required member is missing or has the wrong type.
        """
        top = required_object(claims, "the claims")
        data = required_object(top.get("data"), "data")
        tokens = required_object(data.get("tokens"), "data.tokens")
        validity = required_object(data.get("validity"), "data.validity")
        access = required_text(tokens.get("access"), "data.tokens.access")
        refresh = required_text(tokens.get("refresh"), "data.tokens.refresh")
        issued_at = required_time(top.get("iat"), "iat")
        user, signed_in = object_or_empty(data.get("user")), data.get("auth_time")
        remember = data.get("remember")
        issuer, id_claims = text(tokens.get("issuer")), object_or_empty(data.get("id_claims"))
        return cls(
            identity=Identity(
                id=user_id(top.get("sub") if user.get("id") is None else user["id"]),
                email=text(user.get("email")) or text(top.get("email")),
                name=text(top.get("name")),
                roles=roles(user.get("roles")),
                scopes=texts(user.get("scopes")),
                claims={**jwt_claims(access), **id_claims},
            ),
            tokens=TokenPair(access, refresh, issuer=issuer, id_claims=id_claims or None),
            validity=Validity(
                required_time(validity.get("valid_until"), "valid_until"),
                min(
                    required_time(validity.get("refresh_until"), "refresh_until"),
                    required_time(top.get("exp"), "exp"),
                ),
            ),
            sid=text(data.get("sid")) or _derive_sid(refresh),
            issued_at=issued_at,
            authenticated_at=signed_in if is_time(signed_in) else issued_at,
            claims=top,
            used_at=_used_at(data.get("used"), issued_at),
            remember=remember if isinstance(remember, bool) else None,
        )


def _used_at(value: object, issued_at: int) -> int | None:
    """Read the time of the user's last request.

    authapp stores this time in ``data.used``, with a copy of the claim ``iat``. If the copy differs
    from ``iat``, a Next.js application that shares the cookie has written a new ``iat``. Then the
    user used that application at ``iat``. The later one of the stored time and ``iat`` is returned.

    :param value: the member ``data.used`` of the claims: the stored time, and the copy of ``iat``.
    :param issued_at: the member ``iat`` of the claims.
    :returns: epoch seconds, or None if no time is stored.
    """
    used = object_or_empty(value)
    at = used.get("at")
    if not is_time(at):
        return None
    return int(at) if used.get("iat") == issued_at else max(int(at), issued_at)


def _derive_sid(refresh: str) -> str:
    """Derive a session id for a session that another application wrote without a session id.

    All copies of the session have the same refresh token, so all copies get the same session id.
    No secret is used, because processes may have different secrets while secrets are rotated.
    """
    digest = hashlib.sha256(b"authapp session id\0" + refresh.encode(errors="replace")).digest()
    return base64url.encode(digest[:16])


def jwt_claims(token: str) -> dict[str, Any]:
    """Read the claims of a JWT without verifying it. Use this for trusted tokens only.

    :returns: the claims, or an empty dict if ``token`` is not a JWT (RFC 7519 section 3).
    """
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==").decode())
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
