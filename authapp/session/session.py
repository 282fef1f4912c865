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
from typing import Any, TypeGuard

from authapp.session import base64url

MAX_LIFETIME = 315_360_000
"""The longest lifetime of a token that authapp accepts, in seconds: ten years."""

_MAX_TIME = 253402300800  # the year 10000: a datetime cannot hold it

Claims = Mapping[str, Any]
"""The claims of a token: a JSON object (RFC 7519 section 4)."""


class NotASession(ValueError):
    """The claims in a decrypted token do not describe a session."""


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
class TokenPair:
    """The tokens in the backend's response to a login or a refresh.

    :param expires_in: seconds until the access token expires (RFC 6749 section 5.1), or None. If
        the token is a JWT with an ``exp`` claim, authapp uses ``exp`` instead.
    :param refresh_expires_in: seconds until the refresh token expires, under the same rules.
    :param user: claims about the user from the backend's response, or None.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int | None = None
    refresh_expires_in: int | None = None
    user: Claims | None = field(default=None, repr=False, compare=False)

    def alone(self) -> "TokenPair":
        """Return the two tokens without their lifetimes, as a session stores them."""
        return TokenPair(self.access, self.refresh)


@dataclass(frozen=True)
class Validity:
    """The expiry times of the access token and the refresh token, in epoch seconds."""

    valid_until: int
    refresh_until: int


@dataclass(frozen=True)
class Identity:
    """The user who is signed in.

    :param claims: all claims of the access token, or an empty dict if the token is not a JWT.
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
    """The session of a signed-in user. A session is stored in the encrypted cookie only.

    :param sid: the session id. It is created at sign-in, and a renewal does not change it.
    :param issued_at: the time at which authapp received the tokens.
    :param authenticated_at: the time of sign-in.
    :param claims: the claims from which the session was read. Members that authapp does not know
        are written back unchanged.
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
    ) -> "Session":
        """Create the session of a user who has just signed in, with a new session id.

        :param authenticated_at: the time of sign-in. The default is ``now``.
        """
        signed_in = now if authenticated_at is None else authenticated_at
        sid = secrets.token_urlsafe(16)
        return cls(identity, tokens.alone(), validity, sid, int(now), signed_in)

    def renewed(
        self, identity: Identity, tokens: TokenPair, validity: Validity, now: float
    ) -> "Session":
        """Return the successor of this session: the same session id and user, with new tokens.

        If ``identity`` lacks a name, the successor keeps the old name. The same holds for the
        email. The sign-in form or a Next.js application may have supplied them. Roles and scopes
        are taken from ``identity`` only.
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
        """Return the phase of this session at the time ``now``.

        :param buffer: an access token is due for renewal this many seconds before it expires. If a
            third of the token's lifetime is shorter, that third is used instead. Otherwise a
            short-lived token would be due at every request.
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
        user, before = self.identity, _object_or_empty(self.claims.get("data"))
        data = {
            **before,
            "tokens": {
                **_object_or_empty(before.get("tokens")),
                "access": self.tokens.access,
                "refresh": self.tokens.refresh,
            },
            "user": {
                **_object_or_empty(before.get("user")),
                "id": user.id,
                "email": user.email,
                "roles": list(user.roles),
                "scopes": list(user.scopes),
            },
            "validity": {
                **_object_or_empty(before.get("validity")),
                "valid_until": self.validity.valid_until,
                "refresh_until": self.validity.refresh_until,
            },
            "sid": self.sid,
            "auth_time": self.authenticated_at,
        }
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
        """Return names and sizes of the largest parts of this session, for the log."""
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

        :param claims: the decoded JSON value in the token.
        :raises NotASession: if a required member is missing or has the wrong type.
        """
        top = _object(claims, "the claims")
        data = _object(top.get("data"), "data")
        tokens = _object(data.get("tokens"), "data.tokens")
        validity = _object(data.get("validity"), "data.validity")
        access = _required_text(tokens.get("access"), "data.tokens.access")
        refresh = _required_text(tokens.get("refresh"), "data.tokens.refresh")
        issued_at = _time(top.get("iat"), "iat")
        user, signed_in = _object_or_empty(data.get("user")), data.get("auth_time")
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
            sid=text(data.get("sid")) or _derive_sid(refresh),
            issued_at=issued_at,
            authenticated_at=signed_in if _is_time(signed_in) else issued_at,
            claims=top,
        )


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


def text(value: object) -> str | None:
    """Return ``value`` if ``value`` is a non-empty string, otherwise None."""
    return value if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...]:
    """Return the non-empty strings of a list, or the words of a string.

    A ``scope`` is such a string of words (RFC 6749 section 3.3). Other values give an empty tuple.
    """
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(filter(None, map(text, value))) if isinstance(value, list) else ()


def is_user_id(value: object) -> TypeGuard[int | str]:
    """Return True if ``value`` can be a user's id: an integer or a non-empty string."""
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


def _object_or_empty(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_time(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _MAX_TIME


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotASession(f"{name} is not an object")
    return value


def _required_text(value: object, name: str) -> str:
    found = text(value)
    if found is None:
        raise NotASession(f"{name} is not a non-empty string")
    return found


def _time(value: object, name: str) -> int:
    if not _is_time(value) or not isinstance(value, int):
        raise NotASession(f"{name} is not a time in whole seconds")
    return value


def _id(value: object) -> int | str:
    if not is_user_id(value):
        raise NotASession("the id of the user is neither a non-empty string nor an integer")
    return value
