"""A backend that is called over HTTP, as its :class:`Description` says."""

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from authapp.backend.client_authentication import basic
from authapp.backend.description import Description
from authapp.backend.expressions import NEVER, Condition, Expression
from authapp.backend.http_client import BoundedSession, hurry
from authapp.backend.http_exchange import Reply, exchange, in_one_line, unusable
from authapp.backend.protocol import (
    LATE,
    MAX_STATE,
    AccountIncomplete,
    AccountLocked,
    BackendChallenge,
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    ChallengeExpired,
    Credentials,
    NoResponse,
    UnexpectedAnswer,
)
from authapp.backend.request_template import CannotSend, RequestTemplate
from authapp.backend.token_values import seconds, usable_token
from authapp.session.session import TokenPair

_SECRETS = ("password", "access", "refresh", "client_secret", "code", "state")
_SIGN_IN = ("login", "challenge")
_TELLING = ("error", "code", "detail", "message", "msg", "error_description")
"""Members of a response's JSON that often say what is wrong. The log shows their values."""


class HTTPBackend:
    """A :class:`~authapp.backend.protocol.Backend` that is called over HTTP.

    :param session: the HTTP session that sends the requests, and limits the time of each request.
    :param url: the base URL, without a slash at the end.
    :param description: the requests of each verb, and where the values are in the responses.
    """

    def __init__(self, session: BoundedSession, url: str, description: Description) -> None:
        self._session = session
        self._url = url
        self._description = description.with_client()
        self.refreshes = description.refresh is not None
        named = description.logout.placeholders if description.logout else frozenset()
        self.logout_needs_access = "access" in named and "refresh" not in named

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        values = {
            "username": credentials.username,
            "password": credentials.password,
            "address": credentials.address,
        }
        return self._sign_in("login", self._description.login, values)

    def challenge(self, state: str, code: str) -> TokenPair:
        """Send the code of a second step. The response is read like the response to a login.

        :param state: the state of the :class:`BackendChallenge`, from :meth:`login`.
        """
        template = self._description.challenge
        if template is None:
            raise BackendUnavailable("authapp.backend.challenge is none")
        theirs, address = json.loads(state)
        values = {"state": theirs, "code": code, "address": address}
        return self._sign_in("challenge", template, values)

    def _sign_in(
        self, verb: str, template: RequestTemplate, values: Mapping[str, str | None]
    ) -> TokenPair:
        """Send a request that signs a user in, and read its response."""
        said = self._description.conditions
        try:
            reply = self._send(template, values)
        except CannotSend as error:
            raise BackendRejected(str(error)) from None
        words = self._words(reply, values)
        reason = f"status {reply.status} {words}".strip()
        if said.login_throttled(reply.content):
            raise BackendThrottled(reason, reply.wait)
        expired = said.challenge_expired if verb == "challenge" else NEVER
        outcomes: tuple[tuple[Condition, type[BackendRejected]], ...] = (
            (expired, ChallengeExpired),
            (said.login_locked, AccountLocked),
            (said.login_incomplete, AccountIncomplete),
            (said.login_refused, BackendRejected),
        )
        for condition, error_class in outcomes:
            if condition(reply.content):
                raise error_class(reason, words)
        if said.login_challenge(reply.content):
            raise self._challenge_in(verb, reply, values)
        tokens = self._tokens(reply, None)
        if tokens is None:
            raise self._unexpected(verb, reply, values, "login.refused")
        return self._with_userinfo(tokens)

    def _challenge_in(self, verb: str, reply: Reply, values: Mapping[str, str | None]) -> Exception:
        """Read the challenge (its state) from a response.

        :returns: the challenge, or an error if the response has no usable state.
        """
        theirs = _value(self._description.answers.challenge_state, reply.content)
        if type(theirs) is int:
            theirs = str(theirs)
        if isinstance(theirs, str) and theirs:
            # The request of the second step may name the visitor's address too.
            state = json.dumps([theirs, values["address"]])
            if len(state) <= MAX_STATE:
                return BackendChallenge(state)
        return self._unexpected(verb, reply, values, "challenge.state")

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`.

        A backend that hangs may still spend the token later. If no thread read its late response,
        the new token would be lost. So the call runs in a separate thread, which waits for a late
        response for :data:`LATE` seconds.
        """
        template = self._description.refresh
        if template is None:
            raise BackendUnavailable("authapp.backend.refresh is none")
        return await_tokens(
            lambda: self._refresh(template, tokens), self._session.timeout, self._where(template)
        )

    def _refresh(self, template: RequestTemplate, tokens: TokenPair) -> TokenPair:
        values = {"access": tokens.access, "refresh": tokens.refresh}
        try:
            reply = self._send(template, values, **may_be_late(self._session.timeout))
        except CannotSend as error:
            raise BackendUnavailable(str(error)) from None
        if self._description.conditions.refresh_refused(reply.content):
            reason = f"status {reply.status} {self._words(reply, values)}"
            raise BackendRejected(reason.strip())
        renewed = self._tokens(reply, tokens)
        if renewed is None:
            unexpected = self._unexpected("refresh", reply, values, "refresh.refused")
            rotated = _token(self._description.answers.refresh, reply.content)
            if rotated is not None:
                unexpected.tokens = TokenPair(tokens.access, rotated)  # the old token is spent
            raise unexpected
        return self._with_userinfo(renewed)

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
        template = self._description.logout
        if template is None:
            return
        values = {"access": tokens.access, "refresh": tokens.refresh}
        try:
            reply = self._send(template, values)
        except CannotSend as error:
            raise BackendUnavailable(str(error)) from None
        done = self._description.conditions.logout_done
        if not (reply.good if done is None else done(reply.content)):
            raise self._unexpected("logout", reply, values, "logout.done")

    def reach(self) -> None:
        """Check whether the backend is up, which means that it returns a status below 500.

        :raises BackendUnavailable: if the backend is down.
        """
        reply = exchange(self._session, "GET", self._url + "/")
        if reply.status >= 500:
            raise BackendDown(f"status {reply.status}")

    def _send(
        self, template: RequestTemplate, values: Mapping[str, str | None], **options: Any
    ) -> Reply:
        """Send one of the requests in the description, with values in its placeholders.

        :raises CannotSend: if a value contains characters that cannot be sent in its place.
        :raises BackendUnavailable: if there is no response.
        """
        about = self._description
        client = about.client_values(self._url + template.shown.partition(" ")[2])
        request = template.fill({**client, **values})
        names = {name.lower() for name in request.headers}
        if about.client_auth == "basic" and "authorization" not in names:
            options["auth"] = basic(about.client_id, about.client_secret)
        return exchange(
            self._session,
            request.method,
            self._url + request.path,
            shown=request.shown,
            headers=request.headers,
            data=request.body,
            **options,
        )

    def _tokens(self, reply: Reply, before: TokenPair | None) -> TokenPair | None:
        """Read the tokens in a response.

        If a response has no refresh token, or an empty one, there are three cases:

        - ``backend.refresh`` is ``none`` or does not send ``{refresh}``: no renewal needs a refresh
          token, so the access token is stored as the refresh token too.
        - Any other backend, at a renewal: the session keeps the old refresh token.
        - Any other backend, at a sign-in: the response is not usable.

        :param before: the tokens before a renewal. None at a sign-in.
        :returns: the tokens, or None if the response is not usable.
        """
        answers, content = self._description.answers, reply.content
        access = _token(answers.access, content)
        refresh = _token(answers.refresh, content)
        if (
            not reply.good
            or access is None
            or (refresh is None and _value(answers.refresh, content) not in (None, ""))
        ):
            return None
        expires_in = seconds(_value(answers.expires_in, content))
        refresh_expires_in = seconds(_value(answers.refresh_expires_in, content))
        template = self._description.refresh
        if refresh is None and (template is None or "refresh" not in template.placeholders):
            refresh, refresh_expires_in = access, expires_in
        elif refresh is None and before is not None:
            refresh = before.refresh
        elif refresh is None:
            return None
        user = _value(answers.user, content)
        return TokenPair(
            access,
            refresh,
            expires_in,
            refresh_expires_in,
            user if isinstance(user, dict) else None,
        )

    def _with_userinfo(self, tokens: TokenPair) -> TokenPair:
        """Ask the backend for the data of the tokens' user, if ``backend.userinfo`` is set.

        :param tokens: the new tokens, from a sign-in or a renewal.
        :returns: the tokens and the user's data. Without the setting: the tokens unchanged.
        :raises BackendUnavailable: if the backend does not return the data. The error contains
            ``tokens``.
        """
        template = self._description.userinfo
        if template is None:
            return tokens
        values = {"access": tokens.access, "refresh": tokens.refresh}
        try:
            reply = self._send(template, values)
            if not reply.good or not isinstance(reply.content["body"], dict):
                raise self._unexpected("userinfo", reply, values, "userinfo")
        except UnexpectedAnswer as error:
            error.tokens = tokens
            raise
        except (CannotSend, BackendUnavailable) as error:
            failed = BackendUnavailable(f"userinfo: {error}")
            failed.tokens = tokens
            raise failed from None
        return replace(tokens, user={**reply.content["body"], **(tokens.user or {})})

    def _words(self, reply: Reply, values: Mapping[str, str | None]) -> str:
        """Return the backend's reason (``answer.reason``) in one line, without secrets."""
        found = _value(self._description.answers.reason, reply.content)
        return in_one_line(found, *map(values.get, _SECRETS))

    def _unexpected(
        self, verb: str, reply: Reply, values: Mapping[str, str | None], setting: str
    ) -> BackendUnavailable:
        """Return the error for a response that is no success, and matches no setting."""
        if reply.status >= 500 or (reply.status == 429 and verb not in _SIGN_IN):
            return unusable(reply)
        if reply.status in (404, 405):
            setting = verb  # the path or the method is wrong
        elif reply.good and verb in (*_SIGN_IN, "refresh") and setting != "challenge.state":
            setting = f"answer.* and authapp.backend.{setting}"  # a token was not found
        body = reply.content["body"]
        secrets = [values.get(name) for name in _SECRETS]
        said = [
            f"{name}={in_one_line(body[name], *secrets)!r}"
            for name in _TELLING
            if isinstance(body, dict) and isinstance(body.get(name), str | int)
        ]
        text = " ".join([f"status {reply.status}, {reply.content_type}", *said])
        hint = f"see authapp.backend.{setting}"
        return UnexpectedAnswer(
            f"{verb}: {text}, from {reply.where}; {hint}",
            reply.retry_after,
            refusal=reply.status >= 400 or isinstance(body, dict),
        )

    def _where(self, template: RequestTemplate) -> str:
        return f"{template.shown} at {self._url.partition('://')[2]}"


def await_tokens(call: Callable[[], TokenPair], timeout: float, where: str) -> TokenPair:
    """Call a function that spends a refresh token, in a separate thread.

    :param timeout: seconds for which the request waits. The thread continues after that.
    :param where: the address, for the log.
    :raises NoResponse: after ``timeout``, with the future of the late response.
    """
    response: Future[TokenPair] = Future()

    def run() -> None:
        try:
            response.set_result(call())
        except Exception as error:
            response.set_exception(error)

    # Not a daemon thread: a process that stops must wait for the new token. With a copy of the
    # context, the log lines of the thread contain the id of the request.
    threading.Thread(target=copy_context().run, args=(run,), daemon=False).start()
    try:
        return response.result(timeout)
    except FutureTimeout:
        raise NoResponse(f"ReadTimeout at {where}", late=response) from None


def may_be_late(timeout: float) -> dict[str, Any]:
    """Return the options of a request that waits for a late response.

    The response may begin up to :data:`LATE` seconds after the request. Once it has begun, its body
    must arrive within ``timeout`` seconds.
    """
    hooks = {"response": lambda response, **options: hurry(response, timeout)}
    return {"timeout": (timeout, LATE), "hooks": hooks}


def _value(expression: Expression | None, content: object) -> Any:
    return None if expression is None else expression(content)


def _token(expression: Expression | None, content: object) -> str | None:
    """Return the token that an expression finds, or None if it finds no usable token."""
    return usable_token(_value(expression, content))
