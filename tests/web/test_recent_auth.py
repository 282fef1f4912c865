"""Views that need a recent sign-in (``recent_auth``)."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response

from authapp import SignedIn
from authapp.web.recent_auth import read_max_age
from servers import LOGIN, Served
from site_under_test import COOKIE, Site, add_view, application, shared_application

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
START = 1_900_000_000


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def pay(request: Request) -> str:
    return f"paid by {request.identity.name}"


def pages(config: Configurator) -> None:
    add_view(config, pay, recent_auth=300, require_csrf=False)
    config.add_route("form", "/form")
    config.add_view(lambda request: Response("a form"), route_name="form")


@pytest.fixture
def site(backend: Served) -> Site:
    return shared_application(backend.url, pages, session__remember="ask")


def sign_in_form(page: Any) -> Any:
    """Return the sign-in form of a page. For a signed-in user the page also has a sign-out form."""
    return next(each for each in page.forms.values() if "username" in each.fields)


def again(site: Site, name: str = "alice", password: str = "", **options: Any) -> Any:
    """Follow the redirect of a view to the sign-in page, and sign in."""
    location = site.get("/view", headers=HTML, status=303).location
    form = sign_in_form(site.get(location))
    form["username"], form["password"] = name, password or f"{name}-password"
    return form.submit(**options)


def test_who_has_just_signed_in_sees_the_view(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(300)
    assert site.get("/view").json == "paid by alice"


def test_a_person_signs_in_again_and_comes_back_with_the_same_session(
    site: Site, clock: Any
) -> None:
    form = site.get("/login").form
    form["username"], form["password"], form["remember"] = "alice", "alice-password", True
    form.submit()
    before, csrf = site.opened(), site.csrf()
    clock.shift(301)
    location = site.get("/view?of=1", headers=HTML, status=303).location
    assert parse_qs(urlsplit(location).query) == {"next": ["/view?of=1"], "max_age": ["300"]}
    page = site.get(location)
    assert "recent sign-in" in page
    form = sign_in_form(page)
    assert "remember" not in form.fields
    form["username"], form["password"] = "alice", "wrong"
    form = sign_in_form(form.submit(status=401))
    form["password"] = "alice-password"
    answer = form.submit(status=303)
    assert answer.location == "/view?of=1"
    assert site.get("/view?of=1").json == "paid by alice"
    after = site.opened()
    assert after.sid == before.sid
    assert after.authenticated_at == START + 301
    assert after.tokens != before.tokens
    assert after.remember is True
    assert site.csrf() == csrf
    assert len(site.get("/sessions").json["sessions"]) == 1


def test_a_renewal_does_not_count_as_a_sign_in(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(301)
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    assert site.opened().authenticated_at == START
    assert site.get("/view", headers=HTML, status=303)


def test_another_user_gets_a_new_session(site: Site, clock: Any) -> None:
    site.sign_in()
    before, copy = site.opened(), site.cookie_header()
    clock.shift(301)
    assert again(site, "bob", status=303).location == "/view"
    assert site.get("/view").json == "paid by bob"
    assert site.opened().sid != before.sid
    assert site.get("/session", headers=copy).json["error"] == "SessionRevoked"


def test_an_ordinary_sign_in_begins_a_new_session(site: Site, clock: Any) -> None:
    """If a view has asked for a recent sign-in, the session continues after the sign-in. Any other
    sign-in begins a new session."""
    form = site.get("/login").form
    site.sign_in()
    before = site.opened()
    form["username"], form["password"] = "alice", "alice-password"
    form.submit(status=303)
    assert site.opened().sid != before.sid


def test_a_program_gets_the_problem_of_rfc_9470(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(301)
    answer = site.get("/view", headers=JSON, status=401)
    assert answer.content_type == "application/problem+json"
    assert answer.json["error"] == answer.json["code"] == "insufficient_user_authentication"
    assert answer.json["max_age"] == 300
    assert answer.json["login_url"] == "/login?next=%2Fview&max_age=300"
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert 'max_age="300"' in challenge
    assert answer.headers["Cache-Control"] == "no-store"


def test_htmx_opens_the_sign_in_page(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(301)
    htmx = {"HX-Request": "true", "HX-Current-URL": "http://localhost/page?x=1"}
    answer = site.get("/view", headers=htmx, status=401)
    assert answer.headers["HX-Redirect"] == answer.json["login_url"]
    query = parse_qs(urlsplit(answer.headers["HX-Redirect"]).query)
    assert query == {"next": ["/page?x=1"], "max_age": ["300"]}
    page = site.get("/view", headers=HTML, status=303)
    program = site.get("/view", headers=JSON, status=401)
    assert "HX-Redirect" not in [*page.headers, *program.headers]
    for each in (answer, page, program):
        assert "HX-Request" in each.headers["Vary"]


def test_a_form_post_comes_back_to_the_page_with_the_form(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(301)
    headers = HTML | {"Referer": "http://localhost/form?of=2"}
    location = site.post("/view", headers=headers, status=303).location
    assert parse_qs(urlsplit(location).query)["next"] == ["/form?of=2"]


def test_who_is_not_signed_in_is_sent_to_sign_in(site: Site) -> None:
    assert site.get("/view", headers=HTML, status=303).location == "/login?next=%2Fview"
    assert site.get("/view", headers=JSON, status=401).json["code"] == "SignInRequired"


def test_the_sign_in_page_asks_again_only_if_the_sign_in_is_too_old(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(100)
    assert site.get("/login?max_age=100&next=/form").location == "/form"
    assert site.get("/login?max_age=99&next=/form", status=200)
    for odd in ("x", "-1", "9" * 5000, "%00", ""):
        assert site.get(f"/login?max_age={odd}&next=/form").location == "/form"
    for odd in (None, 5, b"1"):
        assert read_max_age(odd) is None


def test_an_older_tab_does_not_undo_the_sign_in(site: Site, clock: Any) -> None:
    """If another tab renews with the cookie from before the sign-in, the response to that tab does
    not overwrite the cookie of the sign-in."""
    site.sign_in()
    older = site.twin()
    clock.shift(301)
    again(site, status=303)
    answer = older.post("/session", headers={"X-CSRF-Token": older.csrf()}, status=200)
    assert not [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
    # Later, a browser that never received the cookie of the sign-in goes on.
    clock.shift(61)
    before = older.token()
    older.post("/session", headers={"X-CSRF-Token": older.csrf()}, status=200)
    assert older.token() != before
    assert older.opened().authenticated_at == START
    assert older.get("/view", headers=HTML, status=303)


def test_a_sign_out_meanwhile_wins(site: Site, backend: Served, clock: Any) -> None:
    site.sign_in()
    session, copy = site.opened(), site.cookie_header()
    clock.shift(301)

    def sign_out_meanwhile(request: Any) -> None:
        site.services.revocation.revoke(session)

    backend.instead[LOGIN] = sign_out_meanwhile
    again(site, status=303)
    assert COOKIE not in site.cookies
    assert site.get("/session", headers=copy).json["error"] == "SessionRevoked"


def test_a_sign_in_that_a_subscriber_refuses_keeps_the_session_of_before(
    backend: Served, clock: Any
) -> None:
    refuses: list[bool] = []

    def refuse(event: SignedIn) -> None:
        if refuses:
            raise HTTPForbidden()

    def more(config: Configurator) -> None:
        pages(config)
        config.add_subscriber(refuse, SignedIn)

    site = application(backend.url, more)
    site.sign_in()
    before = site.opened()
    clock.shift(301)
    refuses.append(True)
    again(site, status=403)
    assert site.opened() == before
    assert site.get("/session").json["user"]
    assert site.get("/view", headers=HTML, status=303)
    refuses.clear()
    again(site, status=303)
    assert site.opened().sid == before.sid


@pytest.mark.parametrize("wrong", [0, -1, True, "300", 1.5])
def test_a_wrong_number_of_seconds_is_a_problem_at_start_up(wrong: Any) -> None:
    with pytest.raises(Exception, match="recent_auth="):
        application(
            "http://backend.invalid",
            lambda config: add_view(config, pay, recent_auth=wrong),
        )


def test_after_a_sign_out_everywhere_the_next_sign_in_is_recent(site: Site, clock: Any) -> None:
    """After a sign-out everywhere, the next sign-in may have a time up to a minute in the future.
    Such a sign-in counts as recent."""
    site.sign_in()
    site.sign_out(everywhere=True)
    site.sign_in()
    assert site.opened().authenticated_at > START
    assert site.get("/view").json == "paid by alice"
    assert site.get("/sessions").json["sessions"][0]["signed_in_at"] == START
