"""The client id and the scope that authapp sends to the backend at a sign-in."""

from servers import Served
from site_under_test import Site


def test_client_without_a_secret_sends_its_client_id_in_the_body(backend: Served) -> None:
    site = Site(backend.url, backend__client_id="web")
    site.sign_in()
    assert backend.requests[-1].json_body["client_id"] == "web"
    assert "Authorization" not in backend.requests[-1].headers


def test_configured_scope_is_sent_at_sign_in(backend: Served) -> None:
    login = "\nPOST /api/token/\nusername={username}\npassword={password}\nscope={scope}"
    Site(backend.url, backend__scope="openid", backend__login=login).sign_in()
    assert backend.requests[-1].json_body["scope"] == "openid"
