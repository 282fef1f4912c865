"""The debug toolbar's panel shows what authapp did with the session of a request. It shows no
token."""

import re
from pathlib import Path

import pytest
from pyramid.paster import get_appsettings

import authapp
from authapp.testing import MemoryBackend, sign_in, use_backend
from site_under_test import Site, settings

TOOLBAR = {
    "pyramid.includes": "pyramid_debugtoolbar",
    "debugtoolbar.includes": "authapp.web.debug_panel",
    "debugtoolbar.hosts": "127.0.0.1",
}


@pytest.fixture(scope="module")
def app() -> Site:
    ini = settings("http://backend.invalid", refresh__exclude="/excluded") | TOOLBAR
    return Site(wsgi=authapp.main({}, **ini))


@pytest.fixture
def backend(memory_backend: MemoryBackend) -> MemoryBackend:
    memory_backend.add_user("alice", "alice-password", id=1, roles=["admin"])
    return memory_backend


@pytest.fixture
def site(app: Site, backend: MemoryBackend) -> Site:
    use_backend(app.app, backend)
    site = Site(wsgi=app.app)
    site.extra_environ["REMOTE_ADDR"] = "127.0.0.1"
    return site


def panel(site: Site) -> str:
    """Return the text of authapp's panel for the last request."""
    page = site.get("/_debug_toolbar/").text
    shown = page.partition("<h4>The session of this request</h4>")[2].partition("</ol>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", shown))


def test_a_sign_in_writes_the_cookie(site: Site) -> None:
    site.sign_in("alice")
    said = panel(site)
    assert "state signed in user 1 name alice" in said
    assert "roles admin" in said
    assert "found no session in the cookies wrote the cookie" in said


def test_a_fresh_session_is_left_alone(site: Site) -> None:
    session = sign_in(site, id=7, name="<Zoe>", email="z@example.com", scopes=["read"])
    site.get("/account")
    said = panel(site)
    assert "user 7 name &lt;Zoe&gt; email z@example.com roles scopes read" in said
    assert "s from now)" in said
    assert session.digest in said
    assert "found a session that is fresh did not renew it left the cookie as it was" in said


def test_a_renewal_is_told_with_its_milliseconds(site: Site) -> None:
    sign_in(site, phase="expired")
    copy = site.twin()
    site.get("/account")
    said = panel(site)
    assert re.search(
        r"that is expired renewed the session \(by a call of the backend, \d+ ms\) wrote", said
    )
    copy.extra_environ["REMOTE_ADDR"] = "127.0.0.1"
    copy.get("/account")
    assert "renewed the session (without a call of the backend of its own, " in panel(copy)


def test_a_session_that_was_kept_or_has_ended_says_why(site: Site, backend: MemoryBackend) -> None:
    backend.fail("refresh", authapp.BackendUnavailable("no"))
    sign_in(site, phase="expired")
    site.get("/")
    said = panel(site)
    assert "state kept: BackendUnavailable" in said
    assert "could not renew the session, because the backend is unavailable (by a call" in said
    backend.fail("refresh", authapp.BackendRejected("no"))
    sign_in(site, phase="expired")
    site.get("/", status=303)
    said = panel(site)
    assert "state signed out: RefreshTokenRejected user 1" in said
    assert "which has ended (by a call" in said
    assert "cleared it" in said


def test_an_anonymous_request_has_no_session(site: Site) -> None:
    site.get("/")
    assert panel(site).startswith(" state anonymous What authapp did found no session")


def test_a_path_that_is_excluded_is_left_alone(site: Site) -> None:
    sign_in(site, phase="due")
    site.get("/health")
    assert "did not renew the session on this path: authapp.refresh.exclude" in panel(site)


def test_no_page_of_the_toolbar_has_a_token_of_the_backend(site: Site) -> None:
    session = sign_in(site, phase="expired", name="Alice")
    site.get("/account")
    renewed = site.opened()
    shown = site.get("/_debug_toolbar/").text
    assert "The session of this request" in shown
    for tokens in (session.tokens, renewed.tokens):
        for token in (tokens.access, tokens.refresh):
            for part in token.split("."):
                assert part not in shown or part == token.split(".")[0]
    assert session.sid not in shown


def test_development_ini_has_the_panel() -> None:
    ini = get_appsettings(str(Path(authapp.__file__).parents[1] / "development.ini"))
    site = Site(wsgi=authapp.main({}, **ini))
    site.extra_environ["REMOTE_ADDR"] = "127.0.0.1"
    site.sign_in("bob")
    assert "name bob" in panel(site)
