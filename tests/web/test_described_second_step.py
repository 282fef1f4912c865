"""A second step of the sign-in that the ini file describes: contract section 8."""

from typing import Any

import pytest
import requests
from webob import Response as Answer

from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from servers import LOGIN, Served
from site_under_test import Site, settings
from web.two_steps import enter

DESCRIBED = {
    "backend__login__challenge": "body.need == 'code'",
    "backend__login__refused": "401",
    "backend__challenge__state": "body.ticket",
    "backend__challenge": ("POST /api/second/\nVisitor: {address}\nTicket: {state}\ncode = {code}"),
    "backend__challenge__expired": "410",
}


@pytest.mark.parametrize("ticket", ["t\\1", 1, 0, 10**20], ids=str)
def test_described_backend(backend: Served, ticket: str | int) -> None:
    site = Site(backend.url, **DESCRIBED)
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.7"
    tokens = requests.post(
        backend.url + LOGIN, json={"username": "alice", "password": "alice-password"}, timeout=5
    ).json()
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": ticket})
    page = site.sign_in("alice", status=303).follow()
    asked = []

    def second(request: Any) -> Answer:
        asked.append((request.headers["Ticket"], request.headers["Visitor"]))
        return answers.pop(0)

    backend.instead["/api/second/"] = second
    answers = [
        Answer(status=401, json_body={"detail": "no"}),
        Answer(status=200, json_body={"need": "code", "ticket": 5.5}),
        Answer(status=200, json_body=tokens),
    ]
    enter(page, "1", status=401)
    enter(page, "2", status=503)
    enter(page, "3", status=303)
    assert asked == [(str(ticket), "192.0.2.7")] * 3


def test_described_backend_whose_state_has_ended(backend: Served) -> None:
    site = Site(backend.url, **DESCRIBED)
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": "t"})
    backend.instead["/api/second/"] = Answer(status=410)
    page = site.sign_in("alice", status=303).follow()
    assert "reason=ChallengeExpired" in enter(page, "1", status=303).location


@pytest.mark.parametrize("ticket", [None, "", True, 5.5, {"id": 5}, "t" * 2000, 10**2000], ids=str)
def test_challenge_without_a_usable_state_names_the_setting(
    backend: Served, ticket: object, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(backend.url, **DESCRIBED)
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": ticket})
    site.sign_in("alice", status=503)
    assert "see authapp.backend.challenge.state" in caplog.text


@pytest.mark.parametrize("left_out", ["backend__challenge", "backend__challenge__state"])
def test_half_a_description_is_a_problem(left_out: str) -> None:
    keys = {key: value for key, value in DESCRIBED.items() if key != left_out}
    with pytest.raises(SettingsError, match=r"login\.challenge has no effect without"):
        Settings.from_ini(settings("http://127.0.0.1:9", **keys))
