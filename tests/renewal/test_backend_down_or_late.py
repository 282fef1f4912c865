"""A renewal while the backend is down, and one whose response arrives after the timeout."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from webob import Response as Answer

from authapp.backend import http_backend as http
from authapp.renewal import late_response
from eventually import eventually
from renewal.phases import EXPIRED, blocked, later, page
from servers import BLACKLIST, NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site


def test_renewal_succeeds_when_the_backend_is_up_again(site: Site, backend: Served) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=500)
    with later(EXPIRED):
        page(site, status=503)
        del backend.instead[REFRESH]
        eventually(lambda: page(site, status="*").status_int == 200, 2)


def test_failed_renewal_of_one_session_does_not_affect_other_users(
    site: Site, backend: Served
) -> None:
    """Django SimpleJWT returns 500 to the renewal of a deleted user's session. Renewals of other
    users' sessions still succeed."""
    bob = Site(wsgi=site.app)
    site.sign_in("alice")
    bob.sign_in("bob")
    deleted = bob.opened().tokens.refresh

    def fail_for_bob(request: Any) -> Answer | None:
        return Answer(status=500) if request.json_body["refresh"] == deleted else None

    backend.instead[REFRESH] = fail_for_bob
    with later(EXPIRED):
        began = time.monotonic()
        for _ in range(10):
            page(bob, status=503)
        most = 1 + 2 * int(time.monotonic() - began)
        assert 1 <= backend.calls[REFRESH] <= most, "the backend is not called again at once"
        page(site, status=200)
        Site(wsgi=site.app).sign_in("carol", status=303)


