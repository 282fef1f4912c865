"""Test the presets for Djoser, dj-rest-auth and Ninja JWT, with Django as the backend.

Django runs once for each package, in a separate process: ``servers/django_presets_app.py``.
"""

import gettext
import importlib
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import time_machine

from servers.process import Process, serve
from site_under_test import COOKIE, Site, description

for package in ("djoser", "dj_rest_auth", "ninja_jwt"):
    pytest.importorskip(package)

pytestmark = pytest.mark.servers

KEY = "a key for tests that is long enough for HS256"
ACCESS = 300
NONE = "\u2013"  # the page shows a dash for a missing value
BLACKLIST = "POST /auth/jwt/blacklist/\nrefresh = {refresh}"


@dataclass(frozen=True)
class Case:
    """A package and its settings.

    :ivar tells_email: True if the package tells authapp the user's email address.
    :ivar asks_whether_active: True if the package does not renew the token of a deactivated user.
    """

    preset: str
    login: str
    refresh: str
    orders: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    tells_email: bool = True
    asks_whether_active: bool = True


REST = Case("dj-rest-auth", "/dj-rest-auth/login/", "/dj-rest-auth/token/refresh/")
CASES = {
    "djoser": Case(
        "djoser",
        "/auth/jwt/create/",
        "/auth/jwt/refresh/",
        settings={"backend__logout": BLACKLIST},
    ),
    "cookie": Case(REST.preset, REST.login, REST.refresh, {"httponly": True}),
    "json": Case(REST.preset, REST.login, REST.refresh, {"httponly": False}),
    "ninja": Case(
        "ninja-jwt",
        "/api/token/pair",
        "/api/token/refresh",
        tells_email=False,
        asks_whether_active=False,
    ),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    with ExitStack() as stack:
        yield {
            preset: stack.enter_context(
                serve(
                    "django_presets_app.py",
                    tmp_path_factory.mktemp(preset),
                    PACKAGE=preset,
                    SIGNING_KEY=KEY,
                )
            )
            for preset in sorted({case.preset for case in CASES.values()})
        }


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def django(processes: dict[str, Process], case: Case) -> Process:
    """Reset the Django process to its initial state, and return the process."""
    process = processes[case.preset]
    active = {"alice": True, "bob": True}
    process.set(active=active, backend="ModelBackend", forbidden=None, language="en")
    process.set(**case.orders)
    return process


@pytest.fixture
def site(django: Process, case: Case) -> Site:
    return make_site(django, case)


def make_site(django: Process, case: Case, **more: str) -> Site:
    keys = {"backend__preset": case.preset, "backend__verify": f"secret:{KEY}"}
    return Site(django.url, **keys | case.settings | more)


def page(site: Site, **options: Any) -> Any:
    return site.get("/account", headers={"Accept": "text/html"}, **options)


def shown(site: Site) -> dict[str, str]:
    html = page(site, status=200).html
    return {each: html.find(id=each).text.strip() for each in ("user-id", "name", "email", "roles")}


def refuses(django: Process, case: Case, refresh: str) -> bool:
    """Return True if Django refuses a refresh token. If Django accepts the token, this check spends
    it."""
    answer = django.request("POST", case.refresh, json={"refresh": refresh}, cookies={})
    return answer.status_code == 401 and answer.json()["code"] == "token_not_valid"


def assert_refused_as(code: str, status: int, site: Site, *who: str, log: Any) -> None:
    log.clear()
    assert code in site.sign_in(*who, status=status).text
    assert COOKIE not in site.cookies
    (line,) = [each.getMessage() for each in log.records if "SignInFailed" in each.getMessage()]
    assert code in line
    assert "UnexpectedAnswer" not in log.text


@pytest.mark.parametrize("language", ["en", "pt-br"])
@pytest.mark.parametrize(
    "who", [("alice", "wrong"), ("mallory", "x"), ("a" * 200, "x"), ("a\0", "x")]
)
def test_wrong_credentials_are_refused(
    site: Site, django: Process, who: tuple[str, str], language: str, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    django.set(language=language)
    assert_refused_as("InvalidCredentials", 401, site, *who, log=caplog)


@pytest.mark.parametrize("case", [CASES["json"]])
def test_dj_rest_auth_reports_a_disabled_account(site: Site, django: Process, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    django.set(active={"bob": False}, backend="AllowAllUsersModelBackend")
    assert_refused_as("AccountLocked", 403, site, "bob", log=caplog)


def test_three_renewals_in_a_row_keep_the_identity(site: Site, django: Process, case: Case) -> None:
    site.sign_in(status=303)
    email = "alice@example.com" if case.tells_email else NONE
    identity = {"user-id": "1", "name": "alice", "email": email, "roles": "admin"}
    calls, chain = django.set()["calls"].get(case.refresh, 0), []
    for number in range(4):
        with time_machine.travel(time.time() + number * (ACCESS + 1)):
            assert shown(site) == identity
        chain.append(site.opened().tokens.refresh)
    assert len(set(chain)) == 4
    assert django.set()["calls"][case.refresh] == calls + 3
    assert [refuses(django, case, each) for each in chain] == [True, True, True, False]


@pytest.mark.parametrize("language", ["en", "de", "fa", "pt-br"])
def test_a_deactivated_users_session_ends_if_the_package_checks(
    site: Site, django: Process, case: Case, language: str
) -> None:
    site.sign_in("bob", status=303)
    django.set(active={"bob": False}, language=language)
    with time_machine.travel(time.time() + ACCESS + 1):
        answer = page(site)
    if case.asks_whether_active:
        assert answer.location.endswith("reason=RefreshTokenRejected")
    else:
        assert answer.status_int == 200


@pytest.mark.parametrize("header", ["X-Nothing: 1", "Authorization: {{kind}} {refresh}"])
@pytest.mark.parametrize("language", ["en", "pt-br"])
@pytest.mark.parametrize(
    ("case", "path", "kind"),
    [
        (CASES["djoser"], "/auth/users/me/", "JWT"),
        (CASES["json"], "/dj-rest-auth/user/", "Bearer"),
    ],
    ids=["djoser", "json"],
)
def test_a_view_that_expects_an_access_token_ends_no_session(
    django: Process, case: Case, path: str, kind: str, language: str, header: str
) -> None:
    """``backend.refresh`` has the path of another view. This view refuses the request, because it
    expects an access token. This error does not end the session."""
    header = header.replace("{{kind}}", kind)
    site = make_site(django, case, backend__refresh=f"GET {path}\n{header}\nrefresh = {{refresh}}")
    site.sign_in(status=303)
    django.set(language=language)
    with time_machine.travel(time.time() + ACCESS + 1):
        page(site, status=503)


@pytest.mark.parametrize("preset", ["simplejwt", "djoser", "dj-rest-auth", "ninja-jwt"])
@pytest.mark.parametrize("more", [{}, {"messages": [{"token_class": "AccessToken"}]}], ids=bool)
def test_a_token_is_not_valid_only_without_messages(preset: str, more: dict[str, Any]) -> None:
    refused = description(backend__preset=preset).conditions.refresh_refused
    body = {"detail": "Token is invalid", "code": "token_not_valid", **more}
    assert refused({"status": 401, "headers": {}, "cookies": {}, "body": body}) is not bool(more)


def texts(package: str, text: str) -> set[str]:
    """Return a text in each language for which a package has a translation, and in English."""
    module = importlib.import_module(package)
    folder = Path(module.__file__ or "").parent / "locale"
    found = {text}
    for file in folder.glob("*/LC_MESSAGES/django.mo"):
        with file.open("rb") as opened:
            found.add(gettext.GNUTranslations(opened).gettext(text))
    return found


@pytest.mark.parametrize("preset", ["simplejwt", "djoser", "dj-rest-auth"])
def test_only_the_words_for_a_deactivated_user_end_a_session_in_any_language(preset: str) -> None:
    refused = description(backend__preset=preset).conditions.refresh_refused

    def ends(detail: str) -> bool:
        headers = {"www-authenticate": 'Bearer realm="api"'}
        body = {"detail": detail}
        return refused({"status": 401, "headers": headers, "cookies": {}, "body": body})

    deactivated = texts("rest_framework_simplejwt", "No active account found for the given token.")
    others = texts("rest_framework", "Authentication credentials were not provided.")
    others |= texts("rest_framework", "Incorrect authentication credentials.")
    assert len(deactivated) >= 4
    assert len(others) > 20
    assert [each for each in deactivated if not ends(each)] == []
    assert ends("The user's password has been changed."), "SimpleJWT after version 5.5.1"
    assert [each for each in others if ends(each)] == []


def test_a_used_refresh_token_ends_the_session(site: Site, django: Process, case: Case) -> None:
    site.sign_in(status=303)
    assert not refuses(django, case, site.opened().tokens.refresh)
    with time_machine.travel(time.time() + ACCESS + 1):
        assert page(site).location.endswith("reason=RefreshTokenRejected")


def test_sign_out_blacklists_the_refresh_token(site: Site, django: Process, case: Case) -> None:
    site.sign_in(status=303)
    refresh = site.opened().tokens.refresh
    site.sign_out()
    assert refuses(django, case, refresh)


@pytest.mark.parametrize("case", [CASES["djoser"]])
def test_djosers_preset_signs_out_at_the_site_only(django: Process, case: Case) -> None:
    site = make_site(django, case, backend__logout="none")
    site.sign_in(status=303)
    refresh, copy = site.opened().tokens.refresh, site.twin()
    site.sign_out()
    assert copy.get("/session").json["error"] == "SessionRevoked"
    assert not refuses(django, case, refresh)


def test_a_403_from_a_gateway_keeps_the_session(site: Site, django: Process, case: Case) -> None:
    site.sign_in(status=303)
    django.set(forbidden=case.refresh)
    with time_machine.travel(time.time() + ACCESS + 1):
        page(site, status=503)
    django.set(forbidden=None)
    later = make_site(django, case)  # a new site, because the breaker of the first site is open
    for cookie in site.cookiejar:
        later.cookiejar.set_cookie(cookie)
    with time_machine.travel(time.time() + 2 * ACCESS):
        assert shown(later)["user-id"] == "1"
