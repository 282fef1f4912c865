"""The application's own Pyramid session, beside the session of authapp: docs/pyramid.md."""

import time
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.csrf import SessionCSRFStoragePolicy
from pyramid.request import Request
from pyramid.security import forget
from pyramid.session import SignedCookieSessionFactory

from servers import REFRESH, Served
from site_under_test import COOKIE, SECRET, Site, application, shared_application


def cart(request: Request) -> list[str]:
    """A view that adds ``?add=…`` to the cart in ``request.session``, and returns the cart."""
    things: list[str] = request.session.setdefault("cart", [])
    if "add" in request.GET:
        request.session["cart"] = things = [*things, request.GET["add"]]
    return things


def add_cart(config: Configurator) -> None:
    config.set_session_factory(SignedCookieSessionFactory("of the shop", timeout=None))
    config.add_route("cart", "/cart")
    config.add_view(cart, route_name="cart", renderer="json")
    config.add_route("leave", "/leave")
    config.add_view(lambda request: forget(request), route_name="leave", renderer="json")
    config.add_route("ask", "/ask")
    config.add_view(
        lambda request: request.backend.get("/me").json()["id"], route_name="ask", renderer="json"
    )


def shop(backend: Served, **keys: str) -> Site:
    return shared_application(backend.url, add_cart, **keys)


@pytest.mark.parametrize("leave", ["ours", "the application's"])
def test_a_sign_out_empties_the_cart(backend: Served, leave: str) -> None:
    site = shop(backend)
    site.sign_in()
    site.get("/cart?add=book")
    assert site.get("/cart").json == ["book"]
    if leave == "ours":
        site.sign_out()
    else:
        site.get("/leave")
    assert site.get("/cart").json == []


def other_browser(site: Site) -> Site:
    """Return another browser, in which the same user has signed in."""
    other = Site(wsgi=site.app)
    other.sign_in(status=303)
    return other


@pytest.mark.parametrize("first", ["/account", "/login", "/session"])
@pytest.mark.parametrize("end", ["everywhere", "the list of sessions"])
def test_a_sign_out_in_another_browser_empties_the_cart(
    backend: Served, end: str, first: str
) -> None:
    site = shop(backend)
    site.sign_in()
    site.get("/cart?add=book")
    other = other_browser(site)
    if end == "everywhere":
        other.sign_out(everywhere=True)
    else:
        other.post("/account/sessions", {"csrf_token": other.csrf(), "others": "1"}, status=303)
    site.get(first)
    assert COOKIE not in site.cookies
    assert site.get("/cart").json == []


@pytest.mark.parametrize("during", [REFRESH, "/me"], ids=["renewal", "view"])
def test_a_sign_out_in_another_browser_during_a_renewing_request_empties_the_cart(
    backend: Served, during: str
) -> None:
    site = shop(backend)
    site.sign_in()
    site.get("/cart?add=book")
    with time_machine.travel(time.time() + 901):
        other = other_browser(site)

        def sign_out_elsewhere(request: Any) -> None:
            del backend.instead[request.path]
            other.sign_out(everywhere=True)

        backend.instead[during] = sign_out_elsewhere
        site.get("/ask")
        assert not backend.instead
        assert COOKIE not in site.cookies
        assert site.get("/cart").json == []


def test_a_late_request_of_a_replaced_session_does_not_empty_the_cart(backend: Served) -> None:
    """Bob signs in in Alice's browser. If a request with Alice's session arrives after that, Bob's
    cart keeps its contents."""
    site = shop(backend)
    form = site.get("/login").form
    site.sign_in()
    alice = site.token()
    form["username"], form["password"] = "bob", "bob-password"
    form.submit(status=303)
    site.get("/cart?add=book")
    cookies = f"{COOKIE}={alice}; session={site.cookies['session']}"
    late = Site(wsgi=site.app).get("/account", headers={"Cookie": cookies}, status=303)
    assert "reason=SessionRevoked" in late.location
    assert "Set-Cookie" not in late.headers


