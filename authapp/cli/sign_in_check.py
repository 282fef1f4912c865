"""``authapp check --login``: a whole session at the real backend, step by step."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.protocol import (
    BackendChallenge,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    Credentials,
    UnexpectedAnswer,
)
from authapp.cli import suggestions
from authapp.cli.recording import RecordingSession
from authapp.cli.report import NOTE, OK, PROBLEM, Report
from authapp.services import Services
from authapp.session.session import Session, TokenPair, jwt_claims


def check_sign_in(
    report: Report,
    services: Services,
    http: RecordingSession,
    user: str,
    password: str,
    ask_code: Callable[[str], str],
) -> None:
    """Sign a user in, read the identity, renew, sign out, and check that a further renewal fails.

    :param http: the HTTP session that sends the requests and records them.
    :param ask_code: a function that is called with the kind of code if the backend asks for a
        second step. It returns the code that the user enters. If it returns an empty string, the
        check ends.
    """
    walk = _Walk(report, services, http, {password}, ask_code)
    tokens = walk.sign_in(lambda: walk.backend.login(Credentials(user, password)))
    if tokens is None:
        return
    try:
        session = walk.identity(tokens)
        if session is not None:
            tokens = walk.renewal(session) or tokens
    finally:
        walk.sign_out(tokens)


@dataclass
class _Walk:
    report: Report
    services: Services
    http: RecordingSession
    secrets: set[str]
    ask_code: Callable[[str], str]
    seen: int = 0
    backend: HTTPBackend = field(init=False)

    def __post_init__(self) -> None:
        settings, url = self.services.settings, self.services.backend_url or ""
        self.backend = HTTPBackend(self.http, url, settings.description)
        verify = settings.verify
        self.secrets |= {settings.description.client_secret or "", (verify and verify.secret) or ""}

    def sign_in(self, step: Callable[[], TokenPair], about: str = "sign-in") -> TokenPair | None:
        """Take the first or the second step of a sign-in."""
        conditions = self.services.settings.description.conditions
        verb = "login" if about == "sign-in" else "challenge"
        try:
            tokens = step()
        except BackendChallenge as challenge:
            return self._second_step(challenge)
        except BackendRejected as error:
            kind = type(error).__name__
            text = f"the backend refuses, as the settings describe it ({kind}): {error}"
            self._add(about, PROBLEM, text)
        except BackendThrottled as error:
            self._add(about, PROBLEM, f"the backend asks for fewer sign-ins: {error.reason}")
        except BackendUnavailable as error:
            self._unavailable(about, error, verb, "login.refused", conditions.login_refused)
        else:
            self._keep(tokens)
            self._add(about, OK, "the backend has issued tokens")
            return tokens
        return None

    def _second_step(self, challenge: BackendChallenge) -> TokenPair | None:
        state = challenge.state
        self.secrets |= {state, json.loads(state)[0]}
        self._add("sign-in", OK, f"the backend asks for a second step: {challenge.kind}")
        code = self.ask_code(challenge.kind)
        if not code:
            self.report.add("code", NOTE, "there is no code, so the check of the sign-in ends here")
            return None
        self.secrets.add(code)
        return self.sign_in(lambda: self.backend.challenge(state, code), "code")

    def identity(self, tokens: TokenPair) -> Session | None:
        """Read the user and the lifetimes, and report what the application would see."""
        settings, now = self.services.settings, time.time()
        claims, content = jwt_claims(tokens.access), self._content(login=True)
        try:
            who, validity = self.services.reader.read(tokens, now)
        except BackendUnavailable as error:
            lines = []
            if settings.verify is not None:
                try:
                    header = jwt.get_unverified_header(tokens.access)
                except jwt.PyJWTError:
                    header = {}
                lines = suggestions.for_verification(header, claims, settings.verify)
            if "expires" in error.reason:
                lines = lines or suggestions.for_lifetime(content)
            elif "user" in error.reason:
                lines = lines or suggestions.for_user(content, claims, settings.description)
            self.report.add("identity", PROBLEM, error.reason, *lines)
            return None
        shown = {
            "id": who.id,
            "email": who.email,
            "name": who.name,
            "roles": ", ".join(who.roles),
            "scopes": " ".join(who.scopes),
        }
        text = "; ".join(f"{name} {value}" for name, value in shown.items() if value)
        self.report.add("identity", OK, text)
        if not who.roles and (roles := suggestions.for_roles(claims, tokens.user or {})):
            text = "no roles are read, but something looks like roles"
            self.report.add("roles", NOTE, text, *roles)
        access, refresh = validity.valid_until - int(now), validity.refresh_until - int(now)
        text = f"the access token is valid for {access} s, the refresh token for {refresh} s"
        self.report.add("lifetimes", OK, text)
        if settings.verify is None:
            text = "access tokens are not verified: authapp.backend.verify is not set"
            self.report.add("verify", NOTE, text)
        self._cookie_size(session := Session.start(who, tokens, validity, now))
        return session

    def _cookie_size(self, session: Session) -> None:
        size = len(self.services.sealer.seal(session))
        try:
            cookies = len(self.services.cookie.write(self.services.sealer.seal(session), 1))
        except ValueError as error:
            self.report.add("cookie", PROBLEM, f"{error}; {session.largest_part()}")
            return
        text = f"{size} bytes in {cookies} cookie{'s' * (cookies != 1)}"
        self.report.add("cookie", OK, f"{self.services.cookie.name}: {text}")

    def renewal(self, session: Session) -> TokenPair | None:
        """Renew the session once, and compare the user."""
        if not self.backend.refreshes:
            text = "authapp.backend.refresh is none: a session ends with its access token"
            self.report.add("renewal", NOTE, text)
            return None
        try:
            renewed = self.backend.refresh(session.tokens)
        except BackendRejected as error:
            self._add("renewal", PROBLEM, f"the backend refuses its own refresh token: {error}")
            return None
        except BackendUnavailable as error:
            self._refresh_unavailable("renewal", error)
            return error.tokens
        self._keep(renewed)
        rotated = renewed.refresh != session.tokens.refresh
        does = "a new refresh token" if rotated else "the same refresh token"
        try:
            who, _ = self.services.reader.read(renewed, time.time(), session)
        except BackendUnavailable as error:
            self._add("renewal", PROBLEM, error.reason)
            return renewed
        same = str(who.id) == str(session.identity.id)
        text = f"a new access token and {does}" if same else f"tokens of another user, {who.id}"
        self._add("renewal", OK if same else PROBLEM, text)
        return renewed

    def sign_out(self, tokens: TokenPair) -> None:
        """Sign out, and check whether the backend then refuses the refresh token."""
        description = self.services.settings.description
        if description.logout is None:
            text = "authapp.backend.logout is none: the backend does not learn of a sign-out"
            self.report.add("sign-out", NOTE, text)
            return
        try:
            self.backend.logout(tokens)
        except BackendUnavailable as error:
            lines = self._lines(
                error,
                lambda content: suggestions.for_logout(content, description.conditions.logout_done),
            )
            self._add("sign-out", PROBLEM, error.reason, *lines)
            return
        self._add("sign-out", OK, "the backend has ended the session")
        if self.backend.refreshes:
            self._after_sign_out(tokens)

    def _after_sign_out(self, tokens: TokenPair) -> None:
        """Check that the settings describe how the backend refuses a refresh token."""
        try:
            self._keep(self.backend.refresh(tokens))
        except BackendRejected as error:
            self._add("ended", OK, f"the refresh token is refused, as described: {error}")
        except BackendUnavailable as error:
            self._refresh_unavailable("ended", error)
        else:
            text = "the backend still renews after the sign-out: copies of the token stay valid"
            self._add("ended", NOTE, text)

    def _refresh_unavailable(self, about: str, error: BackendUnavailable) -> None:
        described = self.services.settings.description.conditions.refresh_refused
        self._unavailable(about, error, "refresh", "refresh.refused", described)

    def _unavailable(
        self, about: str, error: BackendUnavailable, verb: str, setting: str, described: Any
    ) -> None:
        def lines(content: Any) -> list[str]:
            if 200 <= content["status"] < 300 and (found := suggestions.for_tokens(content)):
                return found
            return suggestions.for_refusal(verb, setting, content, described)

        self._add(about, PROBLEM, error.reason, *self._lines(error, lines))

    def _lines(self, error: BackendUnavailable, suggest: Callable[[Any], list[str]]) -> list[str]:
        content = self._content()
        return suggest(content) if isinstance(error, UnexpectedAnswer) and content else []

    def _content(self, login: bool = False) -> Any:
        """Return the content of the last response.

        :param login: True for the response to the login instead.
        """
        exchanges = self.http.exchanges
        return exchanges[0 if login else -1].content if exchanges else {}

    def _keep(self, tokens: TokenPair) -> None:
        """Keep these tokens out of all output."""
        self.secrets |= {tokens.access, tokens.refresh}

    def _add(self, about: str, level: str, text: str, *lines: str) -> None:
        """Add a finding with the requests since the last finding."""
        new, self.seen = self.http.exchanges[self.seen :], len(self.http.exchanges)
        shown = [each.shown(self.secrets) for each in new]
        self.report.add(about, level, text, *lines, exchanges=shown)
