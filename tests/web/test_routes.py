"""The names of authapp's routes begin with ``authapp.``, and their paths are settings."""

from collections.abc import Callable
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

import authapp
from authapp.settings.ini import SettingsError
from authapp.settings.route_settings import PATHS
from servers import Served
from site_under_test import Site, application, settings

IDLE = "http://127.0.0.1:9"


def add_own_pages(config: Configurator) -> None:
    """Add the application's own routes. For ``authapp.login`` there is the route ``login``, and so
    on."""
    for name in PATHS:
        config.add_route(name, f"/mine/{name}/{{sid}}")
        config.add_view(lambda request: Response(request.matchdict["sid"]), route_name=name)


@pytest.mark.parametrize("first", [True, False])
def test_host_may_have_routes_of_the_same_names(backend: Served, first: bool) -> None:
    with Configurator(settings=settings(backend.url)) as config:
        if first:
            add_own_pages(config)
        config.include("authapp")
        if not first:
            add_own_pages(config)
        site = Site(wsgi=config.make_wsgi_app())
    for name in PATHS:
        assert site.get(f"/mine/{name}/7").text == "7"
    site.sign_in("alice")
    assert "alice" in site.get("/account")
    site.sign_out()
    assert site.get("/session").json["user"] is None


def test_all_names_of_routes_are_in_the_namespace() -> None:
    with Configurator(settings=settings(IDLE)) as config:
        config.include("authapp")
    routes = [each["introspectable"] for each in config.introspector.get_category("routes")]
    assert routes
    assert all(
        each["name"].startswith("authapp.")
        for each in routes
        if each["name"] != "__authapp-static/"
    )


def test_a_path_can_be_moved(backend: Served) -> None:
    site = application(backend.url, routes__login="/sign-in", routes__account="/me/profile")
    site.get("/login", status=404)
    assert site.get("/me/profile", headers={"Accept": "text/html"}).location.endswith(
        "/sign-in?next=%2Fme%2Fprofile"
    )
    form = site.get("/sign-in").form
    form["username"], form["password"] = "alice", "alice-password"
    assert form.submit().status_code == 303
    assert 'href="/me/profile"' in site.get("/me/profile")
    assert "/sign-in" in site.get("/me/profile").html.find("meta", {"name": "authapp"})["content"]


def test_moved_pages_have_the_same_limits(backend: Served) -> None:
    site = application(backend.url, routes__login="/sign-in")
    site.post("/sign-in", b"username=" + b"x" * 100_000, status=413)
    assert site.get("/sign-in", {"next": "/sign-in"}).form["next"].value == "/"


def test_pages_can_be_left_out(backend: Served) -> None:
    site = application(backend.url, routes__account="none", routes__health="none")
    site.sign_in("alice")
    site.get("/account", status=404)
    site.get("/health", status=404)
    page = site.get("/logout")
    assert "<span>alice</span>" in page
    assert "/account" not in page.text.replace("/account.css", "")


def test_start_page_and_admin_page_can_be_left_out(backend: Served) -> None:
    site = Site(backend.url, routes__home="none", routes__admin="none")
    site.get("/", status=404)
    site.get("/admin", status=404)
    site = Site(backend.url, routes__account="none", routes__admin="none")
    site.sign_in("alice")
    assert "Your account" not in site.get("/")
    assert "Administration" not in site.get("/")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("login", "none", "authapp.routes.login = none: the other pages need it; set a path"),
        ("logout", "none", "authapp.routes.logout = none: the other pages need it"),
        ("session", "none", "authapp.routes.session = none: the other pages need it"),
        (
            "account",
            "me",
            "authapp.routes.account = 'me': must be a path such as /sign-in, or none",
        ),
        ("account", "/me/", "must be a path such as /sign-in, or none"),
        ("account", "/a/../b", "must be a path"),
        ("account", "/{name}", "must be a path"),
        ("account", "//evil.example", "must be a path"),
        ("accuont", "/me", "is not a setting; the nearest is authapp.routes.account"),
    ],
)
def test_impossible_paths_stop_the_start(key: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        authapp.main({}, **settings(IDLE), **{f"authapp.routes.{key}": value})
    assert problem in str(error.value)


def host_with(pattern: str, **predicates: Any) -> Callable[[Configurator], None]:
    def more(config: Configurator) -> None:
        config.add_route("theirs", pattern, **predicates)

    return more


@pytest.mark.parametrize(
    ("pattern", "predicates", "first", "conflict"),
    [
        ("/login", {}, True, True),
        ("login", {}, False, True),
        ("/login", {"request_method": "PUT"}, False, True),
        ("/{page}", {}, True, True),
        ("/{page}", {}, False, False),
        ("/*path", {"header": "X-Spa"}, True, False),
        ("/login/more", {}, True, False),
    ],
)
def test_path_that_a_route_of_the_host_answers_stops_the_start(
    pattern: str, predicates: dict[str, str], first: bool, conflict: bool
) -> None:
    config = Configurator(settings=settings(IDLE))
    if first:
        config.add_route("theirs", pattern, **predicates)
    config.include("authapp")
    if not first:
        config.add_route("theirs", pattern, **predicates)
    if not conflict:
        config.make_wsgi_app()
        return
    with pytest.raises(SettingsError) as error:
        config.make_wsgi_app()
    assert "authapp.routes.login = /login: the route 'theirs'" in str(error.value)


def test_two_pages_of_ours_at_one_path_stop_the_start() -> None:
    config = Configurator(settings=settings(IDLE) | {"authapp.routes.account": "/login"})
    config.include("authapp")
    with pytest.raises(SettingsError, match=r"authapp\.routes\.account = /login: the route"):
        config.make_wsgi_app()


def test_routes_follow_the_prefix_of_the_include(backend: Served) -> None:
    with Configurator(settings=settings(backend.url, routes__account="/me")) as config:
        config.include("authapp", route_prefix="/auth")
        config.add_route("me", "/me")
        config.add_view(lambda request: Response(own(request)), route_name="me")
        site = Site(wsgi=config.make_wsgi_app())
    assert site.get("/me").text == "/auth/me None"


def own(request: Request) -> str:
    return f"{request.authapp_path('account')} {request.authapp_path('home')}"
