"""A tab stays signed in while it is offline, the site is down, its clock is wrong or it sleeps."""

import time
from typing import Any

import pytest

from browser.tabs import open_tabs, renew, show_developers, valid_until, wait_until


def test_tabs_stay_signed_in_while_offline_and_recover(serve: Any, window: Any) -> None:
    site = serve(6)
    pages = open_tabs(window, site, 2)
    asked: list[str] = []
    window.on(
        "request", lambda request: asked.extend([request.url] * request.url.endswith("/session"))
    )
    pages[0].evaluate("document.addEventListener('authapp:unavailable', () => window.away = true)")
    window.set_offline(True)
    # Only the tab that sends the request shows the notice at first.
    deadline = time.monotonic() + 15
    notices = [page.locator(".authapp-notice") for page in pages]
    while not any(notice.count() for notice in notices):
        assert time.monotonic() < deadline
        pages[0].wait_for_timeout(50)
    assert len(asked) <= 4
    window.set_offline(False)
    for page, notice in zip(pages, notices, strict=True):
        notice.wait_for(state="detached", timeout=15_000)
        assert page.locator("#name").inner_text() == "alice"
        assert page.url == site.url + "/account"
    assert site.log.count('"SessionEnded"') == 0


def test_tab_stays_signed_in_while_the_server_is_down(serve: Any, window: Any) -> None:
    site = serve(5)
    (page,) = open_tabs(window, site, 1)
    site.stop()
    page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
    site.start()
    page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
    assert page.url == site.url + "/account"


OTHER_SERVERS = [
    (200, "text/html", "<h1>Welcome to the hotel's network</h1>"),
    (200, "application/json", "{}"),
    (401, "application/json", "{}"),
    (401, "text/html", "who are you?"),
    (403, "application/json", "{}"),
    (500, "text/html", "oh"),
]


def test_tab_stays_signed_in_after_responses_of_other_servers(serve: Any, window: Any) -> None:
    """Threat B8. If a gateway or a captive portal responds instead of the site, the tab stays
    signed in."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.evaluate("window.here = true")
    show_developers(page)
    answer: dict[str, Any] = {}
    for status, kind, body in OTHER_SERVERS:
        answer.update(status=status, content_type=kind, body=body)
        page.route("**/session", lambda route: route.fulfill(**answer))
        page.get_by_role("button", name="Renew now").click()
        page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
        assert page.url == site.url + "/account", answer
        page.unroute("**/session")
        page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
        assert page.locator("#name").inner_text() == "alice", answer
        assert page.evaluate("window.here"), answer


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_signs_nobody_out(serve: Any, chromium: Any, hours: int) -> None:
    site = serve(6)
    window = chromium.new_context(locale="en")
    window.clock.install(time=time.time() + hours * 3600)
    (page,) = open_tabs(window, site, 1)
    before = valid_until(page)
    page.clock.run_for(4000)
    wait_until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    window.clock.set_system_time((time.time() - 2 * hours * 3600) * 1000)
    before = valid_until(page)
    wait_until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    assert page.locator("dialog.authapp-cover").count() == 0
    window.close()


def test_tabs_send_few_requests_after_sleep(serve: Any, chromium: Any) -> None:
    site = serve(300)
    window = chromium.new_context(locale="en")
    window.clock.install()
    pages = open_tabs(window, site, 3)
    asked: list[str] = []
    window.on(
        "request", lambda request: asked.extend([request.url] * request.url.endswith("/session"))
    )
    window.clock.fast_forward(8 * 3600 * 1000)  # eight hours in which no timer ran
    for _ in range(5):
        for page in pages:
            page.evaluate("window.dispatchEvent(new Event('focus'))")
        pages[0].wait_for_timeout(100)
    # One tab asks the site. A tab whose clock moves after it got the result may ask again.
    assert 1 <= len(asked) <= 3
    assert all(page.url == site.url + "/account" for page in pages)
    window.close()


def test_retry_after_date_does_not_cause_repeated_requests(serve: Any, window: Any) -> None:
    """``Retry-After`` may be a date (RFC 9110 section 10.2.3). If the date is in the past, the
    script does not repeat its request without a pause."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        date = "Fri, 31 Dec 1999 23:59:59 GMT"
        route.fulfill(status=503, headers={"Retry-After": date}, body="{}")

    page.route("**/session", refuse)
    renew(page)
    page.wait_for_timeout(5000)
    assert len(asked) <= 3
