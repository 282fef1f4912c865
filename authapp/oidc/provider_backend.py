"""The provider as a backend: its token, userinfo and revocation endpoints.

Renewal and sign-out call this object in the same way as a backend for passwords.
"""

import time
from typing import Any

from authapp.backend.http_backend import await_tokens, may_be_late
from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import Reply, address, exchange, in_one_line, unusable
from authapp.backend.protocol import (
    BackendRejected,
    BackendUnavailable,
    Credentials,
    UnexpectedAnswer,
)
from authapp.backend.token_values import seconds, usable_token
from authapp.oidc.client_authentication import authenticated
from authapp.oidc.metadata import Metadata
from authapp.oidc.token_checks import TokenChecks
from authapp.request_log import request_log
from authapp.session.session import TokenPair, jwt_claims
from authapp.settings.oidc_settings import OIDCSettings

log = request_log(__name__)

NOT_KEPT = frozenset(
    ("iss", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash")
)
"""Claims of an ID token that describe the token and not the user. The session does not keep these
claims."""

_OF_THE_SIGN_IN = frozenset(("sub", "sid", "auth_time", "acr", "amr"))
"""Claims of the session that a renewal does not change if its response has no ID token."""

_NO_REFRESH_TOKEN = (
    "NoRefreshToken: the provider gave no refresh token, so sessions end with the access token: add"  # noqa: S105 - a log line
    " offline_access to authapp.oidc.scope, or allow refresh tokens for this client at the provider"
)


class ProviderBackend:
    """A :class:`~authapp.backend.protocol.Backend` without passwords.

    :param session: the HTTP session that sends the requests, and limits the time of each request.
    """

    def __init__(self, session: BoundedSession, client: OIDCSettings, metadata: Metadata) -> None:
        self._session = session
        self._client = client
        self._metadata = metadata
        self.checks = TokenChecks(client.issuer, client.client_id, client.algorithm)

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`. A provider takes no passwords."""
        raise BackendRejected("the provider takes no passwords from this site")

    def exchange_code(
        self, code: str, verifier: str, redirect_uri: str, nonce: str, max_age: int | None
    ) -> TokenPair:
        """Exchange an authorization code for tokens (Core section 3.1.3), and check the ID token.

        :param verifier: the PKCE code verifier (RFC 7636).
        :raises BackendRejected: if the provider refuses the code.
        :raises BackendUnavailable: if there is no usable response.
        """
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        reply = self._post(self._metadata.endpoints().token, fields)
        self._refuse(reply, "sign-in", code, verifier)
        body, access = self._body(reply, "sign-in")
        claims = self._claims(body.get("id_token"), access, nonce=nonce, max_age=max_age)
        refresh = usable_token(body.get("refresh_token"))
        if refresh is None:
            log.warning(_NO_REFRESH_TOKEN)
        said = {**(self._userinfo(access, claims["sub"]) or {}), **_kept(claims)}
        return self._pair(body, access, refresh or access, said)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`.

        If the response has no ID token, the session keeps the claims of the last ID token. Newer
        values from the access token and the userinfo response replace these claims. The claims in
        :data:`_OF_THE_SIGN_IN` are never replaced.
        """
        if tokens.issuer != self._client.issuer or not tokens.renewable:
            raise BackendUnavailable("these tokens cannot be renewed here")
        where = address(self._client.issuer)
        return await_tokens(lambda: self._refresh(tokens), self._session.timeout, where)

    def _refresh(self, tokens: TokenPair) -> TokenPair:
        endpoint = self._metadata.endpoints().token
        fields = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
        reply = self._post(endpoint, fields, **may_be_late(self._session.timeout))
        self._refuse(reply, "renewal", tokens.refresh, tokens.access)
        body, access = self._body(reply, "renewal", tokens)
        refresh = usable_token(body.get("refresh_token")) or tokens.refresh
        before = dict(tokens.id_claims or {})
        user = str(before.get("sub"))
        try:
            given = body.get("id_token")
            claims = None if given is None else self._claims(given, access)
        except BackendUnavailable as error:
            error.tokens = TokenPair(tokens.access, refresh)  # the old refresh token is spent
            raise
        if claims is not None and claims["sub"] != user:
            raise BackendRejected("the ID token names another user")
        userinfo = self._userinfo(access, user)
        if claims is not None:
            said = {**(before if userinfo is None else userinfo), **_kept(claims)}
            said |= {name: before[name] for name in ("sid",) if name in before}
        else:
            replaced = jwt_claims(access).keys() - _OF_THE_SIGN_IN
            said = {name: value for name, value in before.items() if name not in replaced}
            said |= {k: v for k, v in (userinfo or {}).items() if k not in _OF_THE_SIGN_IN}
        return self._pair(body, access, refresh, said)

    def logout(self, tokens: TokenPair) -> None:
        """Revoke the refresh token (RFC 7009), if the provider has an endpoint for that."""
        endpoint = self._metadata.endpoints().revocation
        if endpoint is None:
            return
        reply = self._post(endpoint, {"token": tokens.refresh})
        if not reply.good:
            raise self._unexpected(reply, "sign-out", tokens.refresh)

    def reach(self) -> None:
        """Check whether the provider is up.

        :raises BackendUnavailable: if the provider is not up.
        """
        self._metadata.endpoints()

    def _post(self, endpoint: str, fields: dict[str, str], **options: Any) -> Reply:
        options |= authenticated(self._client, fields)
        return exchange(self._session, "POST", endpoint, **options)

    def _refuse(self, reply: Reply, verb: str, *sent: str) -> None:
        """Raise an error if the response of the token endpoint is not a success.

        :raises BackendRejected: for ``invalid_grant`` (RFC 6749 section 5.2).
        :raises BackendUnavailable: for any other error.
        """
        body = reply.content["body"]
        error = body.get("error") if isinstance(body, dict) else None
        if error == "invalid_grant" and 400 <= reply.status < 500:
            raise BackendRejected(f"invalid_grant {self._words(body, *sent)}".strip())
        if not reply.good:
            raise self._unexpected(reply, verb, *sent)

    def _unexpected(self, reply: Reply, verb: str, *sent: str) -> BackendUnavailable:
        body = reply.content["body"]
        if not isinstance(body, dict) or reply.status >= 500 or reply.status == 429:
            return unusable(reply)
        error = in_one_line(body.get("error"), *sent)
        hint = _HINTS.get(error, "see how this client is registered at the provider")
        text = f"{verb}: status {reply.status} {error} {self._words(body, *sent)}".strip()
        return UnexpectedAnswer(f"{text}, from {reply.where}; {hint}", reply.retry_after)

    def _words(self, body: dict[str, Any], *sent: str) -> str:
        return in_one_line(body.get("error_description"), *sent, self._client.client_secret)

    def _body(
        self, reply: Reply, verb: str, before: TokenPair | None = None
    ) -> tuple[dict[str, Any], str]:
        """Return the body of a good response, and its access token.

        :param before: the tokens before a renewal. None at a sign-in.
        :raises BackendUnavailable: if there is no usable access token.
        """
        body = reply.content["body"]
        body = body if isinstance(body, dict) else {}
        access = usable_token(body.get("access_token"))
        kind = str(body.get("token_type", "bearer")).lower()
        if access is not None and kind == "bearer":
            return body, access
        error = BackendUnavailable(f"{verb}: no access token of type Bearer from {reply.where}")
        rotated = usable_token(body.get("refresh_token"))
        if before is not None and rotated is not None:
            error.tokens = TokenPair(before.access, rotated)  # the old refresh token is spent
        raise error

    def _claims(self, token: object, access: str, **expected: Any) -> dict[str, Any]:
        """Check an ID token, and return its claims."""
        keys = self._metadata.endpoints().keys
        try:
            return self.checks.id_token(token, keys, time.time(), access=access, **expected)
        except BackendUnavailable as error:
            error.reason = f"the ID token: {error.reason}"
            raise

    def _userinfo(self, access: str, sub: object) -> dict[str, Any] | None:
        """Return the claims of the userinfo endpoint (Core section 5.3).

        A failure does not stop a sign-in, because the ID token says who the user is.

        :returns: the claims. They are empty if there is no such endpoint, if ``oidc.userinfo`` is
            false, or if the response is not about this user. None if the provider is down.
        """
        endpoint = self._metadata.endpoints().userinfo
        if endpoint is None or not self._client.userinfo:
            return {}
        headers = {"Authorization": f"Bearer {access}"}
        try:
            reply = exchange(self._session, "GET", endpoint, headers=headers)
            body = reply.content["body"]
            if reply.status >= 500 or reply.status == 429:
                raise unusable(reply)
        except BackendUnavailable as error:
            log.warning("UserinfoUnavailable: %s", error.reason)
            return None
        if reply.good and isinstance(body, dict) and body.get("sub") == sub:
            return _kept(body)
        log.warning("UserinfoUnavailable: no claims of this user: %s", unusable(reply).reason)
        return {}

    def _pair(
        self, body: dict[str, Any], access: str, refresh: str, said: dict[str, Any]
    ) -> TokenPair:
        lifetime = seconds(body.get("expires_in"))
        return TokenPair(
            access,
            refresh,
            lifetime,
            seconds(body.get("refresh_expires_in")),
            issuer=self._client.issuer,
            id_claims=said,
        )


_HINTS = {
    "invalid_client": "see authapp.oidc.client_id, .client_secret, .client_key and .client_auth",
    "unauthorized_client": "allow this client authorization codes and refresh tokens there",
    "invalid_scope": "see authapp.oidc.scope",
    "invalid_request": "see authapp.oidc.client_auth",
}


def _kept(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in NOT_KEPT}
