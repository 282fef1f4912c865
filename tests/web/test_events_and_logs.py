"""Events reach their subscribers, and the audit log and the log say what has happened."""

import json
import logging
import re
import time
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.events import BeforeRender, BeforeTraversal, ContextFound, NewRequest, NewResponse
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.events import (
    RenewalFailed,
    SessionEnded,
    SessionRenewed,
    SignedIn,
    SignedOut,
    SignInFailed,
)
from servers import BLACKLIST, REFRESH, Served
from site_under_test import COOKIE, add_view, application, application_with_view, settings


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
