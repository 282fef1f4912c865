"""A request with a method that a route of authapp does not support gets 405 with ``Allow``:
docs/http.md."""

import io
import re

import pytest
from pyramid.config import Configurator

from authapp.web.routes import NAMESPACE
from servers import Served
from site_under_test import Site, application, settings

METHODS = {
    "account": "GET, HEAD, POST",
    "admin": "GET, HEAD",
    "health": "GET, HEAD",
    "home": "GET, HEAD",
    "login": "GET, HEAD, POST",
    "logout": "GET, HEAD, POST",
    "session": "GET, HEAD, POST",
}


@pytest.mark.parametrize("signed_in", [True, False])
def test_other_methods_get_405_with_allow_on_every_route(site: Site, signed_in: bool) -> None:
    if signed_in:
        site.sign_in()
    for each in site.app.routes_mapper.get_routes():
        assert each.name.startswith(NAMESPACE) or "static" in each.name
        name = each.name.removeprefix(NAMESPACE)
        if "static" in each.name:
            continue
        path = re.sub(r"\{.*?\}", "x", each.path)
        allowed = site.options(path, status=405).headers["Allow"]
        assert allowed == METHODS.get(name, allowed)
        for method in {"PUT", "PATCH", "DELETE", "TRACE"}.difference(allowed.split(", ")):
            answer = site.request(path, method=method, status=405)
            assert answer.headers["Allow"] == allowed
            assert answer.headers["Cache-Control"] in ("no-store", "private, no-store")
    assert site.get("/").status_int == 200
    json = site.put("/login", headers={"Accept": "application/json"}, status=405).json
    assert json["code"] == "MethodNotAllowed"


@pytest.mark.parametrize("prefix", [None, "auth"])
@pytest.mark.parametrize("rest", ["page.js", "nothing", "0123456789ab/page.js", "a/b/c", ""])
def test_a_static_file_can_only_be_read(backend: Served, prefix: str | None, rest: str) -> None:
    """A request with a method other than GET and HEAD gets 405, or 413 if its body is too large.
    The body is not read. The CSRF check would read it, so this check must not run."""
    below = f"/{prefix}" if prefix else ""
    with Configurator(settings=settings(backend.url)) as config:
        config.include("authapp", route_prefix=prefix)
        site = Site(wsgi=config.make_wsgi_app())
    path = f"{below}/authapp-static/{rest}"
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        body = io.BytesIO(b"a=1&" * 1000)
        form = {"wsgi.input": body, "CONTENT_TYPE": "application/x-www-form-urlencoded"}
        environ = {**form, "CONTENT_LENGTH": "4000"}
        answer = site.request(path, method=method, status=405, environ=environ)
        assert answer.headers["Allow"] == "GET, HEAD"
        environ = {**form, "CONTENT_LENGTH": "8000000"}
        site.request(path, method=method, status=413, environ=environ)
        assert body.tell() == 0
    site.get(f"{below}/authapp-static/page.js", status=200)
    assert site.head(f"{below}/authapp-static/page.js", status=200).body == b""


def test_an_applications_own_view_for_another_method_is_kept(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.add_view(
            lambda request: "put",
            route_name="authapp.login",
            request_method="PUT",
            renderer="json",
            require_csrf=False,
        )

    site = application(backend.url, more)
    assert site.put("/login").json == "put"
    assert site.options("/login", status=405).headers["Allow"] == "GET, HEAD, POST, PUT"


def test_cross_site_sign_out_without_a_session_clears_nothing(site: Site) -> None:
    """A page of another site can send ``POST /logout``, but the browser adds no session cookie. The
    response must not clear the browser's cache."""
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert "Clear-Site-Data" not in site.post("/logout", headers=headers, status=303).headers
    site.sign_in()
    assert "Clear-Site-Data" not in site.post("/logout", headers=headers, status=403).headers
    assert site.sign_out().headers["Clear-Site-Data"] == '"cache"'
    assert "Clear-Site-Data" not in site.post("/logout", status=303).headers