def test_a_late_request_of_a_session_that_was_signed_out_here_does_not_empty_the_cart(
    backend: Served,
) -> None:
    """The user signs out, and then puts a book into the cart. The book stays in the cart, even if a
    late request with the signed-out session arrives after that."""
    site = shop(backend)
    site.sign_in()
    token = site.token()
    site.sign_out()
    site.get("/cart?add=book")
    cookies = f"{COOKIE}={token}; session={site.cookies['session']}"
    late = Site(wsgi=site.app).get("/account", headers={"Cookie": cookies}, status=303)
    assert "reason=SessionRevoked" in late.location
    assert not [each for each in late.headers.getall("Set-Cookie") if each.startswith("session=")]


def test_a_visitors_cart_is_kept_at_the_sign_in(backend: Served) -> None:
    site = shop(backend)
    site.get("/cart?add=book")
    site.sign_in()
    assert site.get("/cart").json == ["book"]


@pytest.mark.parametrize(
    ("name", "expected"), [("alice", ["book"]), ("bob", [])], ids=["same user", "another user"]
)
def test_the_next_user_does_not_see_the_cart_of_an_ended_session(
    backend: Served, name: str, expected: list[str]
) -> None:
    site = shop(backend)
    site.sign_in()
    site.get("/cart?add=book")
    with time_machine.travel(time.time() + 604_801):
        site.get("/account", status=303)  # the session has ended, and its cookie is cleared
        site.get("/cart")
    site.sign_in(name)
    assert site.get("/cart").json == expected


def test_a_sign_in_as_another_user_empties_the_cart(backend: Served) -> None:
    site = shop(backend)
    forms = [site.get("/login").form for _ in range(2)]
    for form, name in zip(forms, ("alice", "bob"), strict=True):
        form["username"], form["password"] = name, f"{name}-password"
        form.submit(status=303)
        assert site.get("/cart").json == []
        site.get(f"/cart?add=of-{name}")
    assert site.get("/cart").json == ["of-bob"]


@pytest.mark.parametrize(("name", "expected"), [("alice", ["book"]), ("bob", [])])
def test_a_cart_from_before_an_upgrade_belongs_to_the_user_of_the_session(
    backend: Served, name: str, expected: list[str]
) -> None:
    site = shop(backend, host_session="keep")
    form = site.get("/login").form
    site.sign_in()
    site.get("/cart?add=book")
    upgraded = shop(backend)
    upgraded.cookiejar = site.cookiejar
    fields = {"csrf_token": form["csrf_token"].value, "username": name}
    upgraded.post("/login", fields | {"password": f"{name}-password"}, status=303)
    assert upgraded.get("/cart").json == expected


def test_a_rotated_secret_does_not_empty_the_cart(backend: Served) -> None:
    site = shop(backend)
    site.sign_in()
    site.get("/cart?add=book")
    rotated = shop(backend, secret=f"another secret that is long enough, 2\n{SECRET}")
    rotated.cookiejar = site.cookiejar
    rotated.cookiejar.clear("localhost.local", "/", "authapp.session")
    rotated.sign_in()
    assert rotated.get("/cart").json == ["book"]


def test_the_cart_is_kept_if_the_application_wants_that(backend: Served) -> None:
    site = shop(backend, host_session="keep")
    site.sign_in()
    site.get("/cart?add=book")
    site.sign_out()
    site.sign_in("bob")
    assert site.get("/cart").json == ["book"]
    other = Site(wsgi=site.app)
    other.sign_in("bob")
    other.sign_out(everywhere=True)
    site.get("/account", status=303)
    assert site.get("/cart").json == ["book"]


def test_signing_in_and_out_works_while_the_application_has_lost_its_sessions(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(request: Request) -> Any:
        raise ConnectionError("the application's Redis is down")

    site = application(backend.url, lambda config: config.set_session_factory(lost))
    site.sign_in(status=303)
    site.sign_out()
    assert site.get("/session").json["user"] is None
    assert caplog.text.count("HostSession: request.session could not be invalidated") == 2


def test_the_application_may_keep_csrf_tokens_in_its_own_session(backend: Served) -> None:
    def more(config: Configurator) -> None:
        add_cart(config)
        config.set_csrf_storage_policy(SessionCSRFStoragePolicy())

    site = application(backend.url, more)
    site.post("/login", {"username": "alice", "password": "alice-password"}, status=403)
    site.sign_in(status=303)
    form = site.get("/logout").forms[1]
    form.submit(headers={"Origin": "https://evil.example"}, status=403)
    form.submit(headers={"Origin": "http://localhost"}, status=303)
    assert site.get("/session").json["user"] is None
