"""The first step of a sign-in: authapp sends the browser to the provider."""

import time
from urllib.parse import urlencode

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.backend.protocol import BackendUnavailable
from authapp.oidc.pages import sign_in_page
from authapp.oidc.services import oidc_services_of
from authapp.oidc.transaction import Transaction
from authapp.request_log import request_log
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.web.begin_session import REMEMBER, read_choices
from authapp.web.idle_activity import is_prefetch
from authapp.web.recent_auth import MAX_AGE, read_max_age
from authapp.web.redirects import safe_next
from authapp.web.responses import retry_after
from authapp.web.sign_in import SignInRefused

log = request_log(__name__)


def start_path(request: Request, target: str) -> str:
    """Return the path that sends the browser to the provider.

    :param target: the path or URL to which the user returns:
        see :func:`authapp.web.redirects.safe_next`.
    """
    query = {"next": target}
    max_age = read_max_age(request.params.get(MAX_AGE))
    if max_age is not None:
        query[MAX_AGE] = str(max_age)
    if read_choices(request).remember:
        query[REMEMBER] = "1"
    return str(request.route_path("authapp.login_oidc", _query=query))


@view_config(
    permission=NO_PERMISSION_REQUIRED, route_name="authapp.login_oidc", request_method="GET"
)
def start(request: Request) -> Response:
    """Send the browser to the provider (Core section 3.1.2.1), with PKCE, state and nonce.

    Of the parameters in the query, only ``max_age`` is sent on to the provider. It comes from a
    view that needs a recent sign-in, and makes the provider authenticate the user again.

    :returns: a 303 redirect. If the provider is down: the sign-in page, with status 503. If the
        browser only prefetches: an empty 503, because the user has not asked for a sign-in yet.
    """
    if is_prefetch(request):
        return Response(status=503, headers={"Cache-Control": "no-store"})
    target = safe_next(request, request.GET.get("next"))
    oidc = oidc_services_of(request)
    client = oidc.client
    try:
        endpoint = oidc.metadata.endpoints().authorization
    except BackendUnavailable as error:
        log.warning("BackendUnavailable: sign-in: %s", error.reason)
        request.response.status = 503
        request.response.headers["Retry-After"] = retry_after(error.retry_after or RETRY_AFTER)
        return sign_in_page(request, SignInRefused(ErrorCode.BACKEND_UNAVAILABLE), target)
    redirect_uri = request.route_url("authapp.login_oidc_callback")
    max_age, prompt = client.max_age, client.prompt
    asked = read_max_age(request.GET.get(MAX_AGE))
    if asked is not None:
        max_age = asked if max_age is None else min(asked, max_age)
        prompt = " ".join(dict.fromkeys(["login", *(prompt or "").replace("none", "").split()]))
    choices = read_choices(request)
    transaction = Transaction.begin(target, redirect_uri, max_age, time.time(), choices)
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "scope": client.scope,
        "state": transaction.state,
        "nonce": transaction.nonce,
        "code_challenge": transaction.challenge,
        "code_challenge_method": "S256",
        "prompt": prompt,
        "max_age": max_age,
        "acr_values": client.acr_values,
    }
    given = {name: value for name, value in query.items() if value is not None}
    separator = "&" if "?" in endpoint else "?"
    response = HTTPSeeOther(
        endpoint + separator + urlencode(given), headers={"Cache-Control": "no-store"}
    )
    oidc.cookies.write(request, response, transaction)
    return response
