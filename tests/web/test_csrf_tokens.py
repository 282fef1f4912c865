"""Which CSRF tokens authapp accepts, and when they change."""

from typing import Any

import pytest
from pyramid.csrf import new_csrf_token

from servers import Served
from site_under_test import SECRET, application, application_with_view


def test_new_csrf_token_changes_the_token_only_before_sign_in(backend: Served) -> None:
    """Before a sign-in, each call of ``new_csrf_token`` changes the CSRF token. During a session,
    the CSRF token does not change."""
    site = application_with_view(backend.url, new_csrf_token)
    assert site.get("/view").json != site.get("/view").json
    site.sign_in()
    assert site.get("/view").json == site.csrf()


def test_csrf_token_of_an_older_secret_is_accepted(backend: Served) -> None:
    site = application(backend.url)
    site.sign_in()
    csrf = site.csrf()
    rotated = application(backend.url, secret=f"a new secret, of more than 32 bytes\n{SECRET}")
    rotated.cookiejar = site.cookiejar
    rotated.post("/logout", {"csrf_token": "é"}, status=403)
    assert rotated.post("/session", headers={"X-CSRF-Token": csrf}).json["user"]["id"] == 1


@pytest.mark.parametrize(
    "options",
    [{"require_csrf": False}, {"token": "_csrf", "header": "X-XSRF", "require_csrf": True}],
)
def test_authapps_forms_ignore_the_csrf_options_of_the_application(
    backend: Served, options: dict[str, Any]
) -> None:
    site = application(backend.url, lambda config: config.set_default_csrf_options(**options))
    site.post("/login", {"username": "alice", "password": "alice-password"}, status=403)
    site.sign_in()
    site.post("/session", status=403)
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    site.sign_out()
