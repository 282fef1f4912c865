"""Pages, problem responses (JSON) and languages: contract section 4."""

import base64
import io
import json
import re
import threading
import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPForbidden,
    HTTPNotFound,
    HTTPServiceUnavailable,
    HTTPUnauthorized,
)
from pyramid.request import Request
from pyramid.response import Response
from webob import Response as Answer

from authapp import sign_in_required
from authapp.session.session import TokenPair, Validity
from servers import LOGIN, REFRESH, Served
from site_under_test import COOKIE, Site, add_view, application, application_with_view, settings

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["//account", "/account/.", "/./account", "/%61ccount", "/account;x", "/ACCOUNT", "/account/"],
)
def test_a7_other_spellings_of_a_path_do_not_bypass_a_permission(site: Site, path: str) -> None:
    answer = site.get(path, headers=PAGE, status="*")
    assert answer.status_int in (303, 404)
    if answer.status_int == 303:
        assert answer.location.startswith("/login")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a7_method_override_headers_are_ignored(site: Site, name: str) -> None:
    site.sign_in()
    csrf = site.csrf()
    site.get("/logout", {"csrf_token": csrf}, headers={name: "POST"}, status=200)
    site.post("/logout", {"csrf_token": "wrong"}, headers={name: "GET"}, status=403)
    assert site.get("/session").json["user"]["id"] == 1


def test_a3_head_redirects_to_sign_in_as_get_does(site: Site) -> None:
    answer = site.head("/account?a=1", headers=PAGE, status=303)
    assert answer.location.endswith("/login?next=%2Faccount%3Fa%3D1")


@pytest.mark.parametrize("headers", [PAGE, {}, {"Accept": "*/*"}, {"Accept": "text/html, x/json"}])
def test_page_redirects_anonymous_visitors_to_sign_in(site: Site, headers: dict[str, str]) -> None:
    answer = site.get("/account?a=1&b=2", headers=headers, status=303)
    assert answer.location.endswith("/login?next=%2Faccount%3Fa%3D1%26b%3D2")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Accept": "Application/JSON"},
        {"Accept": "application/json, text/html;q=0.1"},
        {"Accept": "text/html;q=0, application/json"},
        {"Accept": "application/vnd.api+json"},
        {"X-Requested-With": "xmlhttprequest"},
        {"Accept": "application/problem+json"},
        {"Sec-Fetch-Mode": "cors", "Accept": "*/*"},
        {"X-Requested-With": "XMLHttpRequest"},
    ],
)
def test_program_gets_a_401_problem_instead_of_a_redirect(
    site: Site, headers: dict[str, str]
) -> None:
    answer = site.get("/account", headers=headers, status=401)
    assert answer.content_type == PROBLEM
    assert answer.json["code"] == "SignInRequired"
    assert answer.json["status"] == 401
    assert answer.json["title"] == "Unauthorized"
    assert answer.json["login_url"] == "/login?next=%2Faccount"
    assert answer.json["detail"]
    assert "Location" not in answer.headers


def test_paths_in_api_prefixes_respond_401_instead_of_a_redirect(backend: Served) -> None:
    site = Site(backend.url, api_prefixes="/acc /account/")
    site.get("/account", headers=PAGE, status=401)
    assert Site(backend.url, api_prefixes="/acc").get("/account", status=303)


def test_user_without_the_permission_gets_403(site: Site) -> None:
    site.sign_in("bob")
    page = site.get("/admin", headers=PAGE, status=403)
    assert "You do not have access to this page" in page.text
    problem = site.get("/admin", headers={"Accept": "application/json"}, status=403)
    assert (problem.content_type, problem.json["code"]) == (PROBLEM, "Forbidden")


def test_user_with_the_permission_sees_the_page(site: Site) -> None:
    site.sign_in("alice")
    assert "Only users with the admin role" in site.get("/admin").text
    assert "Administration" in site.get("/").text


def test_a2_a_missing_page_can_look_like_a_forbidden_one(backend: Served) -> None:
    """Threat A2. An application can redirect visitors from a missing page to the sign-in page, as
    from a forbidden page. docs/security.md, "Known limits", says how."""

    def missing(request: Request) -> Response:
        return sign_in_required(request, request.session_error)

    site = application(
        backend.url, lambda config: config.add_notfound_view(missing, append_slash=False)
    )
    for path in ("/account", "/nowhere"):
        answer = site.get(path, headers=PAGE, status=303)
        assert answer.location == f"/login?next=%2F{path[1:]}"


