"""``authapp check --login``: calls the real backend step by step, from sign-in to sign-out."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from authapp.backend.expressions import NEVER, Condition, Response
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
from authapp.settings.backend_settings import from_preset


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
    good: list[Response] = field(default_factory=list)
    """The responses that accept a sign-in, a second step or a renewal. A condition that is proposed
    for a refusal must be false for all of them."""
    renews: bool = False
    """True after a renewal has succeeded."""
    backend: HTTPBackend = field(init=False)

    def __post_init__(self) -> None:
        settings, url = self.services.settings, self.services.backend_url or ""
        self.backend = HTTPBackend(self.http, url, settings.description)
        verify = settings.verify
        self.secrets |= {settings.description.client_secret or "", (verify and verify.secret) or ""}

    def sign_in(self, step: Callable[[], TokenPair], about: str = "sign-in") -> TokenPair | None:
        """Take the first or the second step of a sign-in."""
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
            self._sign_in_unavailable(about, error, verb)
        else:
            self._keep(tokens)
            self._add(about, OK, "the backend has issued tokens")
            return tokens
        return None

    def _second_step(self, challenge: BackendChallenge) -> TokenPair | None:
        state = challenge.state
        self.secrets |= {state, json.loads(state)[0]}
        self._accepted()
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
            text = f"the backend refuses its own refresh token: {error}"
            self._add("renewal", PROBLEM, text, *self._refused_a_new_token())
            return None
        except BackendUnavailable as error:
            text = _of_new_token(error)
            self._add("renewal", PROBLEM, text, *self._lines(error, self._for_renewal))
            return error.tokens
        self._keep(renewed)
        self.renews = True
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
            done = self._described(
                "logout", "logout.done", description.conditions.logout_done or NEVER
            )
            lines = self._lines(error, lambda content: suggestions.for_logout(content, done))
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
            text = error.reason if self.renews else _of_new_token(error)
            self._add("ended", PROBLEM, text, *self._lines(error, self._for_refused_token))
        else:
            text = "the backend still renews after the sign-out: copies of the token stay valid"
            self._add("ended", NOTE, text)

    def _sign_in_unavailable(self, about: str, error: BackendUnavailable, verb: str) -> None:
        conditions = self.services.settings.description.conditions
        refused = self._described("login", "login.refused", conditions.login_refused)

        def lines(content: Response) -> list[str]:
            if 200 <= content["status"] < 300 and (found := suggestions.for_tokens(content)):
                return found
            args = (verb, "login.refused", content, refused, self.good)
            (line,) = suggestions.for_refusal(*args)
            if line.startswith("#"):
                return [line]
            return ["# if the password is wrong; otherwise see authapp.backend.login:", line]

        self._add(about, PROBLEM, error.reason, *self._lines(error, lines))

    def _for_renewal(self, content: Response) -> list[str]:
        """Return lines to propose if the response to a renewal has no usable tokens.

        The backend has just issued the refresh token, so the response cannot be a refusal.
        Therefore no line changes ``refresh.refused``.
        """
        found = []
        if 200 <= content["status"] < 300:
            answers = self.services.settings.description.answers
            found = suggestions.for_renewed_tokens(content, answers)
        return found or suggestions.for_request("refresh")

    def _refused_a_new_token(self) -> list[str]:
        """Return lines for a response that ``refresh.refused`` takes for a refusal."""
        content, answers = self._content(), self.services.settings.description.answers
        if 200 <= content["status"] < 300 and answers.access(content):
            text = "this condition is true for the response to a renewal that has succeeded"
            return [f"# authapp.backend.refresh.refused: {text}"]
        return suggestions.for_request("refresh")

    def _for_refused_token(self, content: Response) -> list[str]:
        """Return lines for a response to a renewal after the sign-out."""
        if not self.renews:
            return ["# authapp.backend.refresh: make the renewal before the sign-out succeed first"]
        described = self.services.settings.description.conditions.refresh_refused
        described = self._described("refresh", "refresh.refused", described)
        return suggestions.for_refusal("refresh", "refresh.refused", content, described, self.good)

    def _described(self, verb: str, setting: str, condition: Condition) -> Condition:
        """Return the condition that a proposed line extends.

        If the ini file replaces the request of the preset, but not the condition, the condition
        does not fit the request. Then the result is a condition that is never true.
        """
        shown = self.services.settings.shown
        if from_preset(shown, f"backend.{setting}") and not from_preset(shown, f"backend.{verb}"):
            return NEVER
        return condition

    def _lines(
        self, error: BackendUnavailable, suggest: Callable[[Response], list[str]]
    ) -> list[str]:
        content = self._content()
        if not isinstance(error, UnexpectedAnswer) or not content:
            return []
        if error.reason.startswith("userinfo:"):
            return suggestions.for_request("userinfo")
        return suggest(content)

    def _content(self, login: bool = False) -> Any:
        """Return the content of the last response, or of the first one.

        :param login: True for the first response: the one to the login.
        """
        exchanges = self.http.exchanges
        return exchanges[0 if login else -1].content if exchanges else {}

    def _keep(self, tokens: TokenPair) -> None:
        """Mask these tokens in all output, and add the response that has them to ``good``."""
        self._accepted()
        self.secrets |= {tokens.access, tokens.refresh}

    def _accepted(self) -> None:
        """Add the responses since the last finding to ``good``: they accept a request."""
        self.good += [each.content for each in self.http.exchanges[self.seen :]]

    def _add(self, about: str, level: str, text: str, *lines: str) -> None:
        """Add a finding with the requests since the last finding."""
        new, self.seen = self.http.exchanges[self.seen :], len(self.http.exchanges)
        shown = [each.shown(self.secrets) for each in new]
        self.report.add(about, level, text, *lines, exchanges=shown)


def _of_new_token(error: BackendUnavailable) -> str:
    """Return the reason of a failed renewal, if no renewal has succeeded yet.

    The check assumes that the request is wrong. So the reason names the setting
    ``backend.refresh``, and not ``backend.refresh.refused``.
    """
    return error.reason.replace("authapp.backend.refresh.refused", "authapp.backend.refresh")
