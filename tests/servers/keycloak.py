"""A stub of Keycloak's token and logout endpoints, which responds as Keycloak's documentation says.

The sources are the "Server administration guide" (chapters "Direct access grants" and "Revoking
active sessions") and the texts of errors in Keycloak's ``TokenEndpoint``. Each refresh token can be
used once, as with the realm settings "Revoke refresh token" and "Refresh token max reuse 0".
"""

import secrets
import time
from typing import Any

import jwt
from webob import Request, Response

REALM = "/realms/acme"
TOKEN = f"{REALM}/protocol/openid-connect/token"
LOGOUT = f"{REALM}/protocol/openid-connect/logout"
CLIENT_ID, CLIENT_SECRET, KEY = "web", "secret of the client", "k" * 64

FAULTS = {
    "carol": (400, "Account is not fully set up"),
    "dave": (400, "Account disabled"),
}
"""User name -> status and error text of Keycloak's response to the sign-in. These users cannot sign
in, even with the right password."""


class Keycloak:
    """A stub of Keycloak, as a WSGI application. Tests change its attributes.

    :ivar wrong: the status of the response to a wrong password: 401 before Keycloak 26.6, 400 since
        then (Keycloak issue #45812).
    :ivar access: the lifetime of an access token, in seconds.
    :ivar client_key: the public key that verifies the client's signed JWT (RFC 7523). If it is
        None, the client sends a secret.
    :ivar url: the base URL of the stub. The audience of the client's JWT is this URL and the path
        of the request.
    :ivar disabled: the names of disabled users. Their sessions are not renewed.
    :ivar current: each refresh token that has not been used -> the name of its user.
    """

    def __init__(self) -> None:
        self.wrong = 400
        self.client_key: Any = None
        self.url = ""
        self.access = 300
        self.disabled: set[str] = set()
        self.current: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        form = request.POST
        if not self._is_client(request):
            return _error(
                401, "unauthorized_client", "Invalid client or Invalid client credentials"
            )
        if request.path == LOGOUT:
            self.current.pop(form.get("refresh_token", ""), None)
            return Response(status=204)
        if request.path != TOKEN:
            return Response(status=404, json_body={"error": "HTTP 404 Not Found"})
        if form["grant_type"] == "password":
            return self._sign_in(form)
        user = self.current.pop(form["refresh_token"], None)
        if user is None:
            return _error(400, "invalid_grant", "Token is not active")
        if user in self.disabled:
            return _error(400, "invalid_grant", "User disabled")
        return self._tokens(user)

    def _is_client(self, request: Request) -> bool:
        if self.client_key is not None:
            jwt.decode(
                request.POST["client_assertion"],
                self.client_key,
                algorithms=["ES256"],
                issuer=CLIENT_ID,
                audience=self.url + request.path,
            )
            return True
        return request.authorization is not None or request.POST["client_secret"] == CLIENT_SECRET

    def _sign_in(self, form: Any) -> Response:
        user = form["username"]
        if form["password"] != f"{user}-password":
            return _error(self.wrong, "invalid_grant", "Invalid user credentials")
        if user in FAULTS:
            status, description = FAULTS[user]
            return _error(status, "invalid_grant", description)
        return self._tokens(user)

    def _tokens(self, user: str) -> Response:
        now = int(time.time())
        claims = {
            "iat": now,
            "exp": now + self.access,
            "iss": f"https://keycloak.example{REALM}",
            "sub": f"id of {user}",
            "typ": "Bearer",
            "azp": CLIENT_ID,
            "preferred_username": user,
            "email": f"{user}@example.com",
            "name": user.title(),
            "realm_access": {"roles": ["admin", "offline_access"]},
            "resource_access": {"my.app": {"roles": ["Support admin"]}},
            "scope": "email profile",
        }
        refresh = jwt.encode(
            {"exp": now + 1800, "typ": "Refresh", "jti": secrets.token_hex(8)}, KEY, "HS512"
        )
        self.current[refresh] = user
        body = {
            "access_token": jwt.encode(claims, KEY),
            "expires_in": self.access,
            "refresh_expires_in": 1800,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": secrets.token_hex(8),
            "scope": "email profile",
        }
        return Response(json_body=body)


def _error(status: int, error: str, description: str) -> Response:
    return Response(status=status, json_body={"error": error, "error_description": description})
