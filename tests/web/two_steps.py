"""A backend that asks for a code as the second step of the sign-in, and a site that uses it."""

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from pyramid.config import Configurator
from webtest import TestResponse

from authapp import (
    BackendChallenge,
    BackendRejected,
    Credentials,
    SignedIn,
    SignInFailed,
    TokenPair,
)
from authapp.testing import use_backend
from site_under_test import Site, fresh, settings

CHALLENGE = "authapp.challenge"


class TwoSteps:
    """A backend that asks for a code as the second step. The right code is ``123456``."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.codes: list[str] = []
        self.fails: Exception | None = None
        self.more = False

    def login(self, credentials: Credentials) -> TokenPair:
        if credentials.password != "sesame":
            raise BackendRejected("no")
        raise BackendChallenge(f"state of {credentials.username}", "totp")

    def challenge(self, state: str, code: str) -> TokenPair:
        self.states.append(state)
        self.codes.append(code)
        if self.fails:
            raise self.fails
        if code != "123456":
            raise BackendRejected("wrong code")
        if self.more:
            self.more = False
            raise BackendChallenge(f"more {state}", "backup")
        access = jwt.encode({"sub": state.rpartition(" ")[2]}, "k" * 32)
        return TokenPair(access, f"refresh of {state}", expires_in=600)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        raise AssertionError

    def logout(self, tokens: TokenPair) -> None:
        pass


@pytest.fixture
def steps() -> TwoSteps:
    return TwoSteps()


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def site(steps: TwoSteps, events: list[Any]) -> Site:
    return site_with(steps, events)


def listen(event: Any) -> None:
    event.request.registry["events"].append(event)


def two_steps(config: Configurator) -> None:
    config.set_auth_backend(TwoSteps())
    for kind in (SignedIn, SignInFailed):
        config.add_subscriber(listen, kind)


def site_with(
    backend: Any,
    events: list[Any],
    more: Callable[[Configurator], None] = two_steps,
    **keys: str,
) -> Site:
    ini = settings("", **keys)
    del ini["authapp.backend.url"]
    site = Site(wsgi=fresh(more, **ini))
    site.app.registry["events"] = events
    use_backend(site.app, backend)
    return site


def first_step(site: Site, target: str = "/account") -> TestResponse:
    """Enter the password. Return the page of the second step."""
    form = site.get("/login", {"next": target}).form
    form["username"], form["password"] = "dora", "sesame"
    return form.submit(status=303).follow()


def enter(page: TestResponse, code: str, **options: Any) -> TestResponse:
    (form,) = [each for each in page.forms.values() if "code" in each.fields]
    form["code"] = code
    return form.submit(**options)
