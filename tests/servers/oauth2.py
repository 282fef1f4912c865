"""An OAuth2 server with a token endpoint and a revocation endpoint.

Access tokens are JWTs, and refresh tokens are opaque.
"""

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import jwt
from webob import Request, Response

ISSUER, CLIENT_ID, CLIENT_SECRET = "https://oauth2.example", "web", "web-secret"
KEY = "key-of-the-oauth2-server-in-tests"
TOKEN, REVOKE = "/token", "/revoke"


@dataclass(frozen=True)
class Grant:
    """What a refresh token is for: its user, its scope, and its expiry in Unix seconds."""

    username: str
    scope: str
    until: float


class Refused(Exception):
    """The server refuses a request, with an error of RFC 6749 section 5.2."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


class OAuth2:
    """An OAuth2 server as a WSGI application. Tests read and change its attributes.

    :param access: the lifetime of an access token, in seconds.
    :param refresh: the lifetime of a refresh token, in seconds.
    :param names_refresh_expiry: True if responses have ``refresh_expires_in``.
    :ivar live: each refresh token that can be spent -> its :class:`Grant`.
    :ivar roles: user name -> roles. The password of a user is ``<name>-password``.
    :ivar client_secret: the secret that the client must send.
    :ivar challenges: True if the response to a wrong client secret has ``WWW-Authenticate``. RFC
        6749 requires this header, but not every server sends it.
    """

    def __init__(
        self, access: int = 300, refresh: int = 1800, names_refresh_expiry: bool = True
    ) -> None:
        self.access = access
        self.refresh = refresh
        self.names_refresh_expiry = names_refresh_expiry
        self.client_secret = CLIENT_SECRET
        self.challenges = True
        self.roles = {"alice": ["admin"], "bob": ["editor"]}
        self.live: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        try:
            answer = self._answer(request)
        except Refused as refused:
            answer = Response(status=refused.status, json_body={"error": refused.error})
            if refused.status == 401 and self.challenges:
                answer.headers["WWW-Authenticate"] = 'Basic realm="oauth2"'
        answer.cache_control = "no-store"
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        actions = {TOKEN: self._token, REVOKE: self._revoke}
        if request.method != "POST" or request.path not in actions:
            return Response(status=404)
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused("invalid_request")
        self._authenticate(request)
        with self._lock:
            return actions[request.path](request.POST)

    def _authenticate(self, request: Request) -> None:
        """Check the client's id and secret in ``Authorization``. Both are percent-encoded as in a
        form (RFC 6749 section 2.3.1)."""
        kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(encoded, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            decoded = ""
        given = tuple(map(unquote_plus, decoded.split(":")))
        if kind.lower() != "basic" or given != (CLIENT_ID, self.client_secret):
            raise Refused("invalid_client", 401)

    def _token(self, form: Any) -> Response:
        """Handle the token endpoint (RFC 6749 sections 4.3 and 6)."""
        match form.get("grant_type"):
            case "password":
                name, password = form.get("username"), form.get("password")
                if name not in self.roles or password != f"{name}-password":
                    raise Refused("invalid_grant")
                return self._tokens(name, form.get("scope", "openid profile"))
            case "refresh_token":
                grant = self.live.pop(form.get("refresh_token", ""), None)
                if grant is None or grant.until <= time.time():
                    raise Refused("invalid_grant")
                return self._tokens(grant.username, grant.scope)
        raise Refused("unsupported_grant_type")

    def _revoke(self, form: Any) -> Response:
        """Handle the revocation endpoint (RFC 7009). An unknown token is no error."""
        self.live.pop(form.get("token", ""), None)
        return Response()

    def _tokens(self, username: str, scope: str) -> Response:
        now = int(time.time())
        refresh = secrets.token_urlsafe(32)
        self.live[refresh] = Grant(username, scope, now + self.refresh)
        claims = {
            "iss": ISSUER,
            "aud": CLIENT_ID,
            "sub": f"id-of-{username}",
            "name": username.title(),
            "email": f"{username}@example.com",
            "realm_access": {"roles": self.roles[username]},
            "scope": scope,
            "iat": now,
            "exp": now + self.access,
            "jti": secrets.token_hex(8),
        }
        answer = {
            "access_token": jwt.encode(claims, KEY, "HS256"),
            "token_type": "Bearer",
            "expires_in": self.access,
            "refresh_token": refresh,
            "scope": scope,
        }
        if self.names_refresh_expiry:
            answer["refresh_expires_in"] = self.refresh
        return Response(json_body=answer)
