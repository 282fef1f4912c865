"""authapp with pyramid_tm and pyramid_retry, in any order of includes: docs/pyramid.md."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from transaction.interfaces import TransientError

from authapp import SessionEnded, SessionRenewed, SignedIn, SignedOut, SignInFailed
from servers import BLACKLIST, LOGIN, NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site, add_view, settings

ORDERS = pytest.mark.parametrize("order", ["tm first", "authapp first"])


class Table:
    """A table of a database: a row exists only after its transaction was committed."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(self, event: Any) -> None:
        """A subscriber of the application, which adds a row about an event."""
        name = type(event).__name__

        def committed(succeeded: bool) -> None:
            if succeeded:
                self.rows.append(name)

        event.request.tm.get().addAfterCommitHook(committed)


class Conflicts:
    """Makes the first commits of a request fail, as conflicts in a database do.

    :param number: how many commits fail.
    """

    def __init__(self, number: int = 0) -> None:
        self.left = number

    def prepare(self, request: Request) -> None:
        def conflict() -> None:
            if self.left > 0:
                self.left -= 1
                raise TransientError("another transaction was faster")

        request.tm.get().addBeforeCommitHook(conflict)


def transactional(
    backend: Served, order: str, more: Callable[[Configurator], None], **keys: str
) -> tuple[Site, Table, Conflicts]:
    table, conflicts = Table(), Conflicts()
    ini = settings(backend.url, **keys) | {"tm.manager_hook": "pyramid_tm.explicit_manager"}

    def tween_factory(handler: Any, registry: Any) -> Any:
        def tween(request: Request) -> Any:
            conflicts.prepare(request)
            return handler(request)

        return tween

    with Configurator(settings=ini) as config:
        parts = ["pyramid_tm", "pyramid_retry", "authapp"]
        for part in parts if order == "tm first" else parts[::-1]:
            config.include(part)
        config.include("authapp.web.views.errors")
        globals()["conflict_tween"] = tween_factory
        config.add_tween(f"{__name__}.conflict_tween", under="pyramid_tm.tm_tween_factory")
        for kind in (SignedIn, SignInFailed, SessionRenewed, SessionEnded, SignedOut):
            config.add_subscriber(table.add, kind)
        more(config)
        return Site(wsgi=config.make_wsgi_app()), table, conflicts


def nothing(config: Configurator) -> None:
    add_view(config, lambda request: request.authenticated_userid)


@ORDERS
def test_subscribers_can_use_the_transaction(backend: Served, order: str) -> None:
    site, table, _ = transactional(backend, order, nothing)
    site.sign_in("alice", "wrong", status=401)
    site.sign_in()
    copy = site.twin()
    with time_machine.travel(time.time() + 901):
        assert site.get("/view").json == "1"
        site.sign_out()
        copy.get("/view", status=303)
    names = ["SignedIn", "SessionRenewed", "SignedOut", "SessionEnded"]
    assert table.rows == ["SignInFailed", *names]


@ORDERS
def test_a_subscriber_that_fails_with_the_transaction_does_not_lock_the_user_out(
    backend: Served, order: str
) -> None:
    def doom(event: Any) -> None:
        event.request.tm.doom()
        raise LookupError

    def more(config: Configurator) -> None:
        nothing(config)
        config.add_subscriber(doom, SessionEnded)

    site, _, _ = transactional(backend, order, more)
    site.sign_in()
    copy = site.twin()
    site.sign_out()
    copy.get("/view", status=303)
    assert COOKIE not in copy.cookies
    assert copy.get("/view").json is None


@ORDERS
@pytest.mark.parametrize("conflicts", [1, 2])
def test_an_attempt_finds_the_renewal_of_the_one_before(
    backend: Served, caplog: pytest.LogCaptureFixture, order: str, conflicts: int
) -> None:
    caplog.set_level(logging.INFO)
    site, table, conflict = transactional(backend, order, nothing)
    site.sign_in()
    before = site.token()
    with time_machine.travel(time.time() + 901):
        conflict.left = conflicts
        assert site.get("/view").json == "1"
        assert backend.calls[REFRESH] == 1
        assert table.rows == ["SignedIn", "SessionRenewed"]
        assert site.token() != before
        assert site.get("/view").json == "1"
    assert backend.calls[REFRESH] == 1
    lines = [json.loads(each.message) for each in caplog.records if each.name == "authapp.audit"]
    assert [line["event"] for line in lines] == ["SignedIn", "SessionRenewed"]
    assert "InternalError" not in caplog.text


@ORDERS
def test_an_attempt_finds_the_rejection_of_the_one_before(backend: Served, order: str) -> None:
    site, table, conflict = transactional(backend, order, nothing)
    site.sign_in()
    backend.instead[REFRESH] = Response(status=401, json_body=NOT_VALID)
    with time_machine.travel(time.time() + 901):
        conflict.left = 1
        site.get("/view", status=303)
    # The redirect comes from the renewal tween, so the tween with the conflict has not run.
    assert backend.calls[REFRESH] == 1
    assert table.rows == ["SignedIn", "SessionEnded"]


