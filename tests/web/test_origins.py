"""Forms with ``Origin: null``, and forms from other origins."""

import pytest
from pyramid.config import Configurator
from pyramid.request import Request

from servers import Served
from site_under_test import Site, application, fresh, nothing, settings

APP = "https://app.example.com"


@pytest.mark.parametrize(
    ("fetch_site", "status"),
    [
        ("same-origin", 303),
        ("same-site", 403),
        ("cross-site", 403),
        ("none", 403),
        ("Same-Origin", 403),
        (None, 403),
    ],
)
def test_s1_a_page_without_a_referrer_can_sign_in_and_out(
    site: Site, fetch_site: str | None, status: int
) -> None:
    """A page without a referrer sends ``Origin: null``, and authapp accepts its forms. A page in a
    sandbox also sends ``Origin: null``, but with ``Sec-Fetch-Site: cross-site``, so authapp refuses
    its forms."""
    headers = {"Origin": "null"} | ({"Sec-Fetch-Site": fetch_site} if fetch_site else {})
    form = site.get("/login").form
    form["username"], form["password"] = "alice", "alice-password"
    form.submit(headers=headers, status=status)
    if status == 403:
        site.sign_in()
    site.post("/logout", {"csrf_token": site.csrf()}, headers=headers, status=status)


def test_s1_a_null_origin_needs_the_token(site: Site) -> None:
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    fields = {"username": "alice", "password": "alice-password", "csrf_token": "x" * 32}
    site.post("/login", fields, headers=headers, status=403)


def test_s1_a_null_origin_of_the_applications_own_forms(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.add_route("view", "/view")
        config.add_view(view, route_name="view", renderer="json", request_method="POST")

    def view(request: Request) -> str:
        return "done"

    site = application(backend.url, more)
    site.sign_in()
    fields, headers = {"csrf_token": site.csrf()}, {"Origin": "null"}
    site.post("/view", fields, headers=headers, status=403)
    site.post("/view", fields, headers=headers | {"Sec-Fetch-Site": "same-origin"}, status=200)


@pytest.mark.parametrize("more", [[], ["X-Client-Version", "traceparent"]])
def test_a8_listed_origins_may_send_the_configured_headers(
    backend: Served, more: list[str]
) -> None:
    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    site = application(backend.url, cors__origins=APP, cors__headers=", ".join(more))
    answer = site.options("/session", headers=preflight, status=204)
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    usual = {"Accept", "Content-Type", "X-CSRF-Token", "X-Requested-With"}
    assert {*allowed} - {"X-Authapp-Background"} == usual | {*more}
    answer = site.options(
        "/session", headers=preflight | {"Origin": "https://evil.example"}, status=204
    )
    assert "Access-Control-Allow-Headers" not in answer.headers


@pytest.mark.parametrize(
    ("host", "origin", "trusted", "good"),
    [
        ("example.com", "http://[", "", False),
        ("example.com", "https://example.com", "", True),
        ("example.com:443", "https://example.com", "", True),
        ("example.com:80", "http://example.com", "", True),
        ("Example.com", "https://example.com", "", True),
        ("example.com:8080", "http://example.com:8080", "", True),
        ("example.com:8080", "http://example.com", "", False),
        ("example.com", "https://example.com.evil", "", False),
        ("example.com", "https://www.example.com", "", False),
        ("example.com", "null", "", False),
        ("example.com", "", "", False),
        ("internal:8080", "https://example.com", "example.com", True),
        ("internal:8080", "https://www.example.com", ".example.com", True),
        ("internal:8080", "https://evil.com", "example.com", False),
        ("example.com", "https://example.com:x", "", False),
    ],
)
def test_s1_forms_are_accepted_from_trusted_origins_only(
    backend: Served, host: str, origin: str, trusted: str, good: bool
) -> None:
    ini = settings(backend.url, development__hosts="example.com internal")
    ini |= {"pyramid.csrf_trusted_origins": trusted}
    site = Site(wsgi=fresh(nothing, **ini))
    site.extra_environ["HTTP_HOST"] = host
    token = {"Cookie": "authapp.csrf=0123456789abcdef"}
    fields = {"csrf_token": "0123456789abcdef", "username": "alice", "password": "wrong"}
    for header in ("Origin", "Referer"):
        for scheme in ("http", "https"):
            site.extra_environ["wsgi.url_scheme"] = scheme
            headers = {header: origin, **token}
            site.post("/login", fields, headers=headers, status=401 if good else 403)
    for fetch_site, status in (("cross-site", 403), ("none", 401), ("same-origin", 401)):
        site.post("/login", fields, headers={"Sec-Fetch-Site": fetch_site, **token}, status=status)
