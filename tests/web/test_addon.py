"""authapp as a part of another Pyramid application: contract section 5."""

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import requests
import time_machine
from pyramid.authorization import Allow, Authenticated
from pyramid.config import Configurator
from pyramid.csrf import new_csrf_token
from pyramid.events import BeforeRender, BeforeTraversal, ContextFound, NewRequest, NewResponse
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import forget, remember

from authapp.backend.protocol import BackendDown, BackendRejected, Credentials
from authapp.session.session import TokenPair
from authapp.store.protocol import Key
from authapp.testing import use_backend
from authapp.web.events import (
    RenewalFailed,
    SessionEnded,
    SessionRenewed,
    SignedIn,
    SignedOut,
    SignInFailed,
)
from servers import BLACKLIST, NOT_VALID, REFRESH, Served
from session.test_session import make
from site_under_test import (
    COOKIE,
    SECRET,
    Site,
    add_view,
    application,
    application_with_view,
    fresh,
    nothing,
    settings,
)


class Root:
    __acl__ = (
        (Allow, Authenticated, "see"),
        (Allow, "user:2", "own"),
        (Allow, "role:editor", "edit"),
        (Allow, "scope:write", "write"),
    )

    def __init__(self, request: Request) -> None:
        self.request = request


def test_principals_of_the_user_match_acls(backend: Served) -> None:
    def may(request: Request) -> list[str]:
        return [name for name in ("see", "own", "edit", "write") if request.has_permission(name)]

    def more(config: Configurator) -> None:
        config.set_root_factory(Root)
        add_view(config, may)

    site = application(backend.url, more, claims__scopes="roles")
    assert site.get("/view").json == []
    site.sign_in("bob")
    assert site.get("/view").json == ["see", "own", "edit"]
    carol = Site(wsgi=site.app)
    carol.sign_in("carol")
    assert carol.get("/view").json == ["see"]


def test_request_attributes_describe_the_signed_in_user(backend: Served) -> None:
    def tell(request: Request) -> dict[str, Any]:
        identity = request.identity
        return {
            "identity": identity and [identity.id, identity.name, identity.claims["username"]],
            "userid": request.authenticated_userid,
            "authenticated": request.is_authenticated,
            "valid": request.validity is not None,
            "error": request.session_error,
        }

    site = application_with_view(backend.url, tell)
    assert site.get("/view").json == {
        "identity": None,
        "userid": None,
        "authenticated": False,
        "valid": False,
        "error": None,
    }
    site.sign_in("bob")
    assert site.get("/view").json == {
        "identity": [2, "bob", "bob"],
        "userid": "2",
        "authenticated": True,
        "valid": True,
        "error": None,
    }


def test_request_backend_sends_the_users_token_and_renews_on_401(
    site: Site, backend: Served
) -> None:
    def me(request: Request) -> dict[str, Any]:
        answer = request.backend.get("/me")
        return {"status": answer.status_code, **answer.json()}

    site = application_with_view(backend.url, me)
    assert site.get("/view").json["status"] == 401
    site.sign_in()
    assert site.get("/view").json["email"] == "alice@example.com"
    assert backend.calls[REFRESH] == 0

    # The backend has revoked the access token before its expiry.
    token = site.opened().tokens.access

    def refuse(request: Any) -> Response | None:
        old = request.authorization and request.authorization[1] == token
        return Response(status=401, json_body=NOT_VALID) if old else None

    backend.instead["/me"] = refuse
    before = site.token()
    answer = site.get("/view")
    assert answer.json["email"] == "alice@example.com"
    assert backend.calls[REFRESH] == 1
    assert site.token() != before

    # If the backend refuses the new token too, the call is not repeated again.
    backend.instead["/me"] = Response(status=401, json_body={})
    calls = backend.calls["/me"]
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 2
    # A 401 does not cause a renewal of this new token.
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 3
    assert backend.calls[REFRESH] == 2
    site.sign_out()
    site.sign_in()
    backend.instead[REFRESH] = Response(status=401, json_body=NOT_VALID)
    calls = backend.calls["/me"]
    assert site.get("/view").json["status"] == 401
    assert backend.calls["/me"] == calls + 1
    assert COOKIE not in site.cookies


def test_request_backend_does_not_resend_a_body_that_cannot_be_read_again(backend: Served) -> None:
    def post(request: Request) -> int:
        return int(request.backend.post("me", data=iter([b"a", b"b"])).status_code)

    site = application_with_view(backend.url, post)
    site.sign_in()
    backend.instead["/me"] = Response(status=401, json_body={})
    assert site.get("/view").json == 401
    assert backend.calls["/me"] == 1


@pytest.mark.parametrize("url", ["https://elsewhere.example/", "http://127.0.0.1:1/me"])
def test_request_backend_refuses_urls_of_other_sites(backend: Served, url: str) -> None:
    def call(request: Request) -> str:
        try:
            request.backend.get(url)
        except ValueError as error:
            return str(error)
        return "called"

    site = application_with_view(backend.url, call)
    site.sign_in()
    assert "authapp.backend.url only" in site.get("/view").json


