"""An application's own backend class, set with ``set_auth_backend``: contract section 5."""

import time
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError

from authapp.backend.protocol import BackendRejected
from authapp.session.session import TokenPair
from authapp.store.protocol import Key
from servers import Served
from site_under_test import COOKIE, Site, settings
from web.example_application import KeepingBackend, OwnBackend, own_backend_site


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


def test_two_backends_conflict() -> None:
    config = Configurator(settings=settings("http://127.0.0.1:1"))
    config.include("authapp")
    config.set_auth_backend(OwnBackend())
    config.set_auth_backend(OwnBackend())
    with pytest.raises(ConfigurationConflictError):
        config.commit()


class OldTokenBackend(OwnBackend):
    """A backend that alternates between two refresh tokens. This is unusual but allowed."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        return self._pair("dora", 3 - int(tokens.refresh.partition(":")[2]))


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