@ORDERS
@pytest.mark.parametrize("password", ["alice-password", "wrong"])
def test_a_sign_in_calls_the_backend_once(backend: Served, order: str, password: str) -> None:
    site, table, conflict = transactional(backend, order, nothing)
    good = password != "wrong"
    form = site.get("/login").form
    form["username"], form["password"] = "alice", password
    conflict.left = 2
    form.submit(status=303 if good else 401)
    assert conflict.left == 0
    assert backend.calls[LOGIN] == 1
    assert backend.calls[BLACKLIST] == 0
    assert table.rows == ["SignedIn" if good else "SignInFailed"]
    assert site.get("/view").json == ("1" if good else None)


@ORDERS
def test_the_form_of_a_retried_page_can_be_sent(backend: Served, order: str) -> None:
    site, _, conflict = transactional(backend, order, nothing)
    conflict.left = 2
    form = site.get("/login").form
    assert conflict.left == 0
    form["username"], form["password"] = "alice", "alice-password"
    form.submit(status=303)
    assert site.get("/view").json == "1"


@ORDERS
def test_a_second_sign_in_replaces_the_first_one_although_it_is_retried(
    backend: Served, order: str
) -> None:
    site, _, conflict = transactional(backend, order, nothing)
    forms = [site.get("/login").form for _ in range(2)]
    for form, name in zip(forms, ("alice", "bob"), strict=True):
        conflict.left = 1
        form["username"], form["password"] = name, f"{name}-password"
        form.submit(status=303)
        assert conflict.left == 0
    assert site.get("/view").json == "2"
    assert backend.calls[LOGIN] == 2


@ORDERS
def test_a_sign_out_that_is_retried_calls_the_backend_once(backend: Served, order: str) -> None:
    site, table, conflict = transactional(backend, order, nothing)
    site.sign_in()
    csrf, copy = site.csrf(), site.twin()
    conflict.left = 1
    answer = site.post("/logout", {"csrf_token": csrf}, status=303)
    assert conflict.left == 0
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert backend.calls[BLACKLIST] == 1
    assert table.rows == ["SignedIn", "SignedOut"]
    assert COOKIE not in site.cookies
    copy.get("/account", status=303)


@ORDERS
def test_a_sign_in_whose_transaction_fails_is_undone(backend: Served, order: str) -> None:
    site, table, conflict = transactional(backend, order, nothing)
    form = site.get("/login").form
    form["username"], form["password"] = "alice", "alice-password"
    conflict.left = 3  # one for each attempt
    form.submit(status=500)
    assert COOKIE not in site.cookies
    assert backend.calls[LOGIN] == 1
    assert backend.calls[BLACKLIST] == 1
    assert "SignedIn" not in table.rows
    assert site.get("/view").json is None


@ORDERS
def test_a_subscriber_of_the_sign_in_can_have_a_conflict(
    backend: Served, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    left = [TransientError("another transaction was faster")]

    def conflict(event: SignedIn) -> None:
        if left:
            raise left.pop()

    def more(config: Configurator) -> None:
        nothing(config)
        config.add_subscriber(conflict, SignedIn)

    site, table, _ = transactional(backend, order, more)
    site.sign_in(status=303)
    assert not left
    assert (backend.calls[LOGIN], backend.calls[BLACKLIST]) == (1, 0)
    assert table.rows == ["SignedIn"]
    assert site.get("/view").json == "1"
    assert "SubscriberFailed" not in caplog.text


@ORDERS
def test_a_retried_request_uses_request_backend_with_the_renewed_token(
    backend: Served, order: str
) -> None:
    def me(request: Request) -> Any:
        return request.backend.get("/me").json()["email"]

    site, table, conflict = transactional(backend, order, lambda config: add_view(config, me))
    site.sign_in()
    old = site.opened().tokens.access

    def refuse(request: Any) -> Response | None:
        refused = request.authorization[1] == old
        return Response(status=401, json_body=NOT_VALID) if refused else None

    backend.instead["/me"] = refuse
    conflict.left = 1
    assert site.get("/view").json == "alice@example.com"
    assert backend.calls[REFRESH] == 1
    assert table.rows == ["SignedIn", "SessionRenewed"]


def test_the_environ_shows_no_password(backend: Served) -> None:
    """authapp keeps an object in the WSGI environ, which the debug toolbar shows. The repr of this
    object contains no password."""
    seen: list[str] = []

    def look(event: Any) -> None:
        seen.append(repr(event.request.environ["authapp.attempts"]))

    def more(config: Configurator) -> None:
        nothing(config)
        config.add_subscriber(look, SignedIn)

    site, _, _ = transactional(backend, "tm first", more)
    site.sign_in()
    assert seen == ["<outcomes>"]
