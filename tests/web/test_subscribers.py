"""Subscribers of authapp's events may raise exceptions or refuse a user: docs/pyramid.md."""

import logging
import time
from functools import partial
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.response import Response
from pyramid.security import forget

from authapp import RenewalFailed, SessionEnded, SessionRenewed, SignedIn, SignedOut, SignInFailed
from servers import BLACKLIST, LOGIN, REFRESH, Served
from site_under_test import COOKIE, application


def breaks(event: Any) -> None:
    raise LookupError("a bug in the application")


class Breaks:
    def __call__(self, event: Any) -> None:
        raise LookupError("a bug in the application")


def later(seconds: float) -> Any:
    return time_machine.travel(time.time() + seconds)


def test_a_subscriber_that_raises_is_logged_and_the_request_goes_on(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    kinds = (SignInFailed, SessionRenewed, RenewalFailed, SessionEnded, SignedOut)

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        for kind in kinds:
            config.add_subscriber(breaks, kind)
            config.add_subscriber(lambda event: heard.append(type(event).__name__), kind)

    site = application(backend.url, more)
    site.sign_in("alice", "wrong", status=401)
    site.sign_in()
    copy = site.twin()
    with later(901):
        site.get("/account", status=200)
        backend.instead[REFRESH] = Response(status=500)
        site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=503)
        site.sign_out()
        assert COOKIE not in site.cookies
        copy.get("/account", status=303)
        assert COOKIE not in copy.cookies
    assert heard == [
        "SignInFailed",
        "SessionRenewed",
        "RenewalFailed",
        "SignedOut",
        "SessionEnded",
    ]
    for kind in kinds:
        assert f"SubscriberFailed: {kind.__name__}: {__name__}.breaks" in caplog.text
    assert "a bug in the application" in caplog.text


