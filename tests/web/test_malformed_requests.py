"""Requests that are too large, or whose form or query cannot be parsed: threat S7."""

import io
import re

import pytest
from pyramid.config import Configurator

from servers import Served
from site_under_test import Site, add_view, application


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\xff",
        "application/x-www-form-urlencoded; charset=utf-7",
        "application/x-www-form-urlencoded; charset=nope",
        "multipart/form-data; charset=base64; boundary=x",
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/session", "/nowhere"])
def test_form_with_an_invalid_content_type_gets_a_4xx(
    site: Site, content_type: str, path: str
) -> None:
    site.sign_in()
    for headers in ({}, {"Origin": "https://evil.example"}):
        headers = {**headers, "Content-Type": content_type}
        answer = site.post(path, b"x=1", headers, status="*")
        assert answer.status_int in (400, 403, 404)


@pytest.mark.parametrize("read", ["POST", "params"])
def test_a_form_that_a_view_cannot_read_is_400_and_an_error_of_the_view_is_500(
    backend: Served, read: str
) -> None:
    """If WebOb cannot parse the form, the response is 400. If the view fails for another reason,
    the response is 500, and the view for errors does not parse the form."""

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        add_view(config, lambda request: getattr(request, read) and 1 / 0, require_csrf=False)
        config.add_route("fails", "/fails")
        config.add_view(lambda request: 1 / 0, route_name="fails", require_csrf=False)

    site = application(backend.url, more)
    for kind in ("multipart/form-data", "application/x-www-form-urlencoded; charset=nope"):
        site.post("/view", b"x=1", {"Content-Type": kind}, status=400)
        site.post("/fails", b"x=1", {"Content-Type": kind}, status=500)
    site.post("/view", b"x=1", status=500)


def test_an_error_page_of_a_form_whose_query_is_not_utf8_is_sent(backend: Served) -> None:
    """If the query of a form is not UTF-8, the response is an error page. The view for exceptions
    raises no exception."""
    for site in (Site(backend.url), application(backend.url)):
        routes = site.app.routes_mapper.get_routes()
        paths = ["/" + re.sub(r"[*{].*", "x", each.path).lstrip("/") for each in routes]
        for path in (*paths, "/nowhere"):
            for query in ("next=%ff", "%ff", "_LOCALE_=%ff"):
                for method in ("GET", "POST"):
                    answer = site.request(f"{path}?{query}", method=method, status="*")
                    assert answer.status_int < 500
                    assert answer.headers["X-Request-ID"]


def test_form_with_invalid_bytes_gets_a_400_or_403(site: Site) -> None:
    for body in (b"username=%ff", b"csrf_token=\xff", b"csrf_token=%00"):
        assert site.post("/login", body, status="*").status_int in (400, 403)


def test_s7_too_large_form_gets_a_413_on_authapps_own_pages(site: Site) -> None:
    for path in ("/login", "/logout", "/session"):
        answer = site.post(path, b"username=" + b"x" * 1_000_000, status=413)
        assert "TooLarge" in answer.text
    site.post("/nowhere", b"x=" + b"x" * 1_000_000, status=404)


@pytest.mark.parametrize("path", ["/login", "/logout", "/session", "/account"])
def test_s7_too_large_body_is_not_read(
    site: Site, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    site.sign_in()
    body = io.BytesIO(b"csrf_token=x&y=" + b"z" * 2_000_000)
    # gunicorn sends no length for a chunked body, but sets wsgi.input_terminated.
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    for environ in ({"CONTENT_LENGTH": "2000015"}, chunked):
        answer = site.request(
            path, method="POST", status=413, environ={**environ, "wsgi.input": body}
        )
        assert "TooLarge" in answer.text
        assert body.tell() == 0
    assert f"TooLarge: POST {path}" in caplog.text


@pytest.mark.parametrize("path", ["/login", "/session", "/"])
def test_empty_content_length_means_no_body(site: Site, path: str) -> None:
    """An empty ``CONTENT_LENGTH`` means that there is no body. PEP 3333 allows this value, and
    uWSGI sends it."""
    site.get(path, extra_environ={"CONTENT_LENGTH": ""}, status=200)


def test_s7_uploads_json_and_repeated_fields_are_handled(site: Site) -> None:
    token = site.get("/login").form["csrf_token"].value
    good = {"csrf_token": token, "username": "alice", "password": "alice-password"}
    for name in ("csrf_token", "username", "password", "next"):
        fields = {key: value for key, value in good.items() if key != name}
        # Our pages refuse every multipart form: parsing its headers takes quadratic time.
        site.post("/login", fields, upload_files=[(name, "file.txt", b"x")], status=400)
    site.post_json("/login", good, status=403)
    many = "&".join(f"f{number}=" for number in range(10_000))
    assert site.post("/login", many, status="*").status_int in (403, 413)
    form = "&".join(f"{key}={value}" for key, value in good.items())
    for twice in ("username=bob", "password=wrong"):  # the last value is used
        site.post("/login", f"{form}&{twice}", status=401)
    site.post("/login", f"username=bob&password=x&{form}", status=303)


@pytest.mark.parametrize("path", ["/login?next=%ff", "/health?deep=%ff", "/login?%ff"])
def test_undecodable_query_gets_a_400(site: Site, path: str) -> None:
    assert "BadRequest" in site.get(path, status=400).text
