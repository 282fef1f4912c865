"""How this site proves to the provider who it is: OpenID Connect Core 1.0 section 9."""

from typing import Any

from authapp.backend.client_authentication import basic
from authapp.backend.client_key import ASSERTION_TYPE
from authapp.settings.oidc_settings import OIDCSettings


def authenticated(client: OIDCSettings, fields: dict[str, str]) -> dict[str, Any]:
    """Return the options of an HTTP request that sends a form with the credentials of this site.

    :param fields: the fields of the form, without the credentials.
    :returns: parameters of ``requests.request``.
    """
    if client.client_auth == "basic":
        return {"data": fields, "auth": basic(client.client_id, client.client_secret)}
    named = {**fields, "client_id": client.client_id}
    if client.client_auth == "post":
        named["client_secret"] = client.client_secret or ""
    if client.client_auth == "private_key_jwt" and client.client_key is not None:
        signed = client.client_key.assertion(client.client_id, client.issuer)
        named |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}
    return {"data": named}