def test_missing_page_responds_404_as_a_page_or_a_problem(site: Site) -> None:
    assert "This page does not exist" in site.get("/nowhere", status=404).text
    problem = site.get("/nowhere", headers={"Accept": "application/json"}, status=404)
    assert (problem.content_type, problem.json["code"]) == (PROBLEM, "NotFound")


def test_anonymous_form_post_redirects_to_sign_in_and_back_to_the_forms_page(site: Site) -> None:
    for referrer, target in [
        ("http://localhost/account?tab=1", "%2Faccount%3Ftab%3D1"),
        ("https://elsewhere.example/account", "%2F"),
        ("", "%2F"),
    ]:
        answer = site.get("/account", headers={"Referer": referrer}, status=303)
        assert answer.location.endswith("next=%2Faccount")
        form = application(
            "http://127.0.0.1:1", lambda config: add_view(config, _forbidden, require_csrf=False)
        )
        answer = form.post("/view", headers={"Referer": referrer}, status=303)
        assert answer.location.endswith(f"/login?next={target}")


def _forbidden(request: Request) -> Response:
    raise HTTPForbidden()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HTTPUnauthorized(), 401, "SignInRequired"),
        (HTTPServiceUnavailable(), 503, "Unavailable"),
        (HTTPServiceUnavailable(headers={"Retry-After": "9"}), 503, "Unavailable"),
    ],
)
def test_error_raised_by_a_view_becomes_a_page_or_a_problem(
    backend: Served, error: Exception, status: int, code: str
) -> None:
    def view(request: Request) -> Response:
        raise error

    site = application_with_view(backend.url, view)
    problem = site.get("/view", headers={"Accept": "application/json"}, status=status)
    assert (problem.content_type, problem.json["code"]) == (PROBLEM, code)
    page = site.get("/view", headers=PAGE, status=status if status != 401 else 303)
    assert page.headers["Cache-Control"] == "no-store"
    if status == 503:
        assert page.headers["Retry-After"] in ("1", "9")


@pytest.mark.parametrize(
    "error",
    [
        HTTPBadRequest(json_body={"errors": {"name": "required"}}),
        HTTPNotFound(json_body={"detail": "no such order"}),
        HTTPServiceUnavailable(json_body={"detail": "closed on Sundays"}),
        HTTPForbidden(json_body={"detail": "ask Bob"}),
        HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="x"'}),
    ],
)
def test_error_with_its_own_body_or_challenge_is_kept(backend: Served, error: Any) -> None:
    def view(request: Request) -> Response:
        raise error

    site = application_with_view(backend.url, view)
    for headers in (PAGE, {"Accept": "application/json"}):
        answer = site.get("/view", headers=headers, status=error.status_int)
        if error.headers.get("WWW-Authenticate"):
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="x"'
        else:
            assert answer.body == error.body


def test_unicode_error_in_a_view_is_not_turned_into_a_400(backend: Served) -> None:
    site = application_with_view(backend.url, lambda request: b"\xff".decode())
    with pytest.raises(UnicodeDecodeError):
        site.get("/view")


def script_options(answer: Any) -> Any:
    """Return the options that a page has for the script ``session.js``."""
    return json.loads(answer.html.find("meta", {"name": "authapp"})["content"])


def test_page_passes_the_session_to_its_script(site: Site) -> None:
    told = script_options(site.get("/"))
    assert (told["url"], told["login"], told["waiting"]) == ("/session", "/login", False)
    assert told["session"]["user"] is told["session"]["signed_in_at"] is None
    assert "csrf_token" not in told["session"], "a public page sets no cookie"
    assert not site.cookies
    assert script_options(site.get("/login"))["waiting"]
    chinese = site.get("/", headers={"Accept-Language": "zh"})
    assert script_options(chinese)["texts"]["signIn"] == "登录"
    site.sign_in()
    told = script_options(site.get("/"))
    assert told["session"] == {**site.get("/session").json, "now": told["session"]["now"]}
    assert told["session"]["signed_in_at"] == site.opened().authenticated_at


