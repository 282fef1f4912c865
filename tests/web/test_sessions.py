"""The list of a user's sessions: the page ``/account/sessions`` and the JSON of ``/sessions``."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.events import ContextFound

from authapp.web.device_names import browser_and_system
from servers import Served
from site_under_test import COOKIE, Site, application

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/126.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}


def device(site: Site, agent: str, address: str = "192.0.2.1", name: str = "alice") -> Site:
    """Sign a user in on another device."""
    other = Site(wsgi=site.app)
    other.extra_environ |= {"HTTP_USER_AGENT": agent, "REMOTE_ADDR": address}
    other.sign_in(name, status=303)
    return other


def listed(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.get("/sessions", status=200).json["sessions"]
    return found


def end(site: Site, session_id: str, **options: Any) -> Any:
    headers = {"X-CSRF-Token": site.csrf(), **JSON}
    return site.delete(f"/sessions/{session_id}", headers=headers, **options)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, ("Firefox", "Linux")),
        (CHROME, ("Chrome", "Windows")),
        (IPHONE, ("Safari", "iPhone")),
        ("curl/8.5.0", ("curl", "")),
        ("", ("", "")),
        ("\xff\0(((", ("", "")),
    ],
)
def test_a_device_is_named_in_words(agent: str, words: tuple[str, str]) -> None:
    assert browser_and_system(agent) == words


def test_the_sessions_are_listed_with_device_address_and_times(site: Site) -> None:
    now = int(time.time())
    with time_machine.travel(now, tick=False) as clock:
        phone = device(site, IPHONE, "198.51.100.7")
        clock.shift(100)
        desk = device(site, FIREFOX)
        device(site, CHROME, name="bob")
        clock.shift(100)
        phone.get("/")
        assert listed(desk) == [
            {
                "id": desk.opened().digest,
                "device": "Firefox on Linux",
                "address": "192.0.2.1",
                "signed_in_at": now + 100,
                "last_seen_at": now + 200,
                "current": True,
            },
            {
                "id": phone.opened().digest,
                "device": "Safari on iPhone",
                "address": "198.51.100.7",
                "signed_in_at": now,
                "last_seen_at": now + 200,
                "current": False,
            },
        ]
        page = desk.get("/account/sessions", headers=HTML)
        assert [each["device"] for each in listed(phone)] == [
            "Safari on iPhone",
            "Firefox on Linux",
        ]
    assert "Firefox on Linux" in page
    assert "198.51.100.7" in page
    assert page.text.count("this device") == 1
    assert "private, no-store" in page.headers["Cache-Control"]


def test_a_device_is_named_in_the_language_of_the_reader(site: Site) -> None:
    odd = device(site, "")
    assert listed(odd)[0]["device"] == "Unknown device"
    assert listed(device(site, "curl/8.5.0"))[0]["device"] == "curl"


def test_a_person_ends_a_session_and_its_next_request_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    desk, phone = device(site, FIREFOX), device(site, IPHONE)
    page = desk.get("/account/sessions", headers=HTML)
    forms = [page.forms[index] for index in page.forms if isinstance(index, int)]
    form = next(
        each
        for each in forms
        if each.fields.get("id", [None])[0] is not None
        and each["id"].value_if_submitted() == phone.opened().digest
    )
    with caplog.at_level(logging.INFO, "authapp.audit"):
        answer = form.submit("id", status=303)
    assert answer.location == "/account/sessions"
    assert '"event": "SessionRevoked"' in caplog.text
    assert phone.opened().digest in caplog.text
    assert phone.get("/session").json["error"] == "SessionRevoked"
    assert desk.get("/session").json["user"]["id"] == 1
    assert len(listed(desk)) == 1


def test_a_person_ends_all_other_sessions(site: Site) -> None:
    desk, phone, tablet = (device(site, agent) for agent in (FIREFOX, IPHONE, CHROME))
    bob = device(site, CHROME, name="bob")
    page = desk.get("/account/sessions", headers=HTML)
    forms = [page.forms[index] for index in page.forms if isinstance(index, int)]
    form = next(each for each in forms if "others" in each.fields)
    form.submit("others", status=303).follow(headers=HTML)
    for other in (phone, tablet):
        assert other.get("/session").json["error"] == "SessionRevoked"
    for kept in (desk, bob):
        assert kept.get("/session").json["error"] is None
    assert "End all other sessions" not in desk.get("/account/sessions", headers=HTML)
    # A session that begins later does not end.
    assert device(site, IPHONE).get("/session").json["user"]
    assert desk.get("/session").json["user"]


def sign_out_everywhere(phone: Site) -> None:
    phone.sign_out(everywhere=True)


def end_all_others(phone: Site) -> None:
    phone.post("/account/sessions", {"csrf_token": phone.csrf(), "others": "1"}, status=303)


@pytest.mark.parametrize("act", [sign_out_everywhere, end_all_others])
def test_a_session_that_another_device_ends_does_not_come_back_by_ending_all_others(
    backend: Served, act: Callable[[Site], None]
) -> None:
    waiting: list[Callable[[], None]] = []

    def meanwhile(event: ContextFound) -> None:
        if waiting:
            waiting.pop()()

    def more(config: Configurator) -> None:
        config.add_subscriber(meanwhile, ContextFound)

    site = application(backend.url, more)
    desk, phone, tablet = (device(site, agent) for agent in (FIREFOX, IPHONE, CHROME))
    fields = {"csrf_token": desk.csrf(), "others": "1"}
    waiting.append(lambda: act(phone))
    desk.post("/account/sessions", fields, status=303)
    assert not waiting
    for ended in (desk, phone, tablet):
        assert ended.get("/session").json["user"] is None
    # A session that begins later does not end.
    assert device(site, IPHONE).get("/session").json["user"]


def test_ending_the_session_of_this_browser_is_a_sign_out(site: Site) -> None:
    desk = device(site, FIREFOX)
    own = desk.opened().digest
    answer = desk.post("/account/sessions", {"csrf_token": desk.csrf(), "id": own}, status=303)
    assert answer.location == "/login?reason=SignedOut"
    assert desk.get("/session").json["user"] is None
    desk = device(site, FIREFOX)
    end(desk, desk.opened().digest, status=204)
    assert desk.get("/session").json["user"] is None


def test_programs_end_sessions_by_id(site: Site) -> None:
    desk, phone = device(site, FIREFOX), device(site, IPHONE)
    session_id = phone.opened().digest
    site.delete(f"/sessions/{session_id}", headers=JSON, status=401)
    desk.delete(f"/sessions/{session_id}", status=403)
    assert phone.get("/session").json["user"]
    end(desk, session_id, status=204)
    assert phone.get("/session").json["error"] == "SessionRevoked"
    assert end(desk, session_id, status=404).json["code"] == "NotFound"
    for path, method in ((f"/sessions/{session_id}", "PUT"), ("/sessions", "DELETE")):
        assert desk.request(path, method=method, headers=JSON, status=405).headers["Allow"]


@pytest.mark.parametrize("headers", [{}, HTML, {"Accept": "*/*"}])
def test_errors_of_the_json_routes_are_problems(site: Site, headers: dict[str, str]) -> None:
    desk = device(site, FIREFOX)
    csrf = headers | {"X-CSRF-Token": desk.csrf()}
    for answer, code in (
        (site.get("/sessions", headers=headers, status=401), "SignInRequired"),
        (site.delete("/sessions/x", headers=headers, status=401), "SignInRequired"),
        (site.post("/session", headers=headers, status=401), "SignInRequired"),
        (desk.delete("/sessions/x", headers=headers, status=403), "BadCSRFToken"),
        (desk.post("/session", headers=headers, status=403), "BadCSRFToken"),
        (desk.delete("/sessions/x", headers=csrf, status=404), "NotFound"),
        (desk.put("/sessions/x", headers=headers, status=405), "MethodNotAllowed"),
        (desk.put("/sessions", headers=headers, status=405), "MethodNotAllowed"),
    ):
        assert answer.content_type == "application/problem+json"
        assert answer.json["code"] == code
    desk.set_cookie(COOKIE, "nonsense")
    answer = desk.get("/sessions", headers=headers, status=401)
    assert answer.json["code"] == "SessionInvalid"


def test_nobody_ends_the_session_of_another_user(site: Site) -> None:
    alice, bob = device(site, FIREFOX), device(site, CHROME, name="bob")
    end(bob, alice.opened().digest, status=404)
    bob.post("/account/sessions", {"csrf_token": bob.csrf(), "id": alice.opened().digest})
    for odd in ("x" * 1000, "%00", "%F0%9F%98%80", "a%2Fb"):
        end(bob, odd, status=404)
    assert alice.get("/session").json["user"]


def test_who_is_not_signed_in_is_sent_to_sign_in(site: Site) -> None:
    assert site.get("/account/sessions", headers=HTML, status=303).location.startswith("/login?")
    assert site.get("/sessions", headers=JSON, status=401).json["code"] == "SignInRequired"
    site.post("/account/sessions", {"others": "1"}, headers=HTML, status=303)
    desk = device(site, FIREFOX)
    desk.post("/account/sessions", {"others": "1"}, status=403)


def test_signed_out_and_replaced_sessions_are_not_listed(site: Site) -> None:
    desk, phone = device(site, FIREFOX), device(site, IPHONE)
    phone.sign_out()
    assert len(listed(desk)) == 1
    fields = {"username": "alice", "password": "alice-password", "csrf_token": desk.csrf()}
    desk.post("/login", fields, status=303)  # a second tab, whose form was still open
    assert len(listed(desk)) == 1


def test_the_list_and_the_routes_can_be_left_out(backend: Served) -> None:
    site = Site(backend.url, routes__sessions="none", routes__account_sessions="none")
    site.sign_in()
    site.get("/sessions", status=404)
    site.delete("/sessions/x", status=404)
    assert "/account/sessions" not in site.get("/account", headers=HTML)


def test_a_hostile_user_agent_is_shown_as_text(site: Site) -> None:
    desk = device(site, "Firefox/1.0 <script>alert(1)</script>" + "(" * 5000)
    assert "<script>alert" not in desk.get("/account/sessions", headers=HTML)
    assert listed(desk)
