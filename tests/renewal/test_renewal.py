"""The renewal of sessions, tested through HTTP: phases and outcomes of contract section 3."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPServiceUnavailable
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import forget
from webob import Response as Answer

from authapp.backend import http_backend as http
from authapp.renewal import late_response
from authapp.session.session import Session
from authapp.store.protocol import Key
from authapp.web.events import SignedIn
from eventually import eventually
from servers import BLACKLIST, NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site, add_view, application, application_with_view

ACCESS, WINDOW, BUFFER = 900, 604_800, 300

later: Callable[[float], Any] = lambda seconds: time_machine.travel(time.time() + seconds)  # noqa: E731

FRESH, DUE, EXPIRED, ENDED = 10, ACCESS - BUFFER + 1, ACCESS + 1, WINDOW + 1


def page(site: Site, path: str = "/account", **options: Any) -> Any:
    return site.get(path, headers={"Accept": "text/html"}, **options)


def cleared(answer: Any) -> bool:
    """Return True if a response deletes the session cookie."""
    ours = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
    return len(ours) == 1 and ours[0].startswith(f"{COOKIE}=; Max-Age=0")


def key_of(session: Session) -> Key:
    """Return the key of the store for the successor of a session."""
    return Key("spent refresh token", session.tokens.refresh)


def test_fresh_session_is_not_renewed(site: Site, backend: Served) -> None:
    site.sign_in()
    with later(FRESH):
        assert "Set-Cookie" not in page(site).headers
    assert backend.calls[REFRESH] == 0


def test_non_ascii_path_renews_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    with later(EXPIRED):
        page(site, "/r%C3%A9sum%C3%A9", status=404)
    assert backend.calls[REFRESH] == 1


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_due_and_expired_sessions_are_renewed(site: Site, backend: Served, seconds: float) -> None:
    site.sign_in()
    before = site.opened()
    with later(seconds):
        answer = page(site, status=200)
        after = site.opened()
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in answer.headers["Vary"]
    assert backend.calls[REFRESH] == 1
    assert after.sid == before.sid
    assert after.tokens.refresh != before.tokens.refresh
    assert after.validity.valid_until > before.validity.valid_until
    assert str(after.validity.valid_until) in answer.text


def test_ended_session_redirects_to_sign_in_with_next(site: Site, backend: Served) -> None:
    site.sign_in()
    held = site.cookie_header()
    with later(ENDED):
        answer = site.get("/account?tab=1", headers=held, status=303)
        assert answer.location.endswith(
            "/login?next=%2Faccount%3Ftab%3D1&reason=RefreshTokenExpired"
        )
        assert cleared(answer)
        assert "Your session has ended" in answer.follow().text
        problem = site.get("/account", headers={**held, "Accept": "application/json"}, status=401)
    assert problem.content_type == "application/problem+json"
    assert problem.json["code"] == "RefreshTokenExpired"
    assert problem.json["login_url"].startswith("/login?next=%2Faccount")
    assert cleared(problem)
    assert backend.calls[REFRESH] == 0


def test_ended_session_on_the_sign_in_page_shows_the_reason(site: Site) -> None:
    site.sign_in()
    held = site.cookie_header()
    with later(ENDED):
        assert "Your session has ended" in site.get("/login", headers=held, status=200).text
        answer = site.get("/session", headers=held)
    assert answer.json["error"] == "RefreshTokenExpired"
    assert cleared(answer)


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_rejected_renewal_ends_the_session(site: Site, backend: Served, seconds: float) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(seconds):
        answer = page(site, status=303)
        assert "reason=RefreshTokenRejected" in answer.location
        assert COOKIE not in site.cookies
        assert "has ended your session" in answer.follow().text


def _drop_token(request: Any) -> Answer:
    return Answer(json_body={"access": None, "refresh": "x"})


TOKEN = jwt.encode({"sub": "1", "exp": 4_000_000_000}, "k" * 32)
"""A valid access token, for responses in which something else is wrong."""

UNAVAILABLE = {
    "400 that is not about the token": Answer(status=400, json_body={"detail": "JSON parse error"}),
    "401 of a gateway": Answer(status=401, json_body={"message": "No API key found in request"}),
    "403 of a gateway": Answer(status=403, json_body={"message": "Forbidden"}),
    "error member is an object": Answer(
        status=400, json_body={"data": None, "error": {"status": 400, "name": "ValidationError"}}
    ),
    "server error": Answer(status=500),
    "503": Answer(status=503, headers={"Retry-After": "3"}),
    "429": Answer(status=429, headers={"Retry-After": "3"}, json_body={}),
    "not JSON": Answer(status=200, text="<h1>Welcome</h1>"),
    "401 with HTML": Answer(status=401, text="<h1>Gateway</h1>"),
    "401 with a Basic challenge": Answer(
        status=401, json_body={}, headers={"WWW-Authenticate": "Basic realm=x"}
    ),
    "401 with a Digest challenge": Answer(
        status=401, json_body={}, headers={"WWW-Authenticate": 'Digest realm="x"'}
    ),
    "401 of a view that expects an access token": Answer(
        status=401,
        json_body={"detail": "Authentication credentials were not provided."},
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "401 of a gateway in the words of the backend": Answer(
        status=401,
        json_body={"detail": "Unauthorized"},
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "401 that is about an access token": Answer(
        status=401,
        json_body={
            "detail": "Given token not valid for any token type",
            "code": "token_not_valid",
            "messages": [{"token_class": "AccessToken", "message": "Token is expired"}],
        },
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "no tokens": Answer(status=200, json_body={"detail": "invalid"}),
    "JSON list": Answer(status=200, json_body=[1]),
    "token of another type": Answer(json_body={"access": 1, "refresh": "x"}),
    "token with a line break": Answer(json_body={"access": "a\r\nb", "refresh": "x"}),
    "token with spaces around it": Answer(json_body={"access": f" {TOKEN} ", "refresh": "x"}),
    "token with a line break at its end": Answer(
        json_body={"access": TOKEN + "\n", "refresh": "x"}
    ),
    "token that is not ASCII": Answer(json_body={"access": TOKEN + "\xe9", "refresh": "x"}),
    "refresh token with a space": Answer(json_body={"access": TOKEN, "refresh": "x y"}),
    "refresh token of another type": Answer(json_body={"access": TOKEN, "refresh": 1}),
    "token of 10 KB": Answer(
        json_body={"access": jwt.encode({"sub": "1", "x": "y" * 7000}, "k" * 32), "refresh": "x"}
    ),
    "redirect": Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
    "compressed": Answer(json_body={}, headers={"Content-Encoding": "gzip"}),
    "response of 300 KB": Answer(json_body={"access": "x" * 300_000}),
    "deeply nested JSON": Answer(text="[" * 100_000, content_type="application/json"),
    "UTF-16": Answer(
        body=f'{{"access": "{TOKEN}", "refresh": "x"}}'.encode("utf-16"),
        content_type="application/json",
    ),
    "not UTF-8": Answer(body=b'{"access": "\xff"}', content_type="application/json"),
}


@pytest.mark.parametrize("kind", UNAVAILABLE)
def test_unavailable_backend_does_not_end_the_session(
    site: Site, backend: Served, kind: str
) -> None:
    site.sign_in()
    held = site.token()
    backend.instead[REFRESH] = UNAVAILABLE[kind]
    with later(DUE):
        page(site, status=200)
        assert site.get("/session").json["user"]["id"] == 1
    with later(EXPIRED):
        answer = page(site, status=503)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "BackendUnavailable" in answer.text
        home = page(site, "/", status=200)
        assert "check your sign-in right now" in home.text
        anonymous = site.get("/session").json
        assert anonymous["user"] is anonymous["validity"] is None
        assert anonymous["error"] == "BackendUnavailable"
        problem = site.get("/account", headers={"Accept": "application/json"}, status=503)
        assert problem.json["code"] == "BackendUnavailable"
    # A refresh token that came with an unusable access token may have replaced the old one.
    rotated = kind.startswith("token ")
    assert (site.token() != held) is rotated
    assert not rotated or site.opened().tokens.refresh == "x"


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


def test_another_users_token_is_a_rejection(site: Site, backend: Served) -> None:
    site.sign_in("alice")
    other = Site(wsgi=site.app)
    other.sign_in("bob")
    tokens = other.opened().tokens
    backend.instead[REFRESH] = Answer(json_body={"access": tokens.access, "refresh": "x"})
    with later(DUE):
        assert "reason=RefreshTokenRejected" in page(site, status=303).location


def test_removed_roles_take_effect_at_the_next_renewal(site: Site, backend: Served) -> None:
    site.sign_in("alice")
    page(site, "/admin", status=200)
    tokens = site.opened().tokens
    claims = jwt.decode(tokens.access, options={"verify_signature": False})
    claims |= {"roles": [], "exp": int(time.time()) + EXPIRED + 900}
    del claims["iat"], claims["email"], claims["name"]
    access = jwt.encode(claims, "x" * 32)
    backend.instead[REFRESH] = Answer(json_body={"access": access})
    with later(EXPIRED):
        page(site, "/admin", status=403)
        session = site.opened()
    assert session.tokens.refresh == tokens.refresh, (
        "the old refresh token is kept, because the response has no new one"
    )
    assert (session.identity.name, session.identity.email) == ("alice", "alice@example.com")


def keep_refresh_tokens(backend: Served) -> None:
    """Make the backend return a new access token, and no new refresh token, at each renewal."""

    def rotate_the_access_token_only(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={"access": answer.json_body["access"]})

    backend.instead[REFRESH] = rotate_the_access_token_only


def test_unrotated_refresh_token_keeps_its_lifetime(site: Site, backend: Served) -> None:
    site.sign_in()
    ends = site.opened().validity.refresh_until
    keep_refresh_tokens(backend)
    with later(EXPIRED):
        page(site, status=200)
        assert site.opened().validity.refresh_until == ends
    held = site.cookie_header()
    with later(ENDED):
        site.get("/account", headers=held, status=303)


def test_unrotated_refresh_token_leaves_the_cookie_alone_while_the_backend_is_down(
    site: Site, backend: Served
) -> None:
    """The backend keeps the refresh token at a renewal. The store has the successor under this
    token, so each later request finds it. While the backend is down, the renewed session must not
    be written to the cookie again."""
    site.sign_in()
    keep_refresh_tokens(backend)
    with later(EXPIRED):
        assert "Set-Cookie" in page(site, status=200).headers
    backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED + DUE):
        for _ in range(10):
            site.services.sealer.open.cache_clear()  # many other sessions were opened meanwhile
            site.services.cookie_reader.cached.cache_clear()
            assert "Set-Cookie" not in page(site, status=200).headers


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


def test_the_old_cookie_gets_the_successor(site: Site, backend: Served) -> None:
    site.sign_in()
    first = site.twin()
    with later(EXPIRED):
        page(site, status=200)
        second = site.twin()
        site.post("/session", headers={"X-CSRF-Token": site.csrf()})
        for older in (first, second):
            page(older, status=200)
    assert backend.calls[REFRESH] == 2
    # The first cookie is two renewals old. It still gets the newest tokens.
    assert first.opened().tokens == site.opened().tokens


def test_old_cookie_is_cleared_when_its_successor_was_rejected(site: Site, backend: Served) -> None:
    site.sign_in()
    older = site.twin()
    with later(EXPIRED):
        page(site, status=200)
        backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
        site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=401)
        assert "reason=RefreshTokenRejected" in page(older, status=303).location
        assert COOKIE not in older.cookies


@pytest.mark.parametrize(
    "text", ['{"code": "New", "reason": ""}', "{}", "[]", "x", '{"session": {}}']
)
def test_unreadable_successor_entry_is_ignored_and_logged(
    site: Site, backend: Served, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    site.sign_in()
    key = Key("spent refresh token", site.opened().tokens.refresh)
    site.services.store.put(key, text, 60)
    copy = site.twin()
    with later(DUE):
        site.sign_out()
        assert "SessionRevoked" in page(copy, status=303).location
    assert "SuccessorUnreadable" in caplog.text


def test_old_cookie_is_rejected_when_its_successor_is_no_longer_kept(backend: Served) -> None:
    site = Site(backend.url)
    site.sign_in()
    older, session = site.twin(), site.opened()
    with later(EXPIRED):
        page(site, status=200)
        page(site, status=200)  # this request brings the new cookie
        (seconds,) = [
            left for key, _, left in site.services.store.living() if key == key_of(session)
        ]
        assert seconds <= 60
        site.services.store.put(key_of(session), "", 0)
        assert "reason=RefreshTokenRejected" in page(older, status=303).location


def test_rejection_is_shared_with_copies_of_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    copy = site.twin()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        page(site, status=303)
        page(copy, status=303)
    assert backend.calls[REFRESH] == 1


def blocked(
    backend: Served, answer: Answer | None = None
) -> tuple[threading.Event, threading.Event]:
    """Make the backend block at each renewal.

    :param answer: the response after the blocking. None for the normal response.
    :returns: an event that is set when a renewal arrives, and an event that ends the blocking.
    """
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> Answer | None:
        come.set()
        assert go.wait(10)
        return answer

    backend.instead[REFRESH] = wait
    return come, go


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


@pytest.mark.parametrize("over", [True, False])
def test_user_refused_by_a_subscriber_has_no_session(backend: Served, over: bool) -> None:
    """If a subscriber of ``SignedIn`` signs the user out with ``forget``, the new session ends. An
    earlier session in the same browser ends too, with all copies of its cookie. A session in
    another browser does not end."""
    away = []

    def turn_away(event: SignedIn) -> None:
        if away:
            forget(event.request)

    site = application(backend.url, lambda config: config.add_subscriber(turn_away, SignedIn))
    form = site.get("/login").form
    form["username"], form["password"] = "alice", "alice-password"
    site.sign_in()
    copy = site.twin()
    if not over:
        site.cookiejar.clear()
        form = site.get("/login").form
        form["username"], form["password"] = "alice", "alice-password"
    away.append(1)
    form.submit(status=303)
    assert COOKIE not in site.cookies
    error = copy.get("/session").json["error"]
    assert error == ("SessionRevoked" if over else None), "a session in another browser is kept"


def test_sign_in_that_fails_in_a_subscriber_keeps_the_earlier_session(backend: Served) -> None:
    def fail(event: SignedIn) -> None:
        if event.identity.name == "bob":
            raise LookupError("a bug of a subscriber")

    site = application(backend.url, lambda config: config.add_subscriber(fail, SignedIn))
    form = site.get("/login").form
    form["username"], form["password"] = "bob", "bob-password"
    site.sign_in()
    with pytest.raises(LookupError):
        form.submit()
    assert site.get("/session").json["user"]["id"] == 1


def test_b8_bearer_challenge_of_the_backend_is_a_rejection(site: Site, backend: Served) -> None:
    """Threat B8. A 401 response with ``Bearer error="invalid_token"`` is a rejection, even if its
    description contains the words "digest" and "basic"."""
    said = 'Bearer error="invalid_token", error_description="bad token, digest or basic mismatch"'
    site.sign_in()
    backend.instead[REFRESH] = Answer(
        status=401, json_body=NOT_VALID, headers={"WWW-Authenticate": said}
    )
    with later(EXPIRED):
        assert "RefreshTokenRejected" in page(site, status=303).location


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


def _app(backend: Served, view: Callable[..., Any], **more: str) -> tuple[Site, Site]:
    """Return two browsers with the same signed-in session, at an application with one view."""
    site = application_with_view(backend.url, view, **more)
    site.sign_in()
    return site, site.twin()


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

    return *_app(backend, slow_view), come, go


def _raises(request: Request) -> Response:
    raise RuntimeError("a bug")


RESPONSES: dict[str, tuple[Callable[..., Any], int]] = {
    "page": (lambda request: Response("page"), 200),
    "redirect": (lambda request: HTTPFound("/elsewhere"), 302),
    "error": (lambda request: HTTPServiceUnavailable(headers={"Retry-After": "soon"}), 503),
    "not modified": (lambda request: Response(status=304), 304),
    "streamed": (lambda request: Response(app_iter=iter([b"a", b"b"])), 200),
    "empty Vary": (lambda request: Response(headers={"Vary": ""}), 200),
    "public": (lambda request: Response("x", cache_control="public, max-age=60"), 200),
    "conditional": (
        lambda request: Response("x", etag="x", conditional_response=True),
        304,
    ),
    "own cookie": (lambda request: Response(headers={"Set-Cookie": "own=1"}), 200),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_cookie_is_set_on_every_kind_of_response(
    backend: Served, kind: str, method: str
) -> None:
    view, status = RESPONSES[kind]
    site, _ = _app(backend, view)
    before = site.token()
    with later(EXPIRED):
        headers = {"If-None-Match": '"x"'}
        answer = site.request("/view", method=method, headers=headers, status=status)
    assert site.token() != before
    assert answer.headers["Cache-Control"] == "private, no-store"
    ours = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
    assert len(ours) == 1
    if kind == "own cookie":
        assert "own=1" in answer.headers.getall("Set-Cookie")


def test_failing_view_still_sets_the_renewed_cookie(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        add_view(config, _raises)

    site = application(backend.url, more)
    site.sign_in()
    before = site.token()
    with later(EXPIRED):
        answer = site.get("/view", status=500)
    assert "InternalError" in answer.text
    assert "a bug" not in answer.text
    assert site.token() != before


@pytest.mark.parametrize("use_tweens", [False, True])
def test_subrequests_set_one_cookie(backend: Served, use_tweens: bool) -> None:
    def outer(request: Request) -> Response:
        inner = Request.blank("/session", cookies=request.cookies)
        return request.invoke_subrequest(inner, use_tweens=use_tweens)

    site, _ = _app(backend, outer)
    with later(EXPIRED):
        answer = site.get("/view", status=200)
    assert len([c for c in answer.headers.getall("Set-Cookie") if c.startswith(COOKIE)]) == 1
    assert backend.calls[REFRESH] == 1
    assert (answer.json["user"] is not None) is use_tweens, (
        "without tweens the session is not renewed"
    )


def test_excluded_paths_neither_renew_nor_set_a_cookie(backend: Served) -> None:
    site, _ = _app(backend, lambda request: Response("x"), refresh__exclude="/view")
    with later(EXPIRED):
        for path in ("/view", "/health", "/authapp-static/authapp.css"):
            assert "Set-Cookie" not in site.get(path).headers
    assert backend.calls[REFRESH] == 0


def test_excluded_path_is_private_when_the_view_reads_the_identity(backend: Served) -> None:
    site, _ = _app(
        backend, lambda request: Response(str(request.identity)), refresh__exclude="/view"
    )
    answer = site.get("/view")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Vary"] == "Cookie"


def test_signed_in_response_keeps_the_cache_control_of_its_view(backend: Served) -> None:
    site, _ = _app(backend, lambda request: Response("x", cache_control="private, max-age=9"))
    assert site.get("/view").headers["Cache-Control"] == "private, max-age=9"


def test_sign_out_in_a_view_overrides_the_renewal(backend: Served) -> None:
    from pyramid.security import forget

    def view(request: Request) -> Response:
        forget(request)
        return Response("bye")

    site, copy = _app(backend, view)
    with later(EXPIRED):
        site.get("/view")
        assert COOKIE not in site.cookies
        assert copy.get("/session").json["error"] == "SessionRevoked"


def test_sign_out_page_renews_but_sign_out_does_not(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = site.csrf()
    with later(EXPIRED):
        page(site, "/logout")
        assert backend.calls[REFRESH] == 1
        assert site.opened()
    with later(2 * EXPIRED + 900):
        site.post("/logout", {"csrf_token": csrf}, status=303)
    assert backend.calls[REFRESH] == 1


def test_renew_now_calls_the_backend_once_per_request(site: Site, backend: Served) -> None:
    site.sign_in()
    before = site.opened()
    csrf = {"X-CSRF-Token": site.csrf()}
    with later(FRESH):
        answer = site.post("/session", headers=csrf)
        assert answer.json["validity"]["valid_until"] > before.validity.valid_until
        assert answer.headers["Cache-Control"] == "private, no-store"
    with later(EXPIRED):
        site.post("/session", headers=csrf)
    assert backend.calls[REFRESH] == 2, "the tween has already renewed the session"


def test_renew_now_returns_503_while_the_backend_is_down(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = Answer(status=500)
    for seconds in (FRESH, EXPIRED):
        with later(seconds):
            answer = site.post("/session", headers=csrf, status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert answer.headers["Retry-After"] == "1"


def test_renew_now_with_an_unreadable_access_token_keeps_the_refresh_token(
    site: Site, backend: Served
) -> None:
    """If the response to "Renew now" has a new refresh token and an unreadable access token, the
    session gets the refresh token, and the expiry of the session stays the same."""

    def spoil(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={**answer.json_body, "access": "not.a.jwt"})

    site.sign_in()
    before = site.opened()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = spoil
    answer = site.post("/session", headers=csrf, status=503)
    assert answer.json["code"] == "BackendUnavailable"
    assert site.opened().tokens.refresh != before.tokens.refresh
    page(site, status=200)


def test_renew_now_form_on_the_account_page_works_without_script(
    site: Site, backend: Served
) -> None:
    """Without JavaScript, the button "Renew now" of the account page submits a form."""
    site.sign_in()
    form = page(site).forms["renew"]
    before = site.opened()
    with later(FRESH):
        answer = form.submit(status=303)
        assert answer.location == "/account"
        assert site.opened().validity.valid_until > before.validity.valid_until
        backend.instead[REFRESH] = Answer(status=500)
        answer = form.submit(status=503, headers={"Referer": "http://localhost/account"})
        assert "BackendUnavailable" in answer.text
        assert '<a class="button" href="/account">Try again</a>' in answer.text
        page(site, status=200)
        right, form["csrf_token"] = form["csrf_token"].value, "another"
        answer = form.submit(status=403, headers={"Referer": "http://localhost/account"})
        assert '<a class="button" href="/account">Try again</a>' in answer.text
        form["csrf_token"] = right
    with later(ENDED + FRESH):
        assert form.submit(status=303).location == "/login?next=%2Faccount"


def test_renew_now_form_redirects_to_sign_in_when_rejected(site: Site, backend: Served) -> None:
    site.sign_in()
    form = page(site).forms["renew"]
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    headers = {"Referer": "http://localhost/account"}
    answer = form.submit(status=303, headers=headers)
    assert answer.location == "/login?next=%2Faccount&reason=RefreshTokenRejected"
    assert cleared(answer)


def test_renew_now_without_a_session_returns_401(site: Site) -> None:
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    assert site.post("/session", headers=csrf, status=401).json["code"] == "SignInRequired"


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_renew_now_with_an_ended_session_returns_the_reason(site: Site, accept: str) -> None:
    """If "Renew now" is used with an ended session, the error says why the session has ended. The
    error says nothing of the CSRF token, which has ended with the session."""
    site.sign_in()
    headers = {"X-CSRF-Token": site.csrf(), "Accept": accept, **site.cookie_header()}
    copy = site.twin()
    with later(ENDED):
        answer = site.post("/session", headers=headers, status=401)
        assert answer.json["code"] == "RefreshTokenExpired"
        assert answer.json["login_url"].startswith("/login?next=")
    copy.sign_out()
    assert site.post("/session", headers=headers, status=401).json["code"] == "SessionRevoked"


def test_renew_now_rejected_ends_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    assert site.post("/session", headers=csrf, status=401).json["code"] == "RefreshTokenRejected"
    assert COOKIE not in site.cookies


def test_unreadable_access_token_keeps_the_new_refresh_token(site: Site, backend: Served) -> None:
    """After a renewal, the backend has spent the old refresh token. So authapp must keep the new
    refresh token, even if the new access token is unreadable."""

    def spoil(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={**answer.json_body, "access": "not.a.jwt"})

    site.sign_in()
    before = site.opened()
    copy = site.twin()
    backend.instead[REFRESH] = spoil
    with later(EXPIRED):
        began = time.monotonic()
        page(site, status=503)
        page(site, status=503)
        page(copy, status=503)
        most = 1 + 2 * int(time.monotonic() - began)
        assert 1 <= backend.calls[REFRESH] <= most, "the backend is not called again at once"
        assert site.opened().tokens.refresh != before.tokens.refresh
        assert site.opened().tokens.access == before.tokens.access
        del backend.instead[REFRESH]
        eventually(lambda: page(copy, status="*").status_int == 200, 5)
        page(site, status=200)


def test_session_that_grows_too_large_ends_and_logs_the_largest_claim(
    site: Site, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    site.sign_in()
    claims = {"user_id": 1, "exp": int(time.time()) + EXPIRED + 900, "groups": "g" * 4500}
    backend.instead[REFRESH] = Answer(
        json_body={"access": jwt.encode(claims, "x" * 32), "refresh": "r" * 3500}
    )
    with later(EXPIRED):
        page(site, status=200)
    assert COOKIE not in site.cookies
    assert "SessionTooLarge: renewal" in caplog.text
    assert "its claim 'groups' 4502" in caplog.text


def test_response_to_an_empty_path_is_private(site: Site) -> None:
    site.sign_in()
    environ = Request.blank("/", environ={"HTTP_COOKIE": site.cookie_header()["Cookie"]}).environ
    environ["PATH_INFO"] = ""
    answer = Request(environ).get_response(site.app)
    assert "You are signed in as alice" in answer.text
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_ended_session_with_an_undecodable_path_returns_400(site: Site) -> None:
    site.sign_in()
    held = {"HTTP_COOKIE": site.cookie_header()["Cookie"]}
    with later(ENDED):
        environ = Request.blank("/", environ=held | {"PATH_INFO": "/\xff"}).environ
        answer = Request(environ).get_response(site.app)
    assert answer.status_int == 400
    assert "BadRequest" in answer.text
