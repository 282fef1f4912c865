"""A request that is refused or fails gets a page, a redirect to the sign-in page, or a problem
(JSON): contract section 4."""

from typing import Any

import pytest
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPForbidden,
    HTTPNotFound,
    HTTPServiceUnavailable,
    HTTPUnauthorized,
)
from pyramid.request import Request
from pyramid.response import Response

from authapp import sign_in_required
from servers import Served
from site_under_test import Site, add_view, application, application_with_view

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
