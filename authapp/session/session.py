"""The session as a value, and pure functions of (session, now).

Nothing here knows of cookies, keys, the network or Pyramid. Times are seconds since the
epoch, and whole but for the moment of the sign-in.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, TypeGuard

from authapp.session import base64url

MAX_LIFETIME = 315_360_000
"""Ten years in seconds: no token is believed to live longer."""

_MAX_TIME = 253402300800  # the year 10000: what a datetime can still show

Claims = Mapping[str, Any]
"""A JSON object: the claims of a token."""


class NotASession(ValueError):
    """Claims that were sealed with our key and are not a session all the same."""


class Phase(Enum):
    """Where a session stands in its life; contract section 3."""

    FRESH = "fresh"
    DUE = "due"
    EXPIRED = "expired"
    ENDED = "ended"

    @property
    def valid(self) -> bool:
        """Whether the access token can be used."""
        return self in (Phase.FRESH, Phase.DUE)


@dataclass(frozen=True)
class TokenPair:
    """What a backend answers to a login or a refresh.

    ``expires_in`` and ``refresh_expires_in`` are seconds from now, where the backend names
    them beside the tokens (RFC 6749 section 5.1); a token that is a JWT says it itself.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int | None = None
    refresh_expires_in: int | None = None

    def alone(self) -> "TokenPair":
        """The tokens without their lifetimes, which a session keeps as its validity."""
        return TokenPair(self.access, self.refresh)


@dataclass(frozen=True)
class Validity:
    """Until when the access token and the refresh token hold: whole epoch seconds."""

    valid_until: int
    refresh_until: int


@dataclass(frozen=True)
class Identity:
    """Who is signed in.

    ``claims`` are all claims of the access token (empty when it is not a JWT).
    """

    id: int | str
    email: str | None = None
    name: str | None = None
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    claims: Claims = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def principals(self) -> tuple[str, ...]:
        """What ACLs call this user, beside everybody and all who are signed in."""
        roles = (f"role:{role}" for role in self.roles)
        return (f"user:{self.id}", *roles, *(f"scope:{scope}" for scope in self.scopes))