def test_the_log_names_objects_and_handlers_without_a_name(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def more(config: Configurator) -> None:
        config.add_subscriber(Breaks(), SignInFailed)
        config.registry.registerHandler(partial(breaks), (SignInFailed,))

    application(backend.url, more).sign_in("alice", "wrong", status=401)
    assert f"SubscriberFailed: SignInFailed: {__name__}.Breaks" in caplog.text
    assert "SubscriberFailed: SignInFailed: functools.partial" in caplog.text


class OnlyUser:
    """A subscriber predicate: the event must be about the user with this name."""

    def __init__(self, name: str, config: Configurator) -> None:
        self.name = name

    def text(self) -> str:
        return f"only_user = {self.name}"

    phash = text

    def __call__(self, event: Any) -> bool:
        return bool(event.identity.name == self.name)


def test_subscriber_predicates_apply(backend: Served) -> None:
    heard: list[str] = []

    def more(config: Configurator) -> None:
        config.add_subscriber_predicate("only_user", OnlyUser)
        config.add_subscriber(lambda e: heard.append(e.identity.name), SignedIn, only_user="bob")

    site = application(backend.url, more)
    site.sign_in("alice")
    site.sign_out()
    site.sign_in("bob")
    assert heard == ["bob"]


@pytest.mark.parametrize("production", [True, False])
@pytest.mark.parametrize(
    ("error", "status"), [(HTTPForbidden, 403), (HTTPSeeOther("/why"), 303), (ValueError("x"), 500)]
)
def test_a_sign_in_is_undone_if_a_subscriber_raises(
    backend: Served,
    caplog: pytest.LogCaptureFixture,
    error: Any,
    status: int,
    production: bool,
) -> None:
    caplog.set_level(logging.INFO)
    heard: list[str] = []

    def refuse(event: SignedIn) -> None:
        assert event.request.identity.name == "alice"
        raise error

    def more(config: Configurator) -> None:
        if production:
            config.include("authapp.web.views.errors")
        config.add_subscriber(refuse, SignedIn)
        config.add_subscriber(lambda event: heard.append(type(event).__name__), SignedIn)
        config.add_subscriber(lambda event: heard.append(type(event).__name__), SignedOut)

    site = application(backend.url, more)
    if status == 500 and not production:
        with pytest.raises(ValueError, match="x"):
            site.sign_in()
    else:
        page = site.sign_in(status=status)
        assert "alice" not in page
    assert COOKIE not in site.cookies
    assert site.get("/session").json["user"] is None
    assert backend.calls[BLACKLIST] == 1
    assert heard == ["SignedOut"]
    assert f"{__name__}.test_a_sign_in" in caplog.text


def test_a_program_gets_403_if_a_subscriber_refuses_the_sign_in(backend: Served) -> None:
    def refuse(event: SignedIn) -> None:
        raise HTTPForbidden

    site = application(backend.url, lambda config: config.add_subscriber(refuse, SignedIn))
    fields = {"csrf_token": site.csrf(), "username": "alice", "password": "alice-password"}
    answer = site.post("/login", fields, headers={"Accept": "application/json"}, status=403)
    assert answer.json["code"] == "Forbidden"


def test_the_earlier_session_stays_if_a_subscriber_refuses_a_new_one(backend: Served) -> None:
    def refuse(event: SignedIn) -> None:
        if event.identity.name == "bob":
            raise HTTPForbidden

    site = application(backend.url, lambda config: config.add_subscriber(refuse, SignedIn))
    forms = [site.get("/login").form for _ in range(2)]
    for form, name, status in zip(forms, ("alice", "bob"), (303, 403), strict=True):
        form["username"], form["password"] = name, f"{name}-password"
        form.submit(status=status)
    assert site.get("/session").json["user"]["id"] == 1
    with later(901):
        site.get("/account", status=200)


def test_refusing_a_sign_in_does_not_end_a_session_with_the_same_refresh_token(
    backend: Served,
) -> None:
    """Some backends issue the same refresh token to all sessions of a user. If a subscriber refuses
    a sign-in, an earlier session with the same token still works."""

    def refuse(event: SignedIn) -> None:
        if event.request.authapp.opened:
            raise HTTPForbidden

    answers: list[Any] = []

    def same(request: Any) -> Any:
        answers.append(request.get_response(backend.application))
        return answers[0]

    site = application(backend.url, lambda config: config.add_subscriber(refuse, SignedIn))
    forms = [site.get("/login").form for _ in range(2)]
    backend.instead[LOGIN] = same
    for form, status in zip(forms, (303, 403), strict=True):
        form["username"], form["password"] = "alice", "alice-password"
        form.submit(status=status)
    assert backend.calls[BLACKLIST] == 0
    site.get("/account", status=200)


@pytest.mark.parametrize("over", [True, False])
def test_user_refused_by_a_subscriber_has_no_session(backend: Served, over: bool) -> None:
    """If a subscriber of ``SignedIn`` signs the user out with ``forget``, the new session ends. An
    earlier session in the same browser ends too, with all copies of its cookie. A session in
    another browser does not end."""
    away = []

    def turn_away(event: SignedIn) -> None:
        if away:
            forget(event.request)

    site = application(backend.url, lambda config: config.add_subscriber(turn_away, SignedIn))
    form = site.get("/login").form
    form["username"], form["password"] = "alice", "alice-password"
    site.sign_in()
    copy = site.twin()
    if not over:
        site.cookiejar.clear()
        form = site.get("/login").form
        form["username"], form["password"] = "alice", "alice-password"
    away.append(1)
    form.submit(status=303)
    assert COOKIE not in site.cookies
    error = copy.get("/session").json["error"]
    assert error == ("SessionRevoked" if over else None), "a session in another browser is kept"


def test_sign_in_that_fails_in_a_subscriber_keeps_the_earlier_session(backend: Served) -> None:
    def fail(event: SignedIn) -> None:
        if event.identity.name == "bob":
            raise LookupError("a bug of a subscriber")

    site = application(backend.url, lambda config: config.add_subscriber(fail, SignedIn))
    form = site.get("/login").form
    form["username"], form["password"] = "bob", "bob-password"
    site.sign_in()
    with pytest.raises(LookupError):
        form.submit()
    assert site.get("/session").json["user"]["id"] == 1