def test_request_backend_stores_no_cookies_and_follows_no_redirects(
    backend: Served,
) -> None:
    backend.instead["/set"] = Response(headers={"Set-Cookie": "of=alice"})
    backend.instead["/away"] = Response(status=307, headers={"Location": backend.url + "/me"})

    def call(request: Request) -> list[Any]:
        request.backend.get("/set")
        return [request.backend.get("/away").status_code, dict(request.backend.cookies)]

    site = application_with_view(backend.url, call)
    assert site.get("/view").json == [307, {}]
    assert all("Cookie" not in request.headers for request in backend.requests)


class OwnBackend:
    """A backend of the application. It implements ``login``, ``refresh`` and ``logout``."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.fails: Exception | None = None

    def login(self, credentials: Credentials) -> TokenPair:
        if credentials.password != "sesame":
            raise BackendRejected("no")
        return self._pair(credentials.username, 1)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        if self.fails:
            raise self.fails
        name, _, number = tokens.refresh.partition(":")
        return self._pair(name, int(number) + 1)

    def logout(self, tokens: TokenPair) -> None:
        self.ended.append(tokens.refresh)

    def _pair(self, name: str, number: int) -> TokenPair:
        access = jwt.encode({"sub": name, "n": number}, "k" * 32)
        return TokenPair(access, f"{name}:{number}", expires_in=60)


def set_own_backend(config: Configurator) -> None:
    config.set_auth_backend(OwnBackend())


def own_backend_site(backend: OwnBackend, **keys: str) -> Site:
    ini = settings("", **keys)
    del ini["authapp.backend.url"]
    site = Site(wsgi=fresh(set_own_backend, **ini))
    use_backend(site.app, backend)
    return site


def test_custom_backend_signs_in_renews_and_signs_out(caplog: pytest.LogCaptureFixture) -> None:
    backend = OwnBackend()
    site = own_backend_site(backend)
    site.sign_in("dora", "wrong", status=401)
    site.sign_in("dora", "sesame", status=303)
    assert site.get("/account").status_int == 200
    assert site.opened().identity.name == "dora", (
        "without a name in the token, the typed name is used"
    )
    with time_machine.travel(time.time() + 61):
        site.get("/account")
        assert site.opened().tokens.refresh == "dora:2"
    backend.fails = RuntimeError("with a token in it: dora:2")
    with time_machine.travel(time.time() + 150):
        site.get("/account", status=503)
        assert site.get("/health?deep=1").json["backend"] == "ok", (
            "one failed renewal is no failure of the backend"
        )
    assert "BackendFailed: RuntimeError" in caplog.text
    assert "dora:2" not in caplog.text
    site.sign_out()
    assert backend.ended == ["dora:2"]


def test_new_sign_in_works_when_the_backend_reuses_a_refresh_token() -> None:
    """A user signs out and signs in again. The backend issues a refresh token that was spent in the
    old session. The new session still works."""
    site = own_backend_site(OwnBackend())
    site.sign_in("dora", "sesame", status=303)
    with time_machine.travel(time.time() + 61):
        site.get("/account", status=200)
        site.sign_out()
        site.sign_in("dora", "sesame", status=303)
        assert site.opened().tokens.refresh == "dora:1"
        assert site.get("/account").status_int == 200


def test_new_session_ignores_old_successors_of_a_reused_refresh_token() -> None:
    """If the backend issues a refresh token that was spent in an old session, the new session does
    not use the successors of the old session."""
    site = own_backend_site(OwnBackend())
    site.sign_in("dora", "sesame", status=303)
    first = site.opened()
    for _ in range(2):
        site.post("/session", headers={"X-CSRF-Token": site.csrf()})
    assert site.opened().tokens.refresh == "dora:3"
    site.sign_out()
    site.services.store.put(
        Key("spent refresh token", first.tokens.refresh), "", 0
    )  # the entry expires at once
    site.sign_in("dora", "sesame", status=303)
    site.post("/session", headers={"X-CSRF-Token": site.csrf()})
    assert site.opened().tokens.refresh == "dora:2"
    assert site.get("/account").status_int == 200


def test_new_session_ignores_the_old_rejection_of_a_reused_refresh_token() -> None:
    class Rejecting(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            raise BackendRejected("no")

    site = own_backend_site(Rejecting())
    site.sign_in("dora", "sesame", status=303)
    with time_machine.travel(time.time() + 61):
        assert "RefreshTokenRejected" in site.get("/account", status=303).location
        site.sign_in("dora", "sesame", status=303)
        assert site.opened().tokens.refresh == "dora:1"
        site.get("/account", status=200)


def test_startup_fails_when_no_backend_is_configured() -> None:
    ini = settings("")
    del ini["authapp.backend.url"]
    config = Configurator(settings=ini)
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"authapp\.backend\.url is missing"):
        config.commit()


@pytest.mark.parametrize("excluded", ["/view", "/other"])
def test_forget_in_a_response_callback_clears_the_cookie(backend: Served, excluded: str) -> None:
    """``forget`` clears the session cookie even if a view's response callback calls it. This
    callback runs after authapp's own callback."""

    def view(request: Request) -> dict[str, Any]:
        assert request.identity
        request.add_response_callback(lambda request, response: forget(request))
        return {}

    site = application_with_view(backend.url, view, refresh__exclude=excluded)
    site.sign_in()
    site.get("/view")
    assert COOKIE not in site.cookies


