"""Requests that come while a renewal is in progress wait for it, or do without it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from pyramid.response import Response

from authapp.backend.protocol import BackendDown, BackendRejected
from authapp.session.session import TokenPair
from servers import REFRESH, Served
from site_under_test import COOKIE, Site, application, application_with_view
from web.example_application import KeepingBackend, OwnBackend, own_backend_site


def test_concurrent_renewals_of_two_sessions_with_one_refresh_token_stay_separate() -> None:
    """If two sessions with the same refresh token are renewed at the same time, each of them calls
    the backend and keeps its own session id."""
    both = threading.Barrier(2)

    class Slow(KeepingBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            both.wait(5)
            return super().refresh(tokens)

    one = own_backend_site(Slow(), backend__bulkhead="6")
    one.sign_in("dora", "sesame")
    other = Site(wsgi=one.app)
    other.sign_in("dora", "sesame")
    sids = [site.opened().sid for site in (one, other)]
    with time_machine.travel(time.time() + 61), ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda site: site.get("/account", status=200), (one, other)):
            assert "Set-Cookie" in answer.headers
    assert [site.opened().sid for site in (one, other)] == sids


def visit_concurrently(site: Site, count: int, visit: Callable[[Site], Any]) -> list[Any]:
    """Call ``visit`` at the same time with several copies of a browser. Return the results."""
    barrier = threading.Barrier(count)

    def one(browser: Site) -> Any:
        barrier.wait()
        return visit(browser)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, [site.twin() for _ in range(count)]))


def slow_refresh(backend: Served) -> None:
    """Make each renewal slow, so that other requests come while it runs."""

    def refresh(request: Any) -> None:
        threading.Event().wait(0.3)

    backend.instead[REFRESH] = refresh


def test_concurrent_renew_requests_of_several_tabs_renew_once(backend: Served) -> None:
    """If several tabs ask for a renewal at the same time, all of them wait for one renewal,
    although their access token is still valid."""
    site = application(backend.url)
    site.sign_in()
    slow_refresh(backend)
    csrf = {"X-CSRF-Token": site.csrf()}
    answers = visit_concurrently(
        site, 4, lambda tab: tab.post("/session", headers=csrf).json["validity"]
    )
    assert len(answers) == 4
    assert backend.calls[REFRESH] == 1


def test_request_backend_waits_for_a_renewal_in_progress(backend: Served) -> None:
    site = application_with_view(
        backend.url, lambda request: request.backend.get("/me").status_code
    )
    site.sign_in()
    token = site.opened().tokens.access
    backend.instead["/me"] = lambda request: (
        Response(status=401, json_body={}) if request.authorization[1] == token else None
    )
    slow_refresh(backend)
    assert visit_concurrently(site, 4, lambda tab: tab.get("/view").json) == [200] * 4
    assert backend.calls[REFRESH] == 1


def test_waiting_requests_give_up_after_the_backend_timeout() -> None:
    come, go = threading.Event(), threading.Event()

    class Slow(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            come.set()
            assert go.wait(10)
            return super().refresh(tokens)

    site = own_backend_site(Slow(), backend__timeout="0.1")
    site.sign_in("dora", "sesame")
    slow = site.twin()
    with time_machine.travel(time.time() + 61), ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(slow.get, "/account", status=200)
        assert come.wait(20)
        assert site.get("/account", status=503).headers["Retry-After"] == "1"
        go.set()
        renewing.result(20)
        site.get("/account", status=200)


@pytest.mark.parametrize(
    "failure",
    [None, BackendRejected("the sign-out has told it already"), BackendDown("no answer")],
    ids=["renewed", "rejected", "down"],
)
def test_sign_out_during_a_renewal_ends_the_session_when_the_backend_fails(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            services.revocation.revoke(session)
            if failure is not None:
                raise failure
            return super().refresh(tokens)

        def logout(self, tokens: TokenPair) -> None:
            raise BackendRejected("no")

    site = own_backend_site(Failing())
    site.sign_in("dora", "sesame")
    services, session = site.services, site.opened()
    with time_machine.travel(time.time() + 61):
        assert "SessionRevoked" in site.get("/account", status=303).location
    line = "SessionRevoked: the backend has not revoked the new tokens: BackendRejected"
    assert (line in caplog.text) is not isinstance(failure, BackendRejected)


def test_hanging_backend_does_not_block_public_pages(site: Site, backend: Served) -> None:
    site.sign_in()
    come, go = threading.Event(), threading.Event()

    def hang(request: Any) -> None:
        come.set()
        go.wait(10)

    backend.instead[REFRESH] = hang
    csrf = {"X-CSRF-Token": site.csrf()}
    other = Site(wsgi=site.app)
    thread = threading.Thread(
        target=lambda: site.post("/session", headers=csrf, expect_errors=True)
    )
    thread.start()
    assert come.wait(20)
    other.get("/", status=200)
    go.set()
    thread.join()
    assert COOKIE in site.cookies