def test_unavailable_page_tells_its_script_to_wait(site: Site, backend: Served) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=500)
    with time_machine.travel(time.time() + 901):
        answer = site.get("/account", status=503)
        told = script_options(answer)
    assert told["waiting"]
    assert told["session"]["error"] == "BackendUnavailable"
    assert told["session"]["signed_in_at"] is None


def test_claims_are_shown_as_text(backend: Served) -> None:
    """Threat A5. The account page escapes HTML that is in claims."""

    def hostile(request: Request) -> Answer:
        answer = request.get_response(backend.application)
        claims = {
            "user_id": 1,
            "exp": int(time.time()) + 900,
            "<b>": {"ü": ["</script>", None]},
        }
        token = jwt.encode(claims, "k" * 32, "HS256")
        return Answer(json_body={**answer.json_body, "access": token})

    backend.instead[LOGIN] = hostile
    site = Site(backend.url)
    site.sign_in()
    page = site.get("/account")
    assert "<b>" not in page.text
    row = page.html.find("code", string="<b>").find_parent("tr")
    assert row.td.text == '{"ü": ["</script>", null]}'


def test_claim_with_a_lone_surrogate_is_shown_as_a_question_mark(site: Site) -> None:
    """A claim of the access token has half a surrogate pair. authapp would refuse this token, but
    another application may have written it to the shared cookie. The account page still works."""
    site.sign_in()
    half = base64.urlsafe_b64encode(b'{"half": "\\ud800"}').decode().rstrip("=")
    session = site.opened()
    tokens = TokenPair(f"e30.{half}.x", session.tokens.refresh)
    token = site.services.sealer.seal(replace(session, tokens=tokens))
    page = site.get("/account", headers={"Cookie": f"{COOKIE}={token}"})
    assert page.html.find("code", string="half").find_parent("tr").td.text == "?"


def test_account_page_shows_the_time_of_the_sign_in(site: Site) -> None:
    """A sign-out everywhere also revokes sessions that begin in the next minute. So
    ``authenticated_at`` of the next session is in the future, but the account page shows the real
    time of the sign-in."""
    site.sign_in()
    site.sign_out(everywhere=True)
    site.sign_in()
    session = site.opened()
    assert session.authenticated_at > time.time()
    signed_in = site.get("/account").html.find("dt", string="Signed in").find_next("time")
    assert int(signed_in["data-seconds"]) == session.issued_at


def test_session_bar_is_drawn_without_a_script(site: Site) -> None:
    site.sign_in()
    now, session = int(time.time()), site.opened()
    aged = replace(
        session,
        authenticated_at=now - 500,
        issued_at=now,
        validity=Validity(now + 250, now + 500),
    )
    page = site.get("/account", headers={"Cookie": f"{COOKIE}={site.services.sealer.seal(aged)}"})
    renewed, access = page.html.find("svg", id="life").find_all("rect")
    assert renewed["width"] == access["x"] == "50.0%"
    assert access["width"] == "25.0%"


def test_session_json_describes_the_session_without_tokens(site: Site) -> None:
    anonymous = site.get("/session")
    assert anonymous.headers["Cache-Control"] == "no-store"
    assert set(anonymous.json) == {"user", "validity", "error", "now", "signed_in_at", "csrf_token"}
    assert anonymous.json["user"] is anonymous.json["validity"] is anonymous.json["error"] is None
    site.sign_in()
    answer = site.get("/session")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["user"] == {"id": 1, "email": "alice@example.com", "roles": ["admin"]}
    validity = site.opened().validity
    assert answer.json["validity"] == {
        "valid_until": validity.valid_until,
        "refresh_until": validity.refresh_until,
    }
    assert "eyJ" not in answer.text


@pytest.mark.parametrize("path", ["/", "/account", "/session", "/login?next=/account"])
def test_responses_to_signed_in_users_are_private(site: Site, path: str) -> None:
    assert "Cookie" in site.get("/").headers["Vary"]
    site.sign_in()
    answer = site.get(path)
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]


