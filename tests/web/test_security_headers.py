"""Security headers, and access from other origins: threats A6, A8, L4 and L5."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.response import Response

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.web.security_headers import HEADERS
from servers import Served
from site_under_test import Site, add_view, application, description, shared_application

APP = "https://app.example.com"


def add_views(config: Configurator) -> None:
    own = {"X-Frame-Options": "SAMEORIGIN"}
    add_view(config, lambda request: Response("x", headers=own))
    config.add_route("api", "/api/{rest}")
    config.add_view(lambda request: Response("x"), route_name="api", require_csrf=False)


def application_site(backend: Served, **keys: str) -> Site:
    return shared_application(backend.url, add_views, **keys)


def has_security_headers(answer: Any) -> bool:
    return all(answer.headers.get(name) == value for name, value in HEADERS.items())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/login", 200),
        ("/account", 303),
        ("/nowhere", 404),
        ("/session", 200),
        ("/health", 200),
        ("/authapp-static/authapp.css", 200),
    ],
)
def test_l4_every_response_of_the_site_has_security_headers(
    site: Site, path: str, status: int
) -> None:
    answer = site.get(path, status=status)
    assert has_security_headers(answer)
    assert "Strict-Transport-Security" not in answer.headers
    secure = site.get(path, status=status, extra_environ={"wsgi.url_scheme": "https"})
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_l4_pages_contain_nothing_that_the_policy_forbids(site: Site) -> None:
    site.sign_in()
    for path in ("/", "/account", "/logout", "/nowhere"):
        text = site.get(path, status="*").text
        for script in re.findall("<script.*", text):
            assert re.fullmatch('<script type="module" src="/[a-z0-9./-]+"></script>', script)
        for forbidden in ("style=", "onclick", "http://", "https://", "javascript:"):
            assert forbidden not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_headers_setting_selects_the_pages_with_security_headers(backend: Served) -> None:
    site = application_site(backend)
    assert has_security_headers(site.get("/login"))
    assert site.get("/view").headers.get("Content-Security-Policy") is None
    everywhere = application_site(backend, headers="all")
    answer = everywhere.get("/view")
    assert "Content-Security-Policy" in answer.headers
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN", (
        "a header that the view has set is kept"
    )
    assert (
        "Content-Security-Policy"
        not in application_site(backend, headers="off").get("/login").headers
    )


def test_l4_error_pages_of_authapp_have_security_headers(backend: Served) -> None:
    """Threat L4. authapp's error pages contain the sign-out form. So they have security headers,
    which keep the form out of other sites' frames."""

    def more(config: Configurator) -> None:
        config.add_route("private", "/private")
        config.add_view(lambda request: Response("x"), route_name="private", permission="see")
        add_view(config, lambda request: 1 / 0)
        reached = HTTPBackend(BoundedSession(2), backend.url, description())
        config.set_auth_backend(reached)

    def answers(site: Site) -> list[Any]:
        json = {"Accept": "application/json"}
        stranger = site.get("/private", headers=json, status=401)
        site.sign_in()
        return [
            stranger,
            site.get("/private", status=403),
            site.get("/nowhere", status=404),
            site.get("/view", status=500),
            site.post("/private", {"csrf_token": "wrong"}, status=403),
        ]

    for where, expected in (("own", True), ("off", False)):
        site = application("", more, headers=where, development="false")
        site.extra_environ["wsgi.url_scheme"] = "https"
        assert [has_security_headers(each) for each in answers(site)] == [expected] * 5


def test_production_ini_trusts_only_its_proxy_and_hides_the_server_name() -> None:
    """Threats S8, L4. production.ini must have some settings of the server. Without them, clients
    could forge their address and see the name of the server."""
    ini = ConfigParser()
    ini.read(Path(__file__).parents[2] / "production.ini")
    server = ini["server:main"]
    assert server["ident"] == ""
    assert server["trusted_proxy"] == "127.0.0.1"
    assert server["trusted_proxy_count"] == "1"
    assert server["clear_untrusted_proxy_headers"] == "true"


def test_l4_security_headers_have_the_documented_values(site: Site) -> None:
    headers = site.get("/login").headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    )
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_sign_out_clears_the_browser_cache(site: Site) -> None:
    site.sign_in()
    assert site.sign_out().headers["Clear-Site-Data"] == '"cache"'


@pytest.mark.parametrize("host", ["evil.example", "localhost:99", "a b", ""])
def test_a6_redirects_do_not_depend_on_the_host_header(host: str) -> None:
    site = Site("https://backend.invalid", development="false")
    site.extra_environ["HTTP_HOST"] = host
    assert site.get("/account", status=303).headers["Location"] == "/login?next=%2Faccount"


@pytest.mark.parametrize("path", ["/session", "/api/x"])
def test_a8_listed_origin_may_read_responses(backend: Served, path: str) -> None:
    site = application_site(
        backend, cors__origins=f"{APP} http://localhost:3000", api_prefixes="/api"
    )
    answer = site.get(path, headers={"Origin": APP})
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]
    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    answer = site.options(path, headers=preflight, status=204)
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert "X-CSRF-Token" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://APP.example.com",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://app.example.com/",
        "*",
        "",
    ],
)
def test_a8_other_origins_may_not_read_responses(backend: Served, origin: str) -> None:
    site = application_site(backend, cors__origins=APP)
    for answer in (
        site.get("/session", headers={"Origin": origin}),
        site.options(
            "/session",
            headers={"Origin": origin, "Access-Control-Request-Method": "GET"},
            status="*",
        ),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


def test_a8_cors_covers_no_other_paths_or_methods(backend: Served) -> None:
    site = application_site(backend, cors__origins=APP, api_prefixes="/api")
    for path in ("/login", "/view", "/apical", "/account"):
        answer = site.get(path, headers={"Origin": APP}, status="*")
        assert "Access-Control-Allow-Origin" not in answer.headers
    for method in ("TRACE", "CONNECT", "get", "GET, POST"):
        headers = {"Origin": APP, "Access-Control-Request-Method": method}
        answer = site.options("/session", headers=headers, status=204)
        assert "Access-Control-Allow-Methods" not in answer.headers
    site.options("/session", headers={"Origin": APP}, status=405)


def test_a8_cors_is_off_by_default(site: Site) -> None:
    answer = site.get("/session", headers={"Origin": APP})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a8_listed_origin_may_not_send_unsafe_requests(backend: Served) -> None:
    """Threat A8. A page of a listed origin (CORS) can read the CSRF token, but authapp still
    refuses the POST requests of this page."""
    site = application_site(backend, cors__origins=APP)
    site.sign_in()
    token = site.get("/session", headers={"Origin": APP}).json["csrf_token"]
    site.post("/session", headers={"Origin": APP, "X-CSRF-Token": token}, status=403)


def test_l5_json_responses_have_the_right_type_and_are_not_cacheable(site: Site) -> None:
    for path in ("/session", "/health"):
        answer = site.get(path)
        assert answer.content_type == "application/json"
        assert "no-store" in answer.headers["Cache-Control"]
    problem = site.get("/account", headers={"Accept": "application/json"}, status=401)
    assert problem.content_type == "application/problem+json"
    assert problem.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in problem.headers["Cache-Control"]
