"""Applications with a security policy of their own: docs/pyramid.md."""

import logging
from typing import Any

import pytest
from pyramid.authorization import ACLHelper, Allow, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPUnauthorized
from pyramid.request import Request

from authapp import SessionSecurityPolicy
from authapp.session.cookies import CSRF_COOKIE
from servers import BLACKLIST, Served
from site_under_test import COOKIE, add_view, application


class Own:
    """A security policy that does not call authapp's policy."""

    def identity(self, request: Request) -> Any:
        return None

    def authenticated_userid(self, request: Request) -> Any:
        return None

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        return ACLHelper().permits(context, [Everyone], permission)

    def remember(self, request: Request, userid: str, **options: Any) -> list[tuple[str, str]]:
        return []

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        return []


class Wrapping(Own):
    """A security policy that calls authapp's policy, and adds response headers."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        (self._ours,) = parts.values() if isinstance(parts, dict) else parts

    def identity(self, request: Request) -> Any:
        return self._ours.identity(request)

    def authenticated_userid(self, request: Request) -> Any:
        return self._ours.authenticated_userid(request)

    def remember(self, request: Request, userid: str, **options: Any) -> list[tuple[str, str]]:
        return [("X-Remembered", userid), *self._ours.remember(request, userid, **options)]

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        return [("X-Forgotten", "1"), *self._ours.forget(request, **options)]


class Outer(Wrapping):
    """A security policy that contains two other policies."""

    def __init__(self) -> None:
        super().__init__([SessionSecurityPolicy()])
        self.inner = Wrapping({"session": SessionSecurityPolicy()})


def test_a_policy_that_does_not_call_authapps_policy_is_logged_at_start_up(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        config.set_security_policy(Own())

    site = application(backend.url, more)
    (line,) = (each for each in caplog.records if each.message.startswith("SecurityPolicy: "))
    assert line.levelno == logging.WARNING
    assert f"{__name__}.Own replaces authapp.web.security_policy.SessionSecurity" in line.message
    # The sign-in fails and says why, instead of looking as if it had succeeded.
    caplog.clear()
    site.sign_in(status=500)
    assert f"{__name__}.Own replaces authapp" in caplog.text
    assert backend.calls[BLACKLIST] == 1
    assert COOKIE not in site.cookies


class Inner(SessionSecurityPolicy):
    pass


@pytest.mark.parametrize(
    "policy",
    [
        Wrapping([SessionSecurityPolicy()]),
        Wrapping({"session": SessionSecurityPolicy()}),
        Outer(),
        Inner(),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_a_policy_that_calls_authapps_policy_works(
    backend: Served, caplog: pytest.LogCaptureFixture, policy: Any
) -> None:
    def more(config: Configurator) -> None:
        config.set_security_policy(policy)
        add_view(config, lambda request: request.authenticated_userid)

    site = application(backend.url, more)
    assert "SecurityPolicy" not in caplog.text
    answer = site.sign_in(status=303)
    assert site.get("/view").json == "1"
    if isinstance(policy, Wrapping):
        assert answer.headers["X-Remembered"] == "1"
        assert site.sign_out().headers["X-Forgotten"] == "1"
        assert backend.calls[BLACKLIST] == 1


class Strict:
    """A root factory that raises an exception if the visitor is not signed in."""

    __acl__ = ((Allow, Authenticated, "see"),)

    def __init__(self, request: Request) -> None:
        if request.identity is None:
            raise request.registry["refusal"]


@pytest.mark.parametrize("refusal", [HTTPForbidden, HTTPUnauthorized])
def test_a_root_factory_that_refuses_strangers_everywhere_makes_no_loop(
    backend: Served, caplog: pytest.LogCaptureFixture, refusal: Any
) -> None:
    def more(config: Configurator) -> None:
        config.registry["refusal"] = refusal
        config.set_root_factory(Strict)
        add_view(config, lambda request: "seen", permission="see")

    site = application(backend.url, more)
    caplog.clear()
    location = site.get("/view", status=303).headers["Location"]
    page = site.get(location, status=403)
    assert "You do not have access" in page
    assert "You are signed in as" not in page
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.message.startswith("Forbidden: GET /login: the application refuses the sign-in")
    site.get("/login", headers={"Accept": "application/json"}, status=403)
    site.get("/session", headers={"Accept": "application/json"}, status=401)


def test_csrf_cookie_follows_samesite() -> None:
    for samesite in ("None", "Strict", "Lax"):
        ini = {"development": "false", "session__samesite": samesite}
        site = application("https://backend.invalid", **ini)
        cookies = site.get("/login", extra_environ={"wsgi.url_scheme": "https"}).headers
        (cookie,) = (each for each in cookies.getall("Set-Cookie") if CSRF_COOKIE in each)
        assert f"SameSite={samesite}" in cookie
        assert "secure" in cookie.lower()