@dataclass(frozen=True)
class Session:
    """One signed-in session: immutable, sealed into the cookie and kept nowhere else.

    ``sid`` is made at sign-in and kept through every renewal. ``issued_at`` is when the
    tokens arrived, ``authenticated_at`` when the user signed in. ``claims`` are those the
    session was opened from: members that authapp does not know survive in it.
    """

    identity: Identity
    tokens: TokenPair
    validity: Validity
    sid: str = field(repr=False)
    issued_at: int
    authenticated_at: float
    claims: Claims = field(default_factory=dict, repr=False, hash=False)

    @property
    def digest(self) -> str:
        """What logs call it."""
        return hashlib.sha256(self.sid.encode()).hexdigest()[:16]

    @classmethod
    def start(
        cls,
        identity: Identity,
        tokens: TokenPair,
        validity: Validity,
        now: float,
        authenticated_at: float | None = None,
    ) -> "Session":
        """A new session, with a new id, for somebody who has just signed in.

        :param authenticated_at: when that was, if not ``now``.
        """
        began = now if authenticated_at is None else authenticated_at
        sid = secrets.token_urlsafe(16)
        return cls(identity, tokens.alone(), validity, sid, int(now), began)

    def renewed(
        self, identity: Identity, tokens: TokenPair, validity: Validity, now: float
    ) -> "Session":
        """The successor of this session: same id and owner, new tokens.

        A name or an email that the new access token does not tell stays as it was: it came
        from elsewhere (what was typed to sign in, or a Next.js application). Roles and
        scopes are what the new token says, and nothing more.
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
            claims={name: value for name, value in self.claims.items() if name != "error"},
        )

    def phase(self, now: float, buffer: float) -> Phase:
        """Where this session stands at ``now``.

        :param buffer: how many seconds before its expiry the access token is renewed; cut
            to a third of the token's own life, so that a short-lived one is not renewed on
            every request.
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
        """The claims to seal, in the form of contract section 2, with a new ``jti``."""
        who, before = self.identity, _members(self.claims.get("data"))
        data = {
            **before,
            "tokens": {
                **_members(before.get("tokens")),
                "access": self.tokens.access,
                "refresh": self.tokens.refresh,
            },
            "user": {
                **_members(before.get("user")),
                "id": who.id,
                "email": who.email,
                "roles": list(who.roles),
                "scopes": list(who.scopes),
            },
            "validity": {
                **_members(before.get("validity")),
                "valid_until": self.validity.valid_until,
                "refresh_until": self.validity.refresh_until,
            },
            "sid": self.sid,
            "auth_time": self.authenticated_at,
        }
        return {
            **self.claims,
            "sub": str(who.id),
            "name": who.name,
            "email": who.email,
            "data": data,
            "iat": self.issued_at,
            "exp": self.validity.refresh_until,
            "jti": secrets.token_urlsafe(12),
        }

    def largest_part(self) -> str:
        """Which part of this session takes most room, for the log: names and bytes only."""
        tokens = len(self.tokens.access) + len(self.tokens.refresh)
        parts = {
            "the access token": len(self.tokens.access),
            "the refresh token": len(self.tokens.refresh),
            "all else": len(json.dumps(self.to_claims())) - tokens,
        }
        name = max(parts, key=lambda part: parts[part])
        said = f"{name} has {parts[name]} bytes"
        sizes = {claim: len(json.dumps(value)) for claim, value in self.identity.claims.items()}
        if name == "the access token" and sizes:
            largest = max(sizes, key=lambda claim: sizes[claim])
            said += f", its claim {largest[:64]!r} {sizes[largest]}"
        return said

    @classmethod
    def from_claims(cls, claims: object) -> "Session":
        """The session that opened claims describe.

        :param claims: what was sealed: by us, or by a Next.js application that shares the
            cookie, knows neither ``sid`` nor ``auth_time``, and may have members of its own
            under any name that a session can do without.
        :raises NotASession: when a member that it needs is missing or of another type.
        """
        top = _object(claims, "the claims")
        data = _object(top.get("data"), "data")
        tokens = _object(data.get("tokens"), "data.tokens")
        validity = _object(data.get("validity"), "data.validity")
        access = _needed(tokens.get("access"), "data.tokens.access")
        refresh = _needed(tokens.get("refresh"), "data.tokens.refresh")
        issued_at = _time(top.get("iat"), "iat")
        user, began = _members(data.get("user")), data.get("auth_time")
        return cls(
            identity=Identity(
                id=_id(top.get("sub") if user.get("id") is None else user["id"]),
                email=text(user.get("email")) or text(top.get("email")),
                name=text(top.get("name")),
                roles=texts(user.get("roles")),
                scopes=texts(user.get("scopes")),
                claims=jwt_claims(access),
            ),
            tokens=TokenPair(access, refresh),
            validity=Validity(
                _time(validity.get("valid_until"), "valid_until"),
                min(
                    _time(validity.get("refresh_until"), "refresh_until"),
                    _time(top.get("exp"), "exp"),
                ),
            ),
            sid=text(data.get("sid")) or _sid_for(refresh),
            issued_at=issued_at,
            authenticated_at=began if _is_moment(began) else issued_at,
            claims=top,
        )


def _sid_for(refresh: str) -> str:
    """The id of a session made by an application that gives none.

    It hangs on the refresh token: whoever brings a copy of that session has that too. Not on
    a secret, which may be another in the next process while secrets change.
    """
    digest = hashlib.sha256(b"authapp session id\0" + refresh.encode(errors="replace")).digest()
    return base64url.encode(digest[:16])


def jwt_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, read without verifying it: only for one already trusted.

    :returns: the claims; empty when ``token`` is not a JWT (RFC 7519 section 3).
    """
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==").decode())
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def text(value: object) -> str | None:
    """A text that says something, or None."""
    return value if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list, or the words of a text (``scope``, RFC 6749 section 3.3)."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(filter(None, map(text, value))) if isinstance(value, list) else ()


def is_user_id(value: object) -> TypeGuard[int | str]:
    """Whether it can name a user."""
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_moment(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _MAX_TIME


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotASession(f"{name} is not an object")
    return value


def _needed(value: object, name: str) -> str:
    found = text(value)
    if found is None:
        raise NotASession(f"{name} is not a text")
    return found


def _time(value: object, name: str) -> int:
    if not _is_moment(value) or not isinstance(value, int):
        raise NotASession(f"{name} is not a time in whole seconds")
    return value


def _id(value: object) -> int | str:
    if not is_user_id(value):
        raise NotASession("the user's id is neither a text nor a whole number")
    return value
