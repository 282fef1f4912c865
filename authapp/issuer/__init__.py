"""The embedded issuer: a backend for development, with the wire format of Django SimpleJWT.

The issuer runs inside the site (``authapp.backend.url = embedded:``) or as a separate process
(``use = egg:authapp#issuer``). In both cases, sign-in, renewal and sign-out call the issuer with
HTTP requests only. The sign-in page imports :func:`read_users`, to show the users in development.

The signing key is derived from ``issuer.secret``, so tokens stay valid after a restart. Without
this setting, each start creates a new key. The lists of spent and revoked tokens are in memory
only, so a restart deletes these lists.
"""

import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPException, HTTPUnauthorized
from pyramid.request import Request
from pyramid.view import view_config

from authapp.session import base64url
from authapp.session.encryption import derive
from authapp.settings.allowed_values import plain, whole
from authapp.settings.ini import Ini

KEY_ID = "authapp-issuer"
"""The ``kid`` of the signing key."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """One user of the issuer.

    :param id: the number of the user's line in ``issuer.users``. The first line is 1.
    :param name: the user name for sign-in.
    """

    id: int
    name: str
    email: str
    password: str = field(repr=False)
    roles: tuple[str, ...] = ()


def read_users(text: str) -> list[User]:
    """Read the setting ``issuer.users``: one user per line, ``name password email role …``.

    :returns: the users, in the order of the lines.
    :raises ValueError: if a line has fewer than three words, or if its third word has no ``@``. In
        a line without a password, the third word is a role, which has no ``@``.
    """
    users = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        words = line.split()
        if len(words) < 3 or "@" not in words[2]:
            raise ValueError(f"line {number} must be: name password email role …")
        users.append(User(number, words[0], words[2], words[1], tuple(words[3:])))
    return users


class Issuer:
    """Issues tokens, rotates refresh tokens, and revokes them.

    A sign-in and its refreshes create a chain of tokens. If a refresh token is revoked, all refresh
    tokens of its chain are revoked.

    :param users: the users who can sign in.
    :param secret: the secret from which the signing key is derived.
    :param access: the lifetime of an access token, in seconds.
    :param refresh: the lifetime of a refresh token, in seconds.
    :param session: the lifetime of a chain, in seconds. No token of the chain is valid for longer.
    """

    def __init__(
        self, users: list[User], secret: str, access: int, refresh: int, session: int
    ) -> None:
        self.users = {user.name: user for user in users}
        self._lifetimes = {"access": access, "refresh": refresh}
        self._session = session
        seed = derive(secret.encode(), "authapp issuer", 32)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._lock = threading.Lock()
        self._spent: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a JWKS document (RFC 7517 section 5, RFC 8037 section 2)."""
        public = base64url.encode(self._key.public_key().public_bytes_raw())
        key = {"kty": "OKP", "crv": "Ed25519", "x": public}
        return {"keys": [{**key, "kid": KEY_ID, "alg": "EdDSA", "use": "sig"}]}

    def login(self, name: object, password: object) -> dict[str, str] | None:
        """Sign a user in.

        :param name: the user name. Any value is allowed.
        :param password: the password. Any value is allowed.
        :returns: an ``access`` and a ``refresh`` token, or None if the credentials are wrong.
        """
        user = self.users.get(str(name))
        expected = user.password if user else secrets.token_hex()
        if not compare_digest(expected.encode(), str(password).encode(errors="replace")):
            return None
        return self._pair(user, secrets.token_hex(8), int(time.time())) if user else None

    def refresh(self, token: object) -> dict[str, str] | None:
        """Spend a refresh token.

        If the token was spent before, the whole chain is revoked, because an attacker may have
        copied the token (RFC 9700 section 4.14.2).

        :param token: the refresh token. Any value is allowed.
        :returns: a new ``access`` and ``refresh`` token, or None if the token is invalid, expired,
            spent or revoked.
        """
        claims = self.read(token, "refresh")
        if claims is None:
            return None
        with self._lock:
            if claims["jti"] in self._spent:
                self._ended[claims["chain"]] = claims["exp"]
            if claims["chain"] in self._ended:
                return None
            self._spent[claims["jti"]] = claims["exp"]
            self._drop_expired()
        began = claims["auth_time"]
        return self._pair(self.users[claims["username"]], claims["chain"], began)

    def blacklist(self, token: object) -> bool:
        """Revoke the chain of a refresh token.

        :param token: the refresh token. Any value is allowed.
        :returns: True if the chain is revoked now. False if the token is invalid or expired.
        """
        claims = self.read(token, "refresh")
        if claims is not None:
            with self._lock:
                self._ended[claims["chain"]] = claims["exp"]
        return claims is not None

    def read(self, token: object, kind: str) -> dict[str, Any] | None:
        """Verify a token of this issuer, and return the claims.

        :param token: the token. Any value is allowed.
        :param kind: ``access`` or ``refresh``.
        :returns: the claims, or None if the token is invalid, is expired, is of the other kind, or
            belongs to an unknown user.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                str(token), self._key.public_key(), algorithms=["EdDSA"]
            )
        except (jwt.PyJWTError, UnicodeError):
            return None
        known = claims.get("username") in self.users
        return claims if known and claims.get("token_type") == kind else None

    def _pair(self, user: User, chain: str, began: int) -> dict[str, str]:
        return {kind: self._token(user, kind, chain, began) for kind in ("access", "refresh")}

    def _token(self, user: User, kind: str, chain: str, began: int) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "token_type": kind,
            "user_id": user.id,
            "username": user.name,
            "iat": now,
            "exp": min(now + self._lifetimes[kind], began + self._session),
            "auth_time": began,
            "jti": secrets.token_hex(8),
            "chain": chain,
        }
        if kind == "access":
            claims |= {"name": user.name, "email": user.email, "roles": list(user.roles)}
        return jwt.encode(claims, self._key, "EdDSA", headers={"kid": KEY_ID})

    def _drop_expired(self) -> None:
        now = time.time()
        for tokens in (self._spent, self._ended):
            for expired in [each for each, until in tokens.items() if until <= now]:
                del tokens[expired]


def _fields(request: Request, *names: str) -> list[object]:
    """Return the values of some fields of a JSON or form body.

    :raises pyramid.httpexceptions.HTTPBadRequest: if a field is missing or empty. The response body
        is the same as in SimpleJWT.
    """
    try:
        body = request.json_body if request.content_type == "application/json" else request.POST
    except (ValueError, RecursionError):
        body = {}
    found = [body.get(name) for name in names] if hasattr(body, "get") else [None]
    if not all(found):
        missing = {name: ["This field is required."] for name in names}
        raise HTTPBadRequest(json_body=missing)
    return found


def _unauthorized(detail: str, code: str) -> HTTPException:
    return HTTPUnauthorized(json_body={"detail": detail, "code": code})


@view_config(route_name="token", request_method="POST", renderer="json", require_csrf=False)
def token_view(request: Request) -> dict[str, str]:
    """Sign a user in with ``username`` and ``password``: ``POST /api/token/``."""
    pair: dict[str, str] | None = request.issuer.login(*_fields(request, "username", "password"))
    if pair is None:
        raise _unauthorized("No active account found with the given credentials", "no_active")
    return pair


@view_config(route_name="refresh", request_method="POST", renderer="json", require_csrf=False)
def refresh_view(request: Request) -> dict[str, str]:
    """Spend the token ``refresh`` and return new tokens: ``POST /api/token/refresh/``."""
    pair: dict[str, str] | None = request.issuer.refresh(*_fields(request, "refresh"))
    if pair is None:
        raise _unauthorized("Token is blacklisted or expired", "token_not_valid")
    return pair


@view_config(route_name="blacklist", request_method="POST", renderer="json", require_csrf=False)
def blacklist_view(request: Request) -> dict[str, str]:
    """Revoke the chain of the token ``refresh``: ``POST /api/token/blacklist/``."""
    if not request.issuer.blacklist(*_fields(request, "refresh")):
        raise _unauthorized("Token is invalid", "token_not_valid")
    return {}


@view_config(route_name="jwks", request_method="GET", renderer="json")
def jwks_view(request: Request) -> dict[str, Any]:
    """Return the public key: ``GET /.well-known/jwks.json``."""
    keys: dict[str, Any] = request.issuer.key_set()
    return keys


@view_config(route_name="me", request_method="GET", renderer="json")
def me_view(request: Request) -> dict[str, Any]:
    """Return the user of a bearer token (RFC 6750 section 2.1): ``GET /me``."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    claims = request.issuer.read(token, "access") if kind.lower() == "bearer" else None
    if claims is None:
        raise _unauthorized("Given token not valid for any token type", "token_not_valid")
    user = request.issuer.users[claims["username"]]
    return {"id": user.id, "name": user.name, "email": user.email, "roles": list(user.roles)}


