"""An OpenID Connect provider for tests. It can also send wrong responses."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from webob import Request, Response

CLIENT_ID, CLIENT_SECRET = "site", "a-client-secret-of-tests-that-is-long-enough"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

USERS: dict[str, dict[str, Any]] = {
    "alice": {"sub": "u-alice", "name": "Alice", "email": "alice@example.com"},
    "bob": {"sub": "u-bob", "name": "Bob", "email": "bob@example.com"},
}


def new_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


KEY, OTHER_KEY = new_key(), new_key()


@dataclass
class Grant:
    user: str
    sid: str
    nonce: str
    challenge: str = ""
    redirect_uri: str = ""
    auth_time: int = 0
    scope: str = ""


@dataclass
class Provider:
    """An OpenID Connect provider as a WSGI application. Tests read and change its attributes.

    :ivar user: the user who is signed in at the provider.
    :ivar metadata: changed members of the metadata. A member whose value is None is left out.
    :ivar id_claims: changed claims of ID tokens. A claim whose value is None is left out.
    :ivar sign: a function that takes claims and returns a token.
    :ivar answer: changed members of the token endpoint's response. A member whose value is None is
        left out.
    :ivar renews_id_token: True if the response to a renewal has an ID token.
    """

    url: str = ""
    user: str = "alice"
    sid: str = field(default_factory=lambda: secrets.token_hex(8))
    access_lifetime: int = 900
    opaque: bool = False
    renews_id_token: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    id_claims: dict[str, Any] = field(default_factory=dict)
    access_claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, str] = field(default_factory=dict)
    keys: list[Any] = field(default_factory=list)
    sign: Callable[[dict[str, Any]], str] | None = None
    auth_time: int | None = None
    codes: dict[str, Grant] = field(default_factory=dict)
    live: dict[str, Grant] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.keys = self.keys or [public(KEY, "k1")]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        pages = {
            "/.well-known/openid-configuration": self._metadata,
            "/authorize": self._authorize,
            "/token": self._token,
            "/jwks": self._jwks,
            "/me": self._me,
            "/revoke": self._revoke,
        }
        page = pages.get(request.path)
        response = Response(status=404) if page is None else page(request)
        return response(environ, start_response)

    def _metadata(self, request: Request) -> Response:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/me",
            "revocation_endpoint": f"{self.url}/revoke",
            "end_session_endpoint": f"{self.url}/end",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return answer_of(found)

    def _authorize(self, request: Request) -> Response:
        """Handle the authorization endpoint (RFC 6749 section 4.1.1). The user agrees without being
        asked."""
        self.authorizations.append(request.query_string)
        given = request.GET
        code = secrets.token_urlsafe(24)
        auth_time = int(time.time()) if self.auth_time is None else self.auth_time
        self.codes[code] = Grant(
            self.user,
            self.sid,
            given["nonce"],
            given["code_challenge"],
            given["redirect_uri"],
            auth_time,
            given["scope"],
        )
        query = {"code": code, "state": given["state"], "iss": self.url, **self.callback}
        query = {name: value for name, value in query.items() if value is not None}
        return Response(
            status=303, headers={"Location": f"{given['redirect_uri']}?{urlencode(query)}"}
        )

    def _token(self, request: Request) -> Response:
        form = dict(request.POST)
        self.forms.append(form)
        refused = self._authenticate(request, form)
        if refused:
            return refused
        with self._lock:
            if form.get("grant_type") == "authorization_code":
                grant = self.codes.pop(form.get("code", ""), None)
                verifier = form.get("code_verifier", "").encode()
                digest = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest())
                if (
                    grant is None
                    or grant.challenge != digest.decode().rstrip("=")
                    or grant.redirect_uri != form.get("redirect_uri")
                ):
                    return Response(status=400, json_body={"error": "invalid_grant"})
                return self._tokens(grant, True)
            grant = self.live.pop(form.get("refresh_token", ""), None)
            if grant is None:
                return Response(status=400, json_body={"error": "invalid_grant"})
            return self._tokens(grant, self.renews_id_token)

    def _authenticate(self, request: Request, form: dict[str, str]) -> Response | None:
        kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
            good = (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
        elif "client_assertion" in form:
            claims = jwt.decode(
                form["client_assertion"], KEY.public_key(), ["RS256"], audience=self.url
            )
            good = claims["iss"] == claims["sub"] == CLIENT_ID
        else:
            good = form.get("client_id") == CLIENT_ID
            good = good and form.get("client_secret", CLIENT_SECRET) == CLIENT_SECRET
        return None if good else Response(status=401, json_body={"error": "invalid_client"})

    def _tokens(self, grant: Grant, with_id_token: bool) -> Response:
        now = int(time.time())
        user, refresh = USERS[grant.user], secrets.token_urlsafe(24)
        self.live[refresh] = grant
        claims = {
            "iss": self.url,
            "sub": user["sub"],
            "aud": "an-api",
            "roles": ["admin"] if grant.user == "alice" else [],
            "iat": now,
            "exp": now + self.access_lifetime,
            "jti": secrets.token_hex(8),
            **self.access_claims,
        }
        access = secrets.token_urlsafe(24) if self.opaque else signed(without_none(claims))
        found = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.access_lifetime,
            "refresh_token": refresh,
        }
        if with_id_token:
            found["id_token"] = self.id_token(grant, access, now)
        return answer_of({**found, **self.answer})

    def id_token(self, grant: Grant, access: str, now: int) -> str:
        digest = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sid": grant.sid,
            "nonce": grant.nonce,
            "iat": now,
            "exp": now + 300,
            "auth_time": grant.auth_time,
            "at_hash": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            **USERS[grant.user],
            **self.id_claims,
        }
        return (self.sign or signed)(without_none(claims))

    def logout_token(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a logout token, which ends a session of the provider."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {LOGOUT_EVENT: {}},
            "sid": self.sid,
        }
        return without_none({**claims, **changes})

    def _jwks(self, request: Request) -> Response:
        return Response(json_body={"keys": self.keys})

    def _me(self, request: Request) -> Response:
        return answer_of({"sub": USERS[self.user]["sub"], **self.userinfo})

    def _revoke(self, request: Request) -> Response:
        self.forms.append(dict(request.POST))
        self.live.pop(request.POST.get("token", ""), None)
        return Response()


def public(key: RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """Return the public key as a JWK."""
    found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {**found, "kid": kid, "use": "sig", **more}


def signed(claims: dict[str, Any], key: Any = KEY, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(claims, key, algorithm, {"kid": "k1", **header})


def without_none(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def answer_of(found: dict[str, Any]) -> Response:
    return Response(json_body=without_none(found))
