"""Sign-out on this site, of one session and of all sessions of a user: contract section 4."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import time_machine
from webob import Response

from servers import BLACKLIST, REFRESH, Served
from site_under_test import COOKIE, Site


def test_get_logout_asks_for_confirmation_and_does_not_sign_out(site: Site) -> None:
    site.sign_in()
    asked = site.get("/logout")
    assert "Do you want to sign out?" in asked.text
    assert site.get("/session").json["user"]["id"] == 1
    asked.forms[1].submit("everywhere", status=303)
    assert site.get("/session").json["user"] is None


def test_sign_out_without_a_session_redirects_as_usual(site: Site) -> None:
    for _ in range(2):
        assert site.post("/logout", status=303).location.endswith("reason=SignedOut")


def test_a_copy_of_a_signed_out_cookie_is_refused(site: Site) -> None:
    site.sign_in()
    copy = site.twin()
    site.sign_out()
    answer = copy.get("/account", status=303)
    assert answer.location.endswith("/login?next=%2Faccount&reason=SessionRevoked")
    assert COOKIE not in copy.cookies
    assert "You have been signed out" in answer.follow().text


def test_sign_out_everywhere_ends_all_sessions_of_this_user_only(site: Site) -> None:
    other, bob = Site(wsgi=site.app), Site(wsgi=site.app)
    site.sign_in("alice")
    other.sign_in("alice")
    bob.sign_in("bob")
    site.sign_out(everywhere=True)
    assert other.get("/session").json["error"] == "SessionRevoked"
    assert bob.get("/session").json["user"]["id"] == 2
    other.sign_in("alice")
    assert other.get("/session").json["user"]["id"] == 1


def test_sign_out_revokes_the_session_when_the_backend_fails(site: Site, backend: Served) -> None:
    site.sign_in()
    backend.instead[BLACKLIST] = Response(status=500)
    copy = site.twin()
    site.sign_out()
    assert copy.get("/session").json["error"] == "SessionRevoked"


def test_s10_session_is_revoked_before_the_backend_is_called(site: Site, backend: Served) -> None:
    """Threat S10. A sign-out revokes the session on this site first, and then calls the backend. So
    a slow backend does not delay the sign-out on this site."""
    site.sign_in()
    copy = site.twin()
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        come.set()
        assert go.wait(10)

    backend.instead[BLACKLIST] = wait
    with ThreadPoolExecutor(1) as pool:
        signing_out = pool.submit(site.sign_out)
        assert come.wait(20)
        assert copy.get("/session").json["error"] == "SessionRevoked"
        go.set()
        assert signing_out.result(20).status_int == 303


def test_while_the_backend_is_down_the_sign_in_page_can_sign_out(
    site: Site, backend: Served
) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Response(status=503)
    with time_machine.travel(site.opened().validity.valid_until + 1):
        form = site.get("/login").forms[0]
        assert form.action == "/logout"
        form.submit(status=303)
    assert COOKIE not in site.cookies