def test_same_request_object_can_be_handled_twice(backend: Served) -> None:
    """The application can handle one request object more than once, as pyramid_retry does."""

    def again(request: Request) -> dict[str, Any]:
        inner = Request.blank("/session", headers={"Cookie": request.headers["Cookie"]})
        answers = [request.invoke_subrequest(inner) for _ in range(2)]
        return {"users": [answer.json["user"]["id"] for answer in answers]}

    site = application_with_view(backend.url, again)
    site.sign_in()
    assert site.get("/view").json == {"users": [1, 1]}


def test_two_backends_conflict() -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1"))
    config.include("authapp")
    config.set_auth_backend(OwnBackend())
    config.set_auth_backend(OwnBackend())
    with pytest.raises(ConfigurationConflictError):
        config.commit()


def test_remember_raises_value_error_without_a_session(backend: Served) -> None:
    def view(request: Request) -> str:
        try:
            remember(request, "1")
        except ValueError as error:
            return str(error)
        return "remembered"

    site = application_with_view(backend.url, view)
    assert "needs session=" in site.get("/view").json


def test_each_event_is_sent_and_written_to_the_audit_log(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    kinds = (SignedIn, SignInFailed, SessionRenewed, RenewalFailed, SessionEnded, SignedOut)

    def more(config: Configurator) -> None:
        for kind in kinds:
            config.add_subscriber(heard.append, kind)

    caplog.set_level(logging.INFO, "authapp.audit")
    site = application(backend.url, more)
    site.sign_in("bob\r\nforged", "wrong", status=401)
    site.sign_in("bob")
    copy = site.twin()
    with time_machine.travel(time.time() + 901):
        site.get("/account")
        backend.instead[REFRESH] = Response(status=500)
        headers = {"X-CSRF-Token": site.csrf(), "X-Request-ID": "of-the-proxy"}
        site.post("/session", headers=headers, expect_errors=True)
        site.sign_out(everywhere=True)
        copy.get("/account")
    names = [type(event).__name__ for event in heard]
    assert names == [
        "SignInFailed",
        "SignedIn",
        "SessionRenewed",
        "RenewalFailed",
        "SignedOut",
        "SessionEnded",
    ]
    lines = [json.loads(r.message) for r in caplog.records if r.name == "authapp.audit"]
    assert [line["event"] for line in lines] == names
    assert lines[0]["username"] == "bob\r\nforged"
    assert "\n" not in caplog.records[0].message
    assert lines[1]["user"] == "2"
    assert len({line["request"] for line in lines}) >= 5
    assert lines[3] | {"time": 0} == {
        "time": 0,
        "event": "RenewalFailed",
        "address": None,
        "request": "of-the-proxy",
        "user": "2",
        "session": lines[1]["session"],
        "code": "BackendUnavailable",
        "reason": f"status 500, not a JSON object, from POST {REFRESH} at {backend.url[7:]}",
    }
    assert lines[4]["everywhere"] is True
    assert lines[5]["code"] == "SessionRevoked"
    session = copy.app and heard[1].session
    for secret in (session.tokens.access, session.tokens.refresh, session.sid, "bob-password"):
        assert secret not in caplog.text
        assert secret not in repr(heard)


def test_events_sent_by_the_application_are_written_to_the_audit_log(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that the application sends is in the audit log, even if the application has no
    subscribers."""
    caplog.set_level(logging.INFO, "authapp.audit")

    def view(request: Request) -> None:
        request.registry.notify(SignedOut(request, request.authapp.session, False))

    site = application_with_view(backend.url, view)
    site.sign_in()
    caplog.clear()
    site.get("/view")
    (record,) = (each for each in caplog.records if each.name == "authapp.audit")
    assert json.loads(record.message)["event"] == "SignedOut"


def test_pyramid_events_reach_subscribers_added_before_and_after_startup(backend: Served) -> None:
    """Pyramid's events reach all subscribers, whether they were added before the first request or
    after it."""
    heard: list[str] = []

    def listen(event: Any) -> None:
        heard.append(type(event).__name__)

    kinds = (NewRequest, BeforeTraversal, ContextFound, BeforeRender, NewResponse)
    names = [kind.__name__ for kind in kinds]
    for when in ("before", "after"):

        def more(config: Configurator, when: str = when) -> None:
            for kind in kinds if when == "before" else ():
                config.add_subscriber(listen, kind)

        site = application(backend.url, more)
        if when == "after":
            site.get("/health")
            assert heard == []
            config = Configurator(registry=site.app.registry)
            for kind in kinds:
                config.add_subscriber(listen, kind)
            config.commit()
        site.get("/health")
        assert heard == names
        heard.clear()


def test_introspection_lists_the_subscribers_of_authapp(backend: Served) -> None:
    config = Configurator(settings=settings(backend.url))
    config.include("authapp")
    config.commit()
    shown = config.introspector.get_category("subscribers")
    ours = [each["introspectable"] for each in shown]
    ours = [each for each in ours if each["subscriber"].__module__.startswith("authapp.")]
    kinds = {kind for each in ours for kind in each["interfaces"]}
    assert {kind.__name__ for kind in kinds} == {"ApplicationCreated", "AuthEvent", "BeforeRender"}


def test_l2_user_names_and_request_ids_cannot_forge_audit_log_lines(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat L2. User names and ``X-Request-ID`` headers may contain any characters, but cannot
    forge lines of the audit log."""
    caplog.set_level(logging.INFO, "authapp.audit")
    site = application(backend.url)
    name = "bob\r\n\x1b[31m\u2028\u202e" + "x" * 300
    for given in ("a b", "x" * 65, '"', "\xe9", ""):
        site.extra_environ["HTTP_X_REQUEST_ID"] = given
        site.sign_in(name, "wrong", status=401)
    site.extra_environ["HTTP_X_REQUEST_ID"] = "good-1._"
    site.sign_in(name, "wrong", status=401)
    for record in caplog.records:
        assert record.message.isascii()
        assert record.message.isprintable()
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["username"] for line in lines] == [name[:256]] * 6
    assert lines[-1]["request"] == "good-1._"
    assert all(re.fullmatch("[0-9a-f]{32}", line["request"]) for line in lines[:-1])


def test_l3_each_failure_logs_a_line_with_its_code(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        config.add_route("private", "/private")
        config.add_view(Response, route_name="private", permission="nobody may")
        add_view(config, lambda request: 1 / 0)

    site = application(backend.url, more)
    site.sign_in()
    csrf = site.csrf()
    site.get("/view", status=500)
    site.get("/private", status=403)
    site.post("/view", status=403)
    site.post("/view", {"csrf_token": ""}, status=403)
    site.post("/view", {"csrf_token": "wrong"}, status=403)
    site.post(
        "/view", "", {"X-CSRF-Token": "wrong", "Content-Type": "multipart/form-data"}, status=403
    )
    site.get("/login?next=%ff", status=400)
    backend.instead[BLACKLIST] = Response(status=400)
    site.post("/logout", {"csrf_token": csrf}, status=303)
    site.set_cookie(COOKIE, "nonsense")
    site.get("/view", status=500)
    lines = [re.sub(r" \[request [0-9a-f]{32}\]$", "", each.message) for each in caplog.records]
    assert all("[request " in each.message for each in caplog.records if "authapp.web" in each.name)
    for line in (
        "InternalError: GET /view",
        "Forbidden: GET /private",
        "BadCSRFToken: POST /view: no token",
        "BadCSRFToken: POST /view: token of another session, or sent from another site",
        "BadRequest: UnicodeDecodeError",
        "SessionInvalid: no secret decrypts the session cookie",
    ):
        assert line in lines
    said = (
        "SignedOut: the backend did not revoke the refresh token: UnexpectedAnswer: logout: status"
    )
    assert any(line.startswith(f"{said} 400") and "logout.done" in line for line in lines)
    assert lines.count("BadCSRFToken: POST /view: no token") == 2


def test_authapp_works_under_a_route_prefix(backend: Served) -> None:
    with Configurator(settings=settings(backend.url)) as config:
        config.include("authapp", route_prefix="auth")
        add_view(config, lambda request: request.identity.id, permission="see")
        config.set_root_factory(Root)
        site = Site(wsgi=config.make_wsgi_app())
    answer = site.get("/view", status=303)
    assert answer.location.endswith("/auth/login?next=%2Fview")
    form = answer.follow().form
    assert form.action == "", "so the browser keeps the fragment"
    form["username"], form["password"] = "alice", "alice-password"
    assert form.submit(status=303).follow().json == 1
    for path in ("/auth/account", "/auth/session", "/auth/health", "/auth/authapp-static/icon.svg"):
        site.get(path, status=200)
    site.get("/account", status=404)
    with time_machine.travel(time.time() + 901):
        assert "Set-Cookie" not in site.get("/auth/authapp-static/authapp.css").headers
    site.post("/auth/logout", {"csrf_token": site.get("/auth/session").json["csrf_token"]})
    assert COOKIE not in site.cookies


def test_authapp_works_below_a_mount_point(backend: Served) -> None:
    site = application(backend.url)
    site.extra_environ["SCRIPT_NAME"] = "/app"
    answer = site.get("/app/account", status=303)
    assert answer.location.endswith("/app/login?next=%2Fapp%2Faccount")
    form = site.get("/app/login?next=/app/logout").form
    assert form["next"].value == "/app/"


@pytest.mark.parametrize(("mount", "prefix"), [("/my app", None), ("/a%b", "pré"), ("", "pré")])
def test_own_paths_are_recognized_with_unusual_mount_points_and_prefixes(
    backend: Served, mount: str, prefix: str | None
) -> None:
    settings_ = settings(backend.url, cors__origins="https://other.example")
    with Configurator(settings=settings_) as config:
        config.include("authapp", route_prefix=prefix)
        site = Site(wsgi=config.make_wsgi_app())
    site.extra_environ["SCRIPT_NAME"] = mount
    prefix = f"/{quote(prefix)}" if prefix else ""
    login = quote(mount) + prefix + "/login"
    assert site.get(f"{prefix}/login", {"next": login}).form["next"].value == f"{mount}/"
    cookie = f"{COOKIE}={site.services.sealer.seal(make(refresh_until=1))}"
    headers = {"Origin": "https://other.example", "Cookie": cookie}
    answer = site.get(f"{prefix}/session", headers=headers)
    assert answer.json["error"] == "RefreshTokenExpired"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://other.example"


def test_the_layout_can_be_overridden(backend: Served, tmp_path: Path) -> None:
    (tmp_path / "layout.jinja2").write_text("<p>Acme</p>{% block content %}{% endblock %}")

    def more(config: Configurator) -> None:
        config.override_asset("authapp:templates/layout.jinja2", str(tmp_path / "layout.jinja2"))

    page = application(backend.url, more).get("/login")
    assert "<p>Acme</p>" in page.text
    assert 'name="password"' in page.text


def test_the_brand_can_be_overridden_on_all_pages(backend: Served, tmp_path: Path) -> None:
    (tmp_path / "brand.jinja2").write_text("<p>Acme</p>")

    def more(config: Configurator) -> None:
        config.override_asset("authapp:templates/brand.jinja2", str(tmp_path / "brand.jinja2"))

    page = application(backend.url, more).get("/login").text
    assert "<p>Acme</p>" in page
    assert 'class="brand"' not in page


def test_views_and_locale_negotiator_can_be_overridden(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.add_view(
            lambda request: Response("mine"), route_name="authapp.account", request_method="GET"
        )
        config.set_locale_negotiator(lambda request: "zh_Hans")

    site = application(backend.url, more)
    assert site.get("/account").text == "mine"
    assert "登录" in site.get("/login").text


@pytest.mark.servers
def test_introspection_proutes_and_ptweens_list_authapp() -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1", shared="memory:"))
    config.include("authapp")
    config.set_auth_backend(OwnBackend())
    config.commit()
    shown = config.introspector
    assert shown.get("authapp", "settings")["authapp.secret"] == "***"
    titles = {each["introspectable"].title for each in shown.get_category("authapp")}
    assert len(titles) == 2

    scripts = Path(sys.executable).parent
    routes = subprocess.run(
        [scripts / "proutes", "development.ini"], capture_output=True, text=True, check=True
    ).stdout
    for name in ("login", "logout", "session", "account", "health", "home", "admin"):
        assert f"{name} " in routes
    tweens = subprocess.run(
        [scripts / "ptweens", "development.ini"], capture_output=True, text=True, check=True
    ).stdout
    assert "authapp.web.renewal_tween.renewal_tween_factory" in tweens


def test_startup_fails_when_the_redis_extra_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "authapp.store.redis", None)
    config = Configurator(settings=settings("http://127.0.0.1:1", shared="redis://127.0.0.1:1"))
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"pip install 'authapp\[redis\]'"):
        config.commit()


def test_new_csrf_token_changes_the_token_only_before_sign_in(backend: Served) -> None:
    """Before a sign-in, each call of ``new_csrf_token`` changes the CSRF token. During a session,
    the CSRF token does not change."""
    site = application_with_view(backend.url, new_csrf_token)
    assert site.get("/view").json != site.get("/view").json
    site.sign_in()
    assert site.get("/view").json == site.csrf()


def test_csrf_token_of_an_older_secret_is_accepted(backend: Served) -> None:
    site = application(backend.url)
    site.sign_in()
    csrf = site.csrf()
    rotated = application(backend.url, secret=f"a new secret, of more than 32 bytes\n{SECRET}")
    rotated.cookiejar = site.cookiejar
    rotated.post("/logout", {"csrf_token": "é"}, status=403)
    assert rotated.post("/session", headers={"X-CSRF-Token": csrf}).json["user"]["id"] == 1


def test_vary_header_of_a_view_is_kept_without_duplicates(backend: Served) -> None:
    def view(request: Request) -> Response:
        request.response.vary = ("Accept-Language", "Cookie")
        return Response(request.locale_name, vary=("Accept-Language", "Cookie"))

    site = application_with_view(backend.url, view)
    assert site.get("/view").headers["Vary"] == "Accept-Language, Cookie"


class OldTokenBackend(OwnBackend):
    """A backend that alternates between two refresh tokens. This is unusual but allowed."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        return self._pair("dora", 3 - int(tokens.refresh.partition(":")[2]))


class KeepingBackend(OwnBackend):
    """A backend that issues no new refresh token at a renewal."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        access = jwt.encode({"sub": "dora", "n": time.time()}, "k" * 32)
        return TokenPair(access, tokens.refresh, expires_in=60)


@pytest.mark.parametrize("kind", [OldTokenBackend, KeepingBackend])
def test_backends_with_unusual_refresh_token_rotation_can_renew(kind: type[OwnBackend]) -> None:
    site = own_backend_site(kind())
    site.sign_in("dora", "sesame")
    copy = site.twin()
    accesses = set()
    for seconds in (61, 122, 183):
        with time_machine.travel(time.time() + seconds):
            site.get("/account", status=200)
            copy.get("/account", status=200)
            accesses.add(site.opened().tokens.access)
    assert len(accesses) >= 2


def test_sign_out_does_not_affect_another_session_with_the_same_refresh_token() -> None:
    """Two sessions have the same refresh token. If one of them is renewed and signed out, the other
    one still works."""
    one = own_backend_site(KeepingBackend())
    one.sign_in("dora", "sesame")
    other = Site(wsgi=one.app)
    other.sign_in("dora", "sesame")
    with time_machine.travel(time.time() + 61):
        one.get("/account", status=200)
        one.sign_out()
        other.get("/account", status=200)
        other.get("/account", status=200)


def test_concurrent_renewals_of_two_sessions_with_one_refresh_token_stay_separate() -> None:
    """If two sessions with the same refresh token are renewed at the same time, each of them calls
    the backend and keeps its own session id."""
    both = threading.Barrier(2)

    class Slow(KeepingBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            both.wait(5)
            return super().refresh(tokens)

    one = own_backend_site(Slow(), backend__bulkhead="6")
    one.sign_in("dora", "sesame")
    other = Site(wsgi=one.app)
    other.sign_in("dora", "sesame")
    sids = [site.opened().sid for site in (one, other)]
    with time_machine.travel(time.time() + 61), ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda site: site.get("/account", status=200), (one, other)):
            assert "Set-Cookie" in answer.headers
    assert [site.opened().sid for site in (one, other)] == sids


@pytest.mark.parametrize("after", [0, 10])
@pytest.mark.parametrize("dated", [True, False])
def test_session_set_by_a_view_is_not_replaced_by_a_renewal(after: float, dated: bool) -> None:
    """A view replaces the access token of the session, and keeps its refresh token. The next
    request still has the view's access token, although the session was just renewed.

    The view runs in the request that renews the session, or ten seconds after that request.
    """
    promoted = jwt.encode({"sub": "dora", "promoted": True}, "k" * 32)

    def promote(request: Request) -> None:
        session = request.authapp.session
        tokens = TokenPair(promoted, session.tokens.refresh)
        issued_at = int(time.time()) if dated else session.issued_at
        remember(request, "dora", session=replace(session, tokens=tokens, issued_at=issued_at))

    def more(config: Configurator) -> None:
        config.set_auth_backend(KeepingBackend())
        add_view(config, promote)

    site = application("http://localhost:9", more)
    with time_machine.travel(time.time(), tick=False) as clock:
        site.sign_in("dora", "sesame")
        clock.shift(61)
        if after:
            site.get("/account", status=200)
            clock.shift(after)
        site.get("/view")
        site.get("/account", status=200)
        assert site.opened().tokens.access == promoted
        if dated:
            site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
            assert jwt.decode(site.opened().tokens.access, "k" * 32, ["HS256"])["n"] == time.time()


def test_view_can_switch_to_another_session_and_back(backend: Served) -> None:
    """Some applications let their support staff see what a user sees. So a view can replace the
    session by another user's session, and later switch back."""
    kept: list[Any] = []

    def change(request: Request) -> None:
        state = request.authapp
        kept.append(state.session)
        session = kept[0]
        remember(request, str(session.identity.id), session=session)

    site = application_with_view(backend.url, change)
    site.sign_in("alice")
    site.get("/view")
    bob = Site(wsgi=site.app)
    bob.sign_in("bob")
    mine = bob.opened()
    bob.get("/view")
    assert bob.get("/session").json["user"]["id"] == 1
    kept.insert(0, mine)
    bob.get("/view")
    assert bob.get("/session").json["user"]["id"] == 2


def visit_concurrently(site: Site, count: int, visit: Callable[[Site], Any]) -> list[Any]:
    """Call ``visit`` at the same time with several copies of a browser. Return the results."""
    barrier = threading.Barrier(count)

    def one(browser: Site) -> Any:
        barrier.wait()
        return visit(browser)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, [site.twin() for _ in range(count)]))