@view_config(context=HTTPException)
def error_view(error: HTTPException, request: Request) -> Any:
    """Return an error as JSON."""
    if error.content_type != "application/json":
        error.content_type = "application/json"
        error.body = json.dumps({"detail": error.title}).encode()
    return error


def main(global_config: dict[str, str], **settings: Any) -> Any:
    """Create the issuer's WSGI application (``egg:authapp#issuer``).

    :param settings: the settings. Only settings that begin with ``issuer.`` are read. Lifetimes are
        in seconds.
    :returns: the WSGI application.
    :raises SettingsError: if settings are invalid. The error lists all problems.
    """
    ini = Ini(settings, "issuer.")
    no_users: list[User] = []
    issuer = Issuer(
        ini.take("users", read_users, no_users, secret=True),
        ini.take("secret", plain, "", secret=True) or secrets.token_hex(),
        ini.take("access_lifetime", whole(1, 10**9), 300),
        ini.take("refresh_lifetime", whole(1, 10**9), 604_800),
        ini.take("session_lifetime", whole(1, 10**9), 10**9),
    )
    ini.finish()
    if not issuer.users:
        log.warning(
            "NoUsers: issuer.users is empty. Add one line per user: name password email role …"
        )
    config = Configurator()
    config.add_request_method(lambda request: issuer, "issuer", reify=True)
    config.add_route("token", "/api/token/")
    config.add_route("refresh", "/api/token/refresh/")
    config.add_route("blacklist", "/api/token/blacklist/")
    config.add_route("jwks", "/.well-known/jwks.json")
    config.add_route("me", "/me")
    config.scan("authapp.issuer")
    return config.make_wsgi_app()
