"""``/verify`` renews a session, and its responses have the new cookies."""

import time
from collections.abc import Callable
from typing import Any

import time_machine
from pyramid.request import Request
from pyramid.response import Response

from authapp.edge.verify import MAX_COOKIES
from edge.verify_site import EMPTY, identity, site_of
from eventually import eventually
from servers import REFRESH, Served
from site_under_test import COOKIE, application


def test_a_due_session_is_renewed_and_the_cookie_comes_with_any_answer(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        before = site.token()
        assert site.get("/verify?roles=nobody", status=403).headers["Set-Cookie"]
        assert site.token() != before
        site.get("/verify", status=202)
    assert backend.calls[REFRESH] == 1


def test_cookies_can_be_had_in_headers_of_their_own(backend: Served) -> None:
    site = site_of(backend)
    script = {"Sec-Fetch-Site": "same-origin"}
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        old = site.cookie_header()
        stale = {"Cookie": f"{old['Cookie']}; {COOKIE}.0=x; {COOKIE}.1=y"}
        answer = site.get("/verify?cookies=1", headers=stale, status=202)
        assert "Set-Cookie" not in answer.headers
        first, *others = (answer.headers[f"X-Auth-Request-Set-Cookie-{n}"] for n in (1, 2, 3))
        assert first.startswith(f"{COOKIE}=ey")
        assert all("Max-Age=0" in each for each in others)
        assert answer.headers["X-Auth-Request-Set-Cookie-6"] == ""
        answer = site.get("/verify?cookies=1", headers=old | script, status=202)
        assert answer.headers["X-Auth-Request-Set-Cookie-1"] == ""
        assert answer.headers["Set-Cookie"]


def clear_many(handler: Callable[[Request], Response], registry: Any) -> Any:
    """A tween of the application that clears ``MAX_COOKIES`` cookies, the most that ``/verify`` can
    pass on to the proxy."""

    def tween(request: Request) -> Response:
        response = handler(request)
        for number in range(MAX_COOKIES):
            response.delete_cookie(f"old{number}")
        return response

    return tween


def test_the_session_comes_before_cookies_that_are_cleared(backend: Served) -> None:
    """``/verify`` passes only a limited number of cookies on to the proxy. The session cookie must
    be the first of them, even if the application clears many cookies."""
    site = application(
        backend.url, lambda config: config.add_tween(f"{__name__}.clear_many"), verify="true"
    )
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        answer = site.get("/verify?cookies=1", status=202)
        assert answer.headers["X-Auth-Request-Set-Cookie-1"].startswith(f"{COOKIE}=ey")


def test_an_answer_that_reaches_the_browser_has_its_cookies_where_scripts_cannot_read_them(
    backend: Served,
) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("bob")
        clock.shift(700)
        answer = site.get("/verify?cookies=1&redirect=1&roles=admin", status=403)
    assert answer.headers["X-Auth-Request-Set-Cookie-1"] == ""
    assert answer.headers["Set-Cookie"].startswith(f"{COOKIE}=ey")


def test_a_browser_that_never_gets_the_new_cookie_stays_signed_in(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.services.store._clock = time.time  # the clock of the store must move too
        site.sign_in("alice")
        cookie = site.cookie_header()

        def allowed() -> bool:
            answer = site.get("/verify", headers=cookie, status="*")
            assert answer.status_int in (202, 503)  # 503: the end of the chain is cached for 0.25 s
            return bool(answer.status_int == 202)

        for _ in range(6):
            clock.shift(50 * 60)
            eventually(allowed)
    assert backend.calls[REFRESH] == 6


def test_nobody_is_signed_out_while_the_backend_is_down(backend: Served) -> None:
    from webob import Response

    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(1000)
        backend.instead[REFRESH] = Response(status=503)
        answer = site.get("/verify", status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert identity(answer) == EMPTY
        assert answer.headers["Retry-After"]
        assert "Set-Cookie" not in answer.headers