def slow_refresh(backend: Served) -> None:
    """Make each renewal slow, so that other requests come while it runs."""

    def refresh(request: Any) -> None:
        threading.Event().wait(0.3)

    backend.instead[REFRESH] = refresh


def test_concurrent_renew_requests_of_several_tabs_renew_once(backend: Served) -> None:
    """If several tabs ask for a renewal at the same time, all of them wait for one renewal,
    although their access token is still valid."""
    site = application(backend.url)
    site.sign_in()
    slow_refresh(backend)
    csrf = {"X-CSRF-Token": site.csrf()}
    answers = visit_concurrently(
        site, 4, lambda tab: tab.post("/session", headers=csrf).json["validity"]
    )
    assert len(answers) == 4
    assert backend.calls[REFRESH] == 1


def test_request_backend_waits_for_a_renewal_in_progress(backend: Served) -> None:
    site = application_with_view(
        backend.url, lambda request: request.backend.get("/me").status_code
    )
    site.sign_in()
    token = site.opened().tokens.access
    backend.instead["/me"] = lambda request: (
        Response(status=401, json_body={}) if request.authorization[1] == token else None
    )
    slow_refresh(backend)
    assert visit_concurrently(site, 4, lambda tab: tab.get("/view").json) == [200] * 4
    assert backend.calls[REFRESH] == 1


