"""A session is renewed while other requests use the session, end it or replace it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyramid.request import Request
from pyramid.response import Response
from webob import Response as Answer

from renewal.phases import DUE, EXPIRED, blocked, later, page, twins_at
from servers import BLACKLIST, NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site, application_with_view


def test_fifty_threads_share_one_renewal_of_an_expired_session(site: Site, backend: Served) -> None:
    site.sign_in()
    barrier = threading.Barrier(50)

    def visit(browser: Site) -> str:
        barrier.wait()
        return page(browser, status=200).text

    browsers = [site.twin() for _ in range(50)]
    with later(EXPIRED), ThreadPoolExecutor(50) as pool:
        pages = list(pool.map(visit, browsers))
    assert backend.calls[REFRESH] == 1
    assert all("alice@example.com" in each for each in pages)
    assert len({browser.opened().tokens.refresh for browser in browsers}) == 1


def test_due_session_blocks_only_the_request_that_renews(site: Site, backend: Served) -> None:
    site.sign_in()
    slow = site.twin()
    come, go = blocked(backend)
    with later(DUE), ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(page, slow, status=200)
        assert come.wait(20)
        page(site, status=200)
        assert not renewing.done()
        go.set()
        renewing.result(20)
    assert backend.calls[REFRESH] == 1


def test_sign_out_during_a_renewal_ends_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = site.csrf()
    slow = site.twin()
    come, go = threading.Event(), threading.Event()

    def rotate_and_wait(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        come.set()
        assert go.wait(10)
        return answer

    backend.instead[REFRESH] = rotate_and_wait
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(page, slow, status=303)
        assert come.wait(20)
        site.post("/logout", {"csrf_token": csrf}, status=303)
        go.set()
        assert "reason=SessionRevoked" in renewing.result(20).location
    assert COOKIE not in slow.cookies
    # The spent refresh token and its successor are both revoked at the backend.
    assert backend.calls[BLACKLIST] == 2


def _slow_app(backend: Served) -> tuple[Site, Site, threading.Event, threading.Event]:
    """Return two browsers with the same signed-in session, at an application with a view that
    blocks.

    :returns: the browsers, an event that is set in the view, and an event that ends the blocking.
    """
    come, go = threading.Event(), threading.Event()

    def slow_view(request: Request) -> Response:
        come.set()
        assert go.wait(5)
        return Response("done")

    return *twins_at(backend, slow_view), come, go


def test_sign_out_during_a_request_clears_its_cookie(backend: Served) -> None:
    """If a session is renewed before the view runs, and signed out while the view runs, the
    response deletes the cookie."""
    slow, site, come, go = _slow_app(backend)
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        visiting = pool.submit(slow.get, "/view", status=200)
        assert come.wait(20)
        site.sign_out()
        go.set()
        visiting.result(20)
    assert COOKIE not in slow.cookies


@pytest.mark.parametrize("rejected", [False, True])
def test_slow_request_does_not_write_outdated_tokens(backend: Served, rejected: bool) -> None:
    """If a session is renewed before the view runs, and again while the view runs, the response
    does not write the tokens of the first renewal."""
    slow, site, come, go = _slow_app(backend)
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        visiting = pool.submit(slow.get, "/view", status=200)
        assert come.wait(20)
        page(site, status=200)
        if rejected:
            backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
        site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status="*")
        go.set()
        visiting.result(20)
    assert backend.calls[REFRESH] == 2
    if rejected:
        assert COOKIE not in slow.cookies
    else:
        assert slow.opened().tokens == site.opened().tokens


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_s12_new_session_is_kept_while_the_old_one_is_renewed(
    site: Site, backend: Served, seconds: float
) -> None:
    """Threat S12. If the user signs in while the old session is renewed, the late response of the
    renewal does not overwrite or delete the new cookie."""
    form = site.get("/login").form
    form["username"], form["password"] = "bob", "bob-password"
    site.sign_in()
    slow, late = site.twin(), site.twin()
    come, go = blocked(backend)
    with later(seconds), ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(page, slow, status="*")
        assert come.wait(20)
        signing_in = pool.submit(form.submit, status=303)
        if seconds == EXPIRED:
            go.set()  # The sign-in waits for the renewal.
        signing_in.result(20)
        go.set()
        answers = [renewing.result(20), page(late, status=303)]
        if seconds == EXPIRED:
            answers.pop(0)  # This response may have been sent before the sign-in.
        assert not any("Set-Cookie" in answer.headers for answer in answers)
        assert site.opened().identity.name == "bob"


def test_s12_late_response_to_a_rejected_session_keeps_the_new_cookie(
    site: Site, backend: Served
) -> None:
    form = site.get("/login").form
    form["username"], form["password"] = "bob", "bob-password"
    site.sign_in()
    late = site.twin()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        form.submit(status=303)
        assert "Set-Cookie" not in page(late, status=303).headers
        assert site.get("/session").json["user"]["id"] == 2


def test_s12_response_of_a_view_that_sees_a_rejection_keeps_the_new_cookie(backend: Served) -> None:
    """Threat S12. During a view, the backend rejects the session. If the user signs in again before
    the view returns, the response of the view does not delete the new cookie."""
    come, go = threading.Event(), threading.Event()

    def view(request: Request) -> str:
        assert request.backend.get("/me").status_code == 401
        come.set()
        assert go.wait(5)
        return "x"

    site = application_with_view(backend.url, view)
    form = site.get("/login").form
    form["username"], form["password"] = "bob", "bob-password"
    site.sign_in()
    backend.instead["/me"] = backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(site.twin().get, "/view")
        assert come.wait(20)
        form.submit(status=303)
        go.set()
        assert "Set-Cookie" not in late.result(20).headers
