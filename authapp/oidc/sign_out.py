"""Sign-out at the provider: OpenID Connect RP-Initiated Logout 1.0."""

from urllib.parse import urlencode

from pyramid.request import Request

from authapp.backend.protocol import BackendUnavailable
from authapp.oidc.services import oidc_services_of
from authapp.request_log import request_log
from authapp.session.error_codes import SIGNED_OUT

log = request_log(__name__)


def sign_out_url(request: Request) -> str | None:
    """Return the URL of the provider that signs the user out and then returns to the sign-in page.

    :returns: the URL. None if ``oidc.logout`` is ``local``, if the provider has no URL for a
        sign-out, or if the provider's metadata cannot be read.
    """
    oidc = oidc_services_of(request)
    if oidc.client.logout == "local":
        return None
    try:
        endpoint = oidc.metadata.endpoints().end_session
    except BackendUnavailable as error:
        log.warning("SignedOut: the provider was not told: %s", error.reason)
        return None
    if endpoint is None:
        return None
    back = request.route_url("authapp.login", _query={"reason": SIGNED_OUT})
    query = {"client_id": oidc.client.client_id, "post_logout_redirect_uri": back}
    return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)
