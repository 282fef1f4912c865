"""The last step of a sign-in: the provider has sent the browser back with a code or an error."""

from dataclasses import dataclass
from functools import partial

from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.backend.http_exchange import in_one_line
from authapp.backend.protocol import (
    BackendRejected,
    BackendUnavailable,
)
from authapp.oidc.pages import sign_in_page
from authapp.oidc.services import OIDCServices, oidc_services_of
from authapp.oidc.transaction import LIFETIME, Transaction
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.error_codes import ErrorCode
from authapp.session.token_pair import TokenPair
from authapp.web.begin_session import Choices
from authapp.web.client_address import client_address
from authapp.web.redirects import safe_next
from authapp.web.responses import see_other
from authapp.web.sign_in import SignInRefused, sign_in

log = request_log(__name__)

MAX_PARAMETER = 4096
"""The most characters of a parameter. A callback with a longer parameter is refused."""

_BY_THE_USER = frozenset(
    (
        "access_denied",
        "login_required",
        "interaction_required",
        "consent_required",
        "account_selection_required",
    )
)
"""Errors of the provider after which the user can try again (RFC 6749 section 4.1.2.1, OpenID
Connect Core section 3.1.2.6)."""

_BUSY = frozenset(("temporarily_unavailable", "server_error"))


@dataclass(frozen=True)
class _Answer:
    """The parameters of the callback (RFC 6749 section 4.1.2, RFC 9207 section 2)."""

    state: str
    code: str
    error: str
    description: str
    issuer: str | None


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login_oidc_callback",
    request_method="GET",
)
def callback(request: Request) -> Response:
    """Finish the sign-in, and redirect to ``next``.

    :returns: a 303 redirect, or the sign-in page with the reason why the sign-in did not succeed.
    """
    oidc = oidc_services_of(request)
    cleared = Response()  # gets the cookie that ends the transaction
    answer = _read(request)
    transaction = oidc.cookies.take(request, cleared, answer.state) if answer else None
    target = safe_next(request, transaction.target if transaction else None)
    ask = partial(_ask, request, answer, transaction)
    try:
        # Limit the failed sign-ins of one visitor. Without a user name, only the address counts.
        choices = transaction.choices if transaction else Choices()
        sign_in(request, "", ask, choices, counted=f"oidc {client_address(request)}")
    except SignInRefused as refused:
        if refused.code is not ErrorCode.SIGN_IN_EXPIRED or request.identity is None:
            return _with_cookies(sign_in_page(request, refused, target), cleared)
        # The callback was opened twice, and the first request has signed the user in.
    return _with_cookies(see_other(target), cleared)


def _read(request: Request) -> _Answer | None:
    """Return the parameters of the callback. None if a parameter is repeated or too long."""
    values: dict[str, str] = {}
    for name in ("state", "code", "error", "error_description", "iss"):
        given = request.GET.getall(name)
        if len(given) > 1 or any(len(each) > MAX_PARAMETER for each in given):
            return None
        values.update(zip([name], given, strict=False))
    return _Answer(
        values.get("state", ""),
        values.get("code", ""),
        values.get("error", ""),
        values.get("error_description", ""),
        values.get("iss"),
    )


def _ask(request: Request, answer: _Answer | None, transaction: Transaction | None) -> TokenPair:
    """Exchange the code in the parameters of the callback for tokens.

    :raises SignInRefused: if the user or the provider did not finish the sign-in.
    :raises BackendUnavailable: if the provider is down, or its response is not usable.
    """
    oidc, services = oidc_services_of(request), services_of(request)
    if (
        answer is None
        or transaction is None
        # A copy of the cookie may have been used already.
        or not services.use_once.first("oidc transaction", transaction.state, LIFETIME)
    ):
        raise SignInRefused(ErrorCode.SIGN_IN_EXPIRED, reason="no such transaction")
    _check_answer(oidc, answer)
    try:
        return oidc.guarded.sign_in(
            lambda: oidc.backend.exchange_code(
                answer.code,
                transaction.verifier,
                transaction.redirect_uri,
                transaction.nonce,
                transaction.max_age,
            )
        )
    except BackendRejected as error:
        address = client_address(request)
        services.throttle.failed(f"oidc {address}", address)
        log.warning("SignInFailed: %s", error)
        raise SignInRefused(ErrorCode.SIGN_IN_EXPIRED, reason=str(error)) from None


def _check_answer(oidc: OIDCServices, answer: _Answer) -> None:
    """Check that the parameters of the callback come from the provider and contain a code.

    :raises SignInRefused: if they contain an error after which the user can try again.
    :raises BackendUnavailable: if they contain any other error, or are not usable.
    """
    issuer = oidc.client.issuer
    expected = oidc.metadata.endpoints().names_itself
    if answer.issuer != issuer and (answer.issuer is not None or expected):
        raise BackendUnavailable("the iss parameter is not the issuer's (RFC 9207)")
    if answer.error:
        said = f"{in_one_line(answer.error)} {in_one_line(answer.description)}".strip()
        if answer.error in _BY_THE_USER:
            raise SignInRefused(ErrorCode.SIGN_IN_INCOMPLETE, reason=said)
        if answer.error not in _BUSY:
            log.error("ProviderUnavailable: the provider refuses the request: %s", said)
        raise BackendUnavailable(said)
    if not answer.code:
        raise BackendUnavailable("the provider gave neither a code nor an error")


def _with_cookies(response: Response, cleared: Response) -> Response:
    for cookie in cleared.headers.getall("Set-Cookie"):
        response.headers.add("Set-Cookie", cookie)
    return response
