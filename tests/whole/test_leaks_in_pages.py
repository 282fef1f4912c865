"""Neither a page nor an error of a view contains a secret, and no part of one: threat L1."""

from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request

import authapp
from authapp.backend.protocol import Credentials
from authapp.services import IServices
from authapp.web.events import SessionEvent
from servers import Served
from site_under_test import COOKIE, Site, settings
from whole import outputs
from whole.outputs import DATA, DUE, ENDED, EXPIRED, PAGE, Walk, later

walk, backend = outputs.walk, outputs.backend  # fixtures


def test_pages_and_reprs_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If nothing fails, the pages contain no secret. No object's repr contains one."""

    def view(request: Request) -> dict[str, Any]:
        session, state = request.authapp.session, request.authapp
        services = request.registry.getUtility(IServices)
        outcome = services.renewal.renew(session, wait=True)
        carried = services.cookie_reader.read(request.environ["HTTP_COOKIE"])
        things = [request, request.identity, request.validity, request.backend, state]
        things += [session, session.tokens, outcome, carried, vars(state)]
        for thing in things:
            walk.tell("a repr", thing)
        return {}

    walk.view = view
    for path in ("/", "/login?reason=SignedOut", "/logout", "/session", "/health?deep=1"):
        walk.get(path)
    walk.sign_in()
    walk.tell("a repr", Credentials("alice", walk.password))
    for path in ("/", "/account", "/admin", "/logout", "/session", "/view", "/health?deep=1"):
        walk.get(path)
    walk.get("/login", status=303)
    walk.get("/nowhere", status=404)


def test_refused_requests_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. Refused requests leak no secret: changed cookies, forged tokens, unreadable or too
    large forms."""
    walk.sign_in()
    token, csrf = walk.browser.token(), walk.csrf()
    for cookie in (token[:-4], token + "x", token[::-1], token[:300], f'"{token}', token * 9):
        for headers in (PAGE, DATA):
            headers = headers | {"Cookie": f"{COOKIE}={cookie}; {COOKIE}.0={cookie[:2000]}"}
            walk.get("/account", headers=headers, status=None)
    walk.sign_in(status=303)
    walk.post("/session", headers={"X-CSRF-Token": csrf[:-1]}, status=403)
    walk.post("/session", {"csrf_token": csrf}, headers={"Origin": "https://x.example"}, status=403)
    walk.post("/login", {"password": walk.password + "x" * 70_000}, status=413)
    unread = {"Content-Type": "multipart/form-data; boundary"}
    body = f"--\npassword={walk.password}&csrf_token={csrf}".encode()
    walk.send("/login", 400, method="POST", headers=unread, body=body)


def test_failing_views_and_subscribers_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If views and subscribers of the application raise exceptions, no secret leaks."""

    def view(request: Request) -> Any:
        get_csrf_token(request)
        raise LookupError("a bug")

    def refuse(request: Request) -> Any:
        raise HTTPForbidden()

    def fail(event: Any) -> None:
        raise LookupError("a bug of a subscriber")

    walk.sign_in()
    for walk.view in (view, refuse):
        walk.get("/view", status=None)
    csrf, copy = walk.csrf(), walk.browser.cookie_header()
    walk.browser.app.registry.registerHandler(fail, (SessionEvent,))
    walk.browser.reset()
    walk.sign_in(500)
    for seconds in (EXPIRED, ENDED):
        with later(seconds):  # The log has the exception, and the request goes on.
            walk.get("/account", headers=copy, status=None)
    walk.post("/logout", {"csrf_token": csrf}, headers=copy, status=None)


def test_debug_toolbar_shows_no_token(walk: Walk, backend: Served) -> None:
    """Threat L1. The debug toolbar shows no access token and no refresh token.

    The toolbar is for development. It shows the request and the ini file as they are: cookies, the
    CSRF token, the form with the password, and ``authapp.secret``.
    """
    keys = {
        "pyramid.includes": "pyramid_debugtoolbar",
        "debugtoolbar.hosts": "127.0.0.1",
        "debugtoolbar.includes": "authapp.web.debug_panel",
    }
    browser = Site(wsgi=authapp.main({}, **(settings(backend.url) | keys)))
    browser.extra_environ["REMOTE_ADDR"] = "127.0.0.1"
    browser.sign_in("alice", walk.password)
    shown = browser.get("/_debug_toolbar/").text
    for seconds in (0, DUE, 2 * DUE):
        with later(seconds):
            browser.get("/account")
        shown += browser.get("/_debug_toolbar/").text
    assert "SessionSecurityPolicy" in shown
    assert "The session of this request" in shown
    walk.secrets = {text: name for text, name in walk.secrets.items() if "token" in name}
    assert len(walk.secrets) == 6
    walk.tell("the toolbar", shown)
