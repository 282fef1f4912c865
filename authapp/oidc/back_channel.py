"""Sign-out by the provider: OpenID Connect Back-Channel Logout 1.0."""

import time

from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.backend.protocol import BackendUnavailable
from authapp.oidc.services import oidc_services_of
from authapp.oidc.token_checks import LEEWAY, MAX_AGE_OF_LOGOUT, TokenInvalid
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.token_pair import SUB_ALONE, group

log = request_log(__name__)


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.logout_backchannel",
    request_method="POST",
    require_csrf=False,
)
def back_channel(request: Request) -> Response:
    """End the sessions that a logout token names, in all processes.

    - If the token has only a ``sid`` or only a ``sub``, the sessions of this ``sid`` or ``sub``
      end.
    - If the token has both, the sessions of the ``sid`` end, and those sessions of the ``sub``
      whose ID token had no ``sid``. Other sessions of the user continue.

    A session ends even if it is being renewed at the same time.

    :returns: 200. If the token is not valid: 400, and no session ends.
    """
    oidc, now = oidc_services_of(request), time.time()
    services = services_of(request)
    try:
        given = request.POST.getall("logout_token")
        if len(given) != 1 or len(request.GET):
            raise TokenInvalid("there must be one logout_token, in the body")
        keys = oidc.metadata.endpoints().keys
        claims = oidc.backend.checks.logout_token(given[0], keys, now)
        lifetime = 2 * (MAX_AGE_OF_LOGOUT + LEEWAY)
        if not services.use_once.first("logout token", claims["jti"], lifetime):
            raise TokenInvalid("jti was used already")
    except BackendUnavailable as error:
        log.warning("LogoutTokenInvalid: %s", error.reason)
        return _response(400)
    names = [name for name in ("sub", "sid") if claims.get(name)]
    if len(names) == 2:
        # The sessions of the ``sid``, and the user's sessions whose ID tokens had no ``sid``.
        ended = {"sid": claims["sid"], SUB_ALONE: claims["sub"]}
    else:
        ended = {names[0]: claims[names[0]]}
    for name, value in ended.items():
        services.revocation.revoke_group(group(oidc.client.issuer, name, value), now)
    log.info("SessionRevoked: the provider has ended the sessions of a %s", names[-1])
    return _response(200)


def _response(status: int) -> Response:
    return Response(status=status, headers={"Cache-Control": "no-store"})
