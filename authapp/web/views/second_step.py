"""The second step of a sign-in: the user types a code, after the password (contract section 8)."""

from functools import partial
from typing import Any

from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.backend.protocol import BackendChallenge, BackendRejected, ChallengeExpired
from authapp.services import services_of
from authapp.session.error_codes import CHALLENGE_EXPIRED, WRONG_CODE_SENTENCE, ErrorCode
from authapp.session.session import TokenPair
from authapp.web.challenge_cookie import (
    Challenge,
    begin_challenge,
    complete_challenge,
    end_challenge,
    is_completed,
    read_challenge,
)
from authapp.web.client_address import client_address
from authapp.web.csrf import check_csrf
from authapp.web.redirects import safe_next
from authapp.web.responses import see_other
from authapp.web.sign_in import SignInRefused, sign_in

MAX_CODE = 256
"""The maximum length of a code, in characters. For a longer code, the backend is not called."""


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login_challenge",
    request_method="GET",
    renderer="authapp:templates/login_challenge.jinja2",
)
def challenge_form(request: Request) -> Any:
    """Show the form for the code.

    :returns: the variables of the template. If the request has no valid cookie from the first step,
        a redirect to the sign-in page.
    """
    target = safe_next(request, request.GET.get("next"))
    challenge = read_challenge(request)
    if challenge is None:
        return _sign_in_again(request, target, {})
    return _form(request, target, challenge)


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login_challenge",
    request_method="POST",
    renderer="authapp:templates/login_challenge.jinja2",
    require_csrf=False,
)
def answer_challenge(request: Request) -> Any:
    """Complete the sign-in with a code. With the field ``cancel``, cancel the sign-in.

    :returns: a 303 redirect, or the variables of the template:

        - The user is signed in: a redirect to ``next``.
        - The backend asks for a further code: a redirect to this page.
        - The sign-in cannot continue or was cancelled: a redirect to the sign-in page.
        - The attempt failed, and the user may try again: the variables, to show the form again.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    check_csrf(request)
    fields = request.POST
    target = safe_next(request, str(fields.get("next", "")))
    challenge = read_challenge(request)
    if challenge is None:
        return _sign_in_again(request, target, {"reason": CHALLENGE_EXPIRED})
    if "cancel" in fields:
        return _ended(request, challenge, _sign_in_again(request, target, {}))
    code = "".join(str(fields.get("code", "")).split())
    try:
        sign_in(request, challenge.name, partial(_ask, request, challenge, code), challenge.choices)
    except SignInRefused as refused:
        if isinstance(refused.__cause__, ChallengeExpired):
            again = _sign_in_again(request, target, {"reason": CHALLENGE_EXPIRED})
            return _ended(request, challenge, again)
        if is_completed(request, challenge):  # the backend takes no second code for this sign-in
            return _ended(
                request, challenge, _sign_in_again(request, target, {"reason": refused.code.value})
            )
        return _form(request, target, challenge, refused)
    except BackendChallenge as asked:
        choices, id = challenge.choices, challenge.id
        return begin_challenge(request, asked, challenge.name, target, choices, id)
    return _ended(request, challenge, see_other(target))


def _ask(request: Request, challenge: Challenge, code: str) -> TokenPair:
    if not 0 < len(code) <= MAX_CODE or not code.isprintable():
        raise BackendRejected("no code looks like this")
    services = services_of(request)
    try:
        tokens = services.backend.challenge(challenge.state, code)
    except BackendChallenge:
        # Some backends answer a wrong code with the same challenge, so the attempt counts.
        services.throttle.failed(challenge.name, client_address(request))
        raise
    if not complete_challenge(request, challenge):
        # Another request was first, after a double click or with a copy of the cookie. Do not
        # revoke the new tokens: a backend may have given the same tokens to the first request.
        raise ChallengeExpired("another request has completed this sign-in")
    return tokens


def _ended(request: Request, challenge: Challenge, response: Response) -> Response:
    end_challenge(request, response, challenge)
    return response


def _sign_in_again(request: Request, target: str, query: dict[str, str]) -> Response:
    return see_other(request.route_path("authapp.login", _query={"next": target, **query}))


def _form(
    request: Request, target: str, challenge: Challenge, refused: SignInRefused | None = None
) -> dict[str, Any]:
    """Return the variables of the template, and forbid caches to store the page."""
    request.response.cache_control = "no-store"
    is_wrong = refused and refused.code is ErrorCode.INVALID_CREDENTIALS
    return {
        "next": target,
        "kind": challenge.kind,
        "name": challenge.name,
        "error": refused and refused.code,
        "sentence": WRONG_CODE_SENTENCE if is_wrong else refused and refused.sentence,
        "words": refused.words if refused else "",
    }