def test_backend_down_and_back_are_logged_once_each(
    site: Site, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat L3. The log has one line when the backend goes down, and one when it is back. The
    audit log has a line for each renewal that has called the backend in vain."""
    caplog.set_level(logging.INFO)
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED):
        for _ in range(20):
            page(site, status=503)
        asked = backend.calls[REFRESH]
        assert caplog.text.count("BackendDown: refresh: status 503, not a JSON object, from ") == 1
        assert caplog.text.count('"event": "RenewalFailed"') == asked < 20
        assert "BackendBack" not in caplog.text
        del backend.instead[REFRESH]
        eventually(lambda: page(site, status="*").status_int == 200)
    assert caplog.text.count("BackendBack: refresh: it responds again") == 1


def test_only_one_request_probes_an_unresponsive_backend(backend: Served) -> None:
    """While one request waits for a backend that hangs, all other requests get a response at once.
    This is so even for requests of the same session."""
    site = Site(backend.url, backend__timeout="5")
    site.sign_in("alice")
    bob = Site(wsgi=site.app)
    bob.sign_in("bob")
    backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        page(site, status=503)
        come, go = blocked(backend)
        probe = site.twin()

        def try_until_it_hangs() -> None:
            while not come.is_set():
                page(probe, expect_errors=True)

        probing = pool.submit(try_until_it_hangs)
        assert come.wait(20)
        for browser in (site.twin(), bob):
            page(browser, status=503)
            page(browser, "/", status=200)
        assert not probing.done()
        assert backend.calls[REFRESH] == 2
        go.set()
        probing.result(20)


@pytest.fixture
def site_with_short_timeout(backend: Served, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a signed-in site that waits only 0.3 seconds for the backend.

    While a response is late, the site tells the other processes so every 0.02 seconds instead of
    every 0.5 seconds, by an entry in the store.
    """
    monkeypatch.setattr(late_response, "ANNOUNCE_AGAIN", 0.02)
    site = Site(backend.url, backend__timeout="0.3")
    site.sign_in()
    return site


def test_late_response_is_stored_for_later_requests(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """If the response of the backend arrives after the timeout, the token is spent. So the outcome
    is stored for later requests."""
    site = Site(backend.url, backend__timeout="0.3")
    site.sign_in()
    _, go = blocked(backend)
    with later(EXPIRED):
        for _ in range(3):
            page(site, status=503)
            time.sleep(0.3)  # until the backend may be called again
        assert backend.calls[REFRESH] == 1, "the late token is not sent again"
        assert COOKIE in site.cookies
        go.set()
        eventually(lambda: page(site, status="*").status_int == 200)
    assert backend.calls[REFRESH] == 1
    assert f"RenewalLate: session {site.opened().digest}: the outcome is Renewed" in caplog.text


def test_late_response_does_not_restore_a_revoked_session(backend: Served) -> None:
    site = Site(backend.url, backend__timeout="0.3")
    site.sign_in()
    copy = site.twin()
    _, go = blocked(backend)
    with later(EXPIRED):
        page(site, status=503)
        csrf = site.get("/session").json["csrf_token"]
        backend.instead[BLACKLIST] = Answer(
            status=404
        )  # Otherwise the backend would reject the late refresh.
        site.post("/logout", {"csrf_token": csrf}, status=303)
        told = backend.calls[BLACKLIST]
        go.set()
        eventually(lambda: backend.calls[BLACKLIST] > told)
        assert "reason=SessionRevoked" in page(copy, status=303).location


def test_late_rejection_ends_the_session(backend: Served) -> None:
    site = Site(backend.url, backend__timeout="0.3")
    site.sign_in()
    _, go = blocked(backend, Answer(status=401, json_body=NOT_VALID))
    with later(EXPIRED):
        page(site, status=503)
        go.set()
        eventually(lambda: page(site, status="*").status_int == 303)
        assert COOKIE not in site.cookies


def test_late_response_is_used_when_the_announcing_thread_cannot_start(
    site_with_short_timeout: Site, backend: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "(announce_until_done)" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    _, go = blocked(backend)
    with later(EXPIRED):
        page(site_with_short_timeout, status=503)
        time.sleep(0.1)  # The late response is no longer announced.
        page(site_with_short_timeout, status=503)
        go.set()
        eventually(lambda: page(site_with_short_timeout, status="*").status_int == 200)
    assert backend.calls[REFRESH] == 1


def test_late_response_blocks_no_other_user_and_its_token_is_not_sent_again(
    site_with_short_timeout: Site, backend: Served
) -> None:
    bob = Site(wsgi=site_with_short_timeout.app)
    bob.sign_in("bob")
    _, go = blocked(backend)
    with later(EXPIRED):
        page(site_with_short_timeout, status=503)
        backend.instead.clear()
        eventually(lambda: page(bob, status="*").status_int == 200)
        assert backend.calls[REFRESH] == 2
        for _ in range(10):
            page(site_with_short_timeout, status=503)
            time.sleep(0.02)  # The late response is announced repeatedly.
        outcome = site_with_short_timeout.services.renewal.renew(site_with_short_timeout.opened())
        assert outcome.reason == "the backend's response is late", "no request waits for it"
        go.set()
        eventually(lambda: page(site_with_short_timeout, status="*").status_int == 200)
    assert backend.calls[REFRESH] == 2


def test_late_response_is_given_up_after_the_time_limit(
    site_with_short_timeout: Site, backend: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LATE", 0.6)
    _, go = blocked(backend, Answer(status=500))
    with later(EXPIRED):
        page(site_with_short_timeout, status=503)
        backend.instead.clear()
        eventually(lambda: page(site_with_short_timeout, status="*").status_int == 200)
    assert backend.calls[REFRESH] == 2
    go.set()


@pytest.mark.parametrize("ends", [True, False])
def test_late_response_that_has_started_is_waited_for_only_briefly(
    site_with_short_timeout: Site, backend: Served, ends: bool
) -> None:
    """authapp waits only briefly for the end of a late response that has begun. If the end does not
    arrive, authapp calls the backend again."""
    begin, go = threading.Event(), threading.Event()

    def slow(request: Any) -> Answer:
        answer = request.get_response(backend.application) if ends else Answer(b"{ }")

        def body() -> Iterator[bytes]:
            yield answer.body[:1]
            go.wait(10)
            yield answer.body[1:]

        begin.wait(10)
        return Answer(app_iter=body(), content_length=len(answer.body))

    backend.instead[REFRESH] = slow
    with later(EXPIRED):
        page(site_with_short_timeout, status=503)
        begin.set()
        if ends:
            go.set()
        backend.instead.clear()
        eventually(lambda: page(site_with_short_timeout, status="*").status_int == 200)
    go.set()
    assert backend.calls[REFRESH] == (1 if ends else 2)