def test_default_permission_does_not_apply_to_authapps_own_pages(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.set_root_factory(Root)
        config.set_default_permission("see")
        add_view(config, lambda request: "seen")

    site = application(backend.url, more)
    for path in ("/login", "/session", "/health", "/logout"):
        site.get(path, status=200)
    site.get("/view", status=303)
    site.sign_in()
    assert site.get("/view").json == "seen"
    site.sign_out()


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


def test_startup_fails_when_jinja2_autoescape_is_false(backend: Served) -> None:
    config = Configurator(settings=settings(backend.url) | {"jinja2.autoescape": "false"})
    with pytest.raises(ConfigurationError, match="authapp's pages require true"):
        config.include("authapp")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        ("access", "refresh"),
        TokenPair("", "r"),
        TokenPair("a", None),  # type: ignore[arg-type]
        TokenPair("a", "r", "60"),  # type: ignore[arg-type]
        TokenPair("a", "r", None, 1.5),  # type: ignore[arg-type]
    ],
)
def test_session_is_kept_when_a_backend_returns_an_invalid_token_pair(answer: Any) -> None:
    class Odd(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            return answer  # type: ignore[no-any-return]

    site = own_backend_site(Odd())
    site.sign_in("dora", "sesame")
    with time_machine.travel(time.time() + 61):
        site.get("/account", status=503)
        site.get("/login", status=200)
    assert COOKIE in site.cookies


def test_request_backend_raises_value_error_without_a_backend_url() -> None:
    ini = settings("")
    del ini["authapp.backend.url"]
    with Configurator(settings=ini) as config:
        config.include("authapp")
        config.set_auth_backend(OwnBackend())
        add_view(config, lambda request: request.backend.get("/me"))
        site = Site(wsgi=config.make_wsgi_app())
    with pytest.raises(ValueError, match=r"request\.backend needs authapp\.backend\.url"):
        site.get("/view")


@pytest.mark.parametrize(
    "options",
    [{"require_csrf": False}, {"token": "_csrf", "header": "X-XSRF", "require_csrf": True}],
)
def test_authapps_forms_ignore_the_csrf_options_of_the_application(
    backend: Served, options: dict[str, Any]
) -> None:
    site = application(backend.url, lambda config: config.set_default_csrf_options(**options))
    site.post("/login", {"username": "alice", "password": "alice-password"}, status=403)
    site.sign_in()
    site.post("/session", status=403)
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    site.sign_out()


def test_o2_request_backend_does_not_wait_for_a_backend_that_is_down(backend: Served) -> None:
    def call(request: Request) -> str:
        began = time.monotonic()
        try:
            request.backend.get("/hangs", timeout=0.3)
        except requests.Timeout as error:
            return f"{type(error).__name__} {time.monotonic() - began < 0.2}"
        return "called"

    def hang(request: Any) -> None:
        threading.Event().wait(0.6)

    site = application_with_view(backend.url, call)
    backend.instead["/hangs"] = hang
    assert site.get("/view").json == "BackendUnreachable False"
    assert site.get("/view").json == "BackendUnreachable True"


def test_view_without_error_handling_responds_503_when_the_backend_is_down(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def call(request: Request) -> Any:
        return request.backend.get("/me?token=secret", timeout=0.3).json()

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        add_view(config, call)

    site = application("http://localhost:1", more)
    for _ in range(2):
        answer = site.get("/view", headers={"Accept": "application/json"}, status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert answer.headers["Retry-After"] == "1"
    page = site.get("/view", headers={"Accept": "text/html"}, status=503)
    assert "Nothing is lost" in page
    assert "ConnectionError (ConnectionRefusedError) at localhost:1/me; one" in caplog.text
    assert "secret" not in caplog.text


def test_request_backend_refuses_paths_outside_the_backend_url(backend: Served) -> None:
    def call(request: Request) -> str:
        for path in ("../admin", "/../admin", "x/../../admin", "%2e%2e/admin", "x/.%2E/.%2E/y"):
            with pytest.raises(ValueError, match="paths below"):
                request.backend.get(path)
        return "stayed"

    site = application_with_view(f"{backend.url}/api", call)
    assert site.get("/view").json == "stayed"


def test_request_backend_uses_the_configured_authorization_header(backend: Served) -> None:
    def call(request: Request) -> int:
        return int(request.backend.get("/me").status_code)

    site = application_with_view(backend.url, call, backend__authorization="JWT {access}")
    site.sign_in()
    site.get("/view")
    assert backend.requests[-1].headers["Authorization"].startswith("JWT ")


def test_backend_error_is_logged_when_a_view_handles_another_exception(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """While a view handles an exception, it calls a backend that is down. authapp logs the error of
    the backend, even if the causes of the exception form a cycle."""

    def call(request: Request) -> str:
        try:
            try:
                raise OSError("of the view")
            except OSError as one:
                try:
                    raise OSError("because of it") from one
                except OSError as other:
                    raise one from other
        except OSError:
            with pytest.raises(requests.ConnectionError):
                request.backend.get("/me")
        return "went on"

    site = application_with_view("http://localhost:1", call)
    assert site.get("/view").json == "went on"
    assert "BackendDown: call: ConnectionError" in caplog.text


def test_application_can_assign_request_validity(backend: Served) -> None:
    """A view can assign ``request.validity``, as it can assign any attribute that
    ``add_request_method`` adds."""

    def view(request: Request) -> Any:
        request.validity = "what the application makes of it"
        return request.validity

    site = application_with_view(backend.url, view)
    assert site.get("/view").json == "what the application makes of it"


def test_session_is_kept_when_the_token_reader_raises(backend: Served) -> None:
    site = own_backend_site(OwnBackend())
    site.sign_in("dora", "sesame")

    class Failing:
        def read(self, *args: Any) -> Any:
            raise LookupError("a bug")

    site.services.renewal.reader = Failing()
    with time_machine.travel(time.time() + 61):
        site.get("/account", status=503)
        assert site.opened().tokens.refresh == "dora:2"


@pytest.mark.parametrize("url", ["redis://h:abc", "redis://127.0.0.1:1?foo=bar"])
def test_startup_fails_when_the_redis_url_is_invalid(url: str) -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1", shared=url))
    config.include("authapp")
    with pytest.raises(ConfigurationError, match=r"authapp\.shared: redis://host:port/db"):
        config.commit()


def test_waiting_requests_give_up_after_the_backend_timeout() -> None:
    come, go = threading.Event(), threading.Event()

    class Slow(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            come.set()
            assert go.wait(10)
            return super().refresh(tokens)

    site = own_backend_site(Slow(), backend__timeout="0.1")
    site.sign_in("dora", "sesame")
    slow = site.twin()
    with time_machine.travel(time.time() + 61), ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(slow.get, "/account", status=200)
        assert come.wait(20)
        assert site.get("/account", status=503).headers["Retry-After"] == "1"
        go.set()
        renewing.result(20)
        site.get("/account", status=200)


@pytest.mark.parametrize(
    "failure",
    [None, BackendRejected("the sign-out has told it already"), BackendDown("no answer")],
    ids=["renewed", "rejected", "down"],
)
def test_sign_out_during_a_renewal_ends_the_session_when_the_backend_fails(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(OwnBackend):
        def refresh(self, tokens: TokenPair) -> TokenPair:
            services.revocation.revoke(session)
            if failure is not None:
                raise failure
            return super().refresh(tokens)

        def logout(self, tokens: TokenPair) -> None:
            raise BackendRejected("no")

    site = own_backend_site(Failing())
    site.sign_in("dora", "sesame")
    services, session = site.services, site.opened()
    with time_machine.travel(time.time() + 61):
        assert "SessionRevoked" in site.get("/account", status=303).location
    line = "SessionRevoked: the backend has not revoked the new tokens: BackendRejected"
    assert (line in caplog.text) is not isinstance(failure, BackendRejected)


def test_forget_without_a_session_returns_no_headers(backend: Served) -> None:
    site = application_with_view(backend.url, forget)
    assert site.get("/view").json == []


def test_sign_in_is_refused_when_the_session_is_too_large_for_cookies(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Talkative(OwnBackend):
        def _pair(self, name: str, number: int) -> TokenPair:
            access = jwt.encode({"sub": name, "permissions": "p" * 9000}, "k" * 32)
            return TokenPair(access, "r", expires_in=60)

    site = own_backend_site(Talkative())
    page = site.sign_in("dora", "sesame", status=503).text
    assert "BackendUnavailable" in page
    assert "a fault at this site" in page
    assert "ry again" not in page, "it would fail again"
    assert COOKIE not in site.cookies
    assert "SessionTooLarge: sign-in: an encrypted session of" in caplog.text
    assert "its claim 'permissions' 9002" in caplog.text


def test_large_session_is_split_into_several_cookies(backend: Served) -> None:
    class Chatty(OwnBackend):
        def _pair(self, name: str, number: int) -> TokenPair:
            claims = {"sub": name, "more": "p" * (4000 if number == 1 else 1)}
            return TokenPair(jwt.encode(claims, "k" * 32), f"{name}:{number}", expires_in=60)

    site = own_backend_site(Chatty())
    site.sign_in("dora", "sesame")
    assert set(site.cookies) >= {f"{COOKIE}.0", f"{COOKIE}.1"}
    site.get("/account", status=200)
    with time_machine.travel(time.time() + 61):
        site.get("/account", status=200)
    assert {name for name in site.cookies if name.startswith(COOKIE)} == {COOKIE}


def test_client_without_a_secret_sends_its_client_id_in_the_body(backend: Served) -> None:
    site = Site(backend.url, backend__client_id="web")
    site.sign_in()
    assert backend.requests[-1].json_body["client_id"] == "web"
    assert "Authorization" not in backend.requests[-1].headers


def test_configured_scope_is_sent_at_sign_in(backend: Served) -> None:
    login = "\nPOST /api/token/\nusername={username}\npassword={password}\nscope={scope}"
    Site(backend.url, backend__scope="openid", backend__login=login).sign_in()
    assert backend.requests[-1].json_body["scope"] == "openid"


def test_pyramid_can_prevent_the_hash_in_urls_of_static_files(backend: Served) -> None:
    def urls(request: Request) -> list[str]:
        files = ("authapp:static/page.js", "authapp:static/icon.svg")
        return [request.static_path(each) for each in files]

    def more(config: Configurator) -> None:
        config.add_settings({"pyramid.prevent_cachebust": True})
        add_view(config, urls)

    site = application(backend.url, more)
    assert site.get("/view").json == ["/authapp-static/page.js", "/authapp-static/icon.svg"]
