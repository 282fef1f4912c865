"""When there is a ``/verify``, and which requests it lets through (contract section 11)."""

import pytest
import time_machine

import authapp
from authapp.settings.ini import SettingsError
from edge.verify_site import EMPTY, HOST, identity, site_of
from servers import Served
from site_under_test import Site, settings


def test_an_anonymous_request_gets_401_with_the_sign_in_page(backend: Served) -> None:
    answer = site_of(backend).get("/verify", status=401)
    assert answer.headers["Location"] == "/login?next=%2F"
    assert answer.content_type == "application/problem+json"
    assert identity(answer) == EMPTY
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("keys", [{}, {"verify": "false", "verify__hosts": HOST}])
def test_there_is_no_verify_unless_a_setting_asks_for_it(
    backend: Served, keys: dict[str, str]
) -> None:
    Site(backend.url, **keys).get("/verify", status=404)


@pytest.mark.parametrize("keys", [{"verify__hosts": HOST}, {"verify__token": "true"}])
def test_settings_of_verify_turn_it_on(backend: Served, keys: dict[str, str]) -> None:
    Site(backend.url, **keys).get("/verify", status=401)


def test_the_path_can_be_moved_or_left_out(backend: Served) -> None:
    site_of(backend, routes__verify="/auth/check").get("/auth/check", status=401)
    site_of(backend, routes__verify="none").get("/verify", status=404)


@pytest.mark.parametrize(
    ("user", "query", "status"),
    [
        ("alice", "roles=admin", 202),
        ("alice", "roles=editor,admin", 202),
        ("alice", "roles=admin&roles=editor", 403),
        ("alice", "roles=editor", 403),
        ("alice", "roles=", 403),
        ("alice", "roles", 403),
        ("alice", "roles=Admin", 403),
        ("alice", "role=admin", 403),
        ("alice", "%72oles=editor", 403),
        ("alice", "roles=admin;x", 403),
        ("alice", "scopes=read", 403),
        ("carol", "roles=admin", 403),
        ("carol", "roles=,", 403),
        ("bob", "roles=editor&redirect=1&cookies=1", 202),
    ],
)
def test_roles_and_scopes_are_required(backend: Served, user: str, query: str, status: int) -> None:
    site = site_of(backend)
    site.sign_in(user)
    answer = site.get(f"/verify?{query}", status=status)
    if status == 403:
        assert identity(answer) == EMPTY
        assert answer.json["code"] == "Forbidden"


def test_all_scopes_are_needed_and_a_role_may_contain_a_comma(backend: Served) -> None:
    site = site_of(
        backend,
        claims__scopes="['read', 'write']",
        claims__roles="['a,b', 'plain', 'two words']",
    )
    site.sign_in("alice")
    site.get("/verify?scopes=read,write", status=202)
    site.get("/verify?scopes=read,delete", status=403)
    answer = site.get("/verify?roles=a%2Cb&roles=two+words", status=202)
    site.get("/verify?roles=a,b", status=403)
    assert answer.headers["X-Auth-Request-Groups"] == "plain,two words"


def test_an_ended_session_gets_401_and_the_reason(backend: Served) -> None:
    site = site_of(backend)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        cookie = site.cookie_header()
        clock.shift(604_801)
        answer = site.get("/verify", headers=cookie, status=401)
    assert answer.headers["Location"] == "/login?next=%2F&reason=RefreshTokenExpired"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_a_copy_of_a_signed_out_cookie_gets_401(backend: Served) -> None:
    site = site_of(backend)
    site.sign_in("alice")
    twin = site.twin()
    site.sign_out()
    answer = twin.get("/verify", status=401)
    assert answer.headers["Location"].endswith("&reason=SessionRevoked")


@pytest.mark.parametrize("agent", ["", "GoogleHC/1.0", "kube-probe/1.30", "Traefik", "curl/8"])
def test_no_kind_of_client_is_let_through(backend: Served, agent: str) -> None:
    headers = {"User-Agent": agent, "X-Health-Check": "1", "X-Forwarded-Uri": "/health"}
    site_of(backend, verify__hosts=HOST).get("/verify", headers=headers, status=401)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_no_questions(backend: Served, method: str) -> None:
    site = site_of(backend)
    site.sign_in()
    headers = {"X-CSRF-Token": site.csrf()}
    site.request("/verify", method=method, headers=headers, status=405)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("verify", "maybe", "authapp.verify = 'maybe': must be true or false"),
        ("verify.hosts", "https://a.example", "must be hosts such as app.example.com"),
        ("verify.hosts", "*.example.com", "must be hosts such as"),
        ("verify.hosts", ".example.com", "must be hosts such as"),
        ("verify.login", "http://auth.example.com/login", "has no effect without"),
        ("verify.login", "/login", "must be a URL such as https://auth.example.com/login"),
        ("verify.token", "perhaps", "must be true or false"),
    ],
)
def test_impossible_settings_stop_the_start(key: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        authapp.main({}, **settings("http://127.0.0.1:9"), **{f"authapp.{key}": value})
    assert problem in str(error.value)