def test_health_reports_the_backend_and_the_store(site: Site, backend: Served) -> None:
    assert site.get("/health").json == {"status": "ok"}
    deep = site.get("/health?deep=1")
    assert deep.json == {"status": "ok", "backend": "ok", "shared": "ok"}
    backend.instead["/"] = lambda request: Answer(status=200, body=b"x" * 300_000)
    deep = site.get("/health?deep=1")
    assert deep.json == {"status": "ok", "backend": "ok", "shared": "ok"}, (
        "the last result is used again"
    )
    assert backend.calls["/"] == 1
    for answer in (backend.instead["/"], Answer(status=503, json_body={})):
        backend.instead["/"] = answer
        site.services.backend._reach_again = 0
        deep = site.get("/health?deep=1", status=503)
        assert deep.json == {"status": "down", "backend": "down", "shared": "ok"}
    assert site.services.backend.breaker.closed, "a health check must not open the circuit breaker"
    with site.services.backend._reaching:
        assert site.get("/health?deep=1", status=503), (
            "only one health check at a time calls the backend"
        )
    assert site.get("/health").json == {"status": "ok"}


def test_pages_and_problems_use_the_language_of_the_request(site: Site) -> None:
    chinese = site.get("/login", headers={"Accept-Language": "fr, zh-CN;q=0.9, en;q=0.8"})
    assert 'lang="zh-Hans"' in chinese.text
    assert "登录" in chinese.text
    assert "Accept-Language" in chinese.headers["Vary"]
    for asked in ("fr", "en-GB, zh;q=0.5", "nonsense;;;=", ""):
        assert "Sign in" in site.get("/login", headers={"Accept-Language": asked}).text
    assert "登录" in site.get("/login?_LOCALE_=zh_Hans").text
    problem = site.get(
        "/account", headers={"Accept-Language": "zh", "Accept": "application/json"}, status=401
    )
    assert problem.json["detail"].startswith("此操作需要登录")
    form = site.get("/login", headers={"Accept-Language": "zh"}).form
    form["username"], form["password"] = "alice", "wrong"
    assert "不匹配" in form.submit(headers={"Accept-Language": "zh"}, status=401).text


@pytest.mark.parametrize("locale", ["%00", "xx", "../../etc", "%ff", "z" * 9000])
def test_unknown_locale_gives_english_pages(site: Site, locale: str) -> None:
    answer = site.get(f"/nowhere?_LOCALE_={locale}", status="*")
    assert answer.status_int in (400, 404)
    assert 'lang="en"' in answer.text
    cookie = {"Cookie": f'_LOCALE_="{locale}"; x="\\000"'}
    assert 'lang="en"' in site.get("/", headers=cookie).text


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


def test_user_names_and_query_values_are_escaped(site: Site) -> None:
    refused = site.sign_in("<script>alert(1)</script>", "x", status=401)
    assert "<script>" not in refused.text
    assert "<script>" not in site.get("/login?next=/%22><script>&reason=<script>").text


def test_sign_in_page_shows_the_passwords_of_the_embedded_issuer() -> None:
    import authapp
    from servers import ISSUER_SETTINGS

    ini = settings("embedded:", backend__verify="jwks:embedded:") | ISSUER_SETTINGS
    site = Site(wsgi=authapp.main({}, **ini))
    assert "carol-password" in site.get("/login").text
    site.sign_in("carol")
    assert site.get("/session").json["user"]["roles"] == []
    assert site.get("/health?deep=1").json["backend"] == "ok"
    restarted = Site(wsgi=authapp.main({}, **ini))
    restarted.cookiejar = site.cookiejar
    assert restarted.get("/session").json["user"]["id"] == 3


def test_hanging_backend_does_not_block_public_pages(site: Site, backend: Served) -> None:
    site.sign_in()
    come, go = threading.Event(), threading.Event()

    def hang(request: Any) -> None:
        come.set()
        go.wait(10)

    backend.instead[REFRESH] = hang
    csrf = {"X-CSRF-Token": site.csrf()}
    other = Site(wsgi=site.app)
    thread = threading.Thread(
        target=lambda: site.post("/session", headers=csrf, expect_errors=True)
    )
    thread.start()
    assert come.wait(20)
    other.get("/", status=200)
    go.set()
    thread.join()
    assert COOKIE in site.cookies
