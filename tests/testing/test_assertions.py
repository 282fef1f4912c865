"""If an assertion of ``authapp.testing`` fails, its message describes the session, but shows no
token."""

import pytest

from authapp.testing import assert_no_session, assert_session, describe, sign_in
from site_under_test import COOKIE, Site, application


@pytest.fixture(scope="module")
def app() -> Site:
    return application("http://backend.invalid")


@pytest.fixture
def site(app: Site) -> Site:
    return Site(wsgi=app.app)


def failure(site: Site, **expected: object) -> str:
    with pytest.raises(AssertionError) as raised:
        assert_session(site, **expected)  # type: ignore[arg-type]
    return str(raised.value)


def test_a_session_as_expected_is_returned(site: Site) -> None:
    session = sign_in(site, id=1, name="Alice", roles=["admin", "clerk"], phase="due")
    found = assert_session(site, id=1, name="Alice", roles={"clerk", "admin"}, phase="due")
    assert found.sid == session.sid


def test_a_failure_says_first_what_differs_and_then_the_whole_session(site: Site) -> None:
    session = sign_in(site, id=1, name="Alice", email="a@example.com", roles=["admin"])
    said = failure(site, roles=["clerk"])
    assert said.startswith("roles is ('admin',), not ['clerk']\nthe client holds a session of")
    assert "user 1\n  name 'Alice', email 'a@example.com'\n  roles admin, scopes none\n" in said
    assert "phase fresh: access token until 20" in said
    assert f"session {session.digest}" in said
    assert session.tokens.access not in said
    assert session.tokens.refresh not in said
    assert session.sid not in said


def test_the_phase_is_asserted(site: Site) -> None:
    sign_in(site, phase="expired")
    assert_session(site)
    assert failure(site, phase="fresh").startswith("the phase is expired, not fresh")
    sign_in(site, phase="ended")
    assert failure(site).startswith("the session has ended")
    assert_session(site, phase="ended")
    assert_no_session(site)


def test_a_client_without_a_session_is_described(site: Site) -> None:
    assert_no_session(site)
    assert failure(site) == f"there is no session\nthe client holds no cookie named {COOKIE}"
    site.set_cookie(COOKIE, "nonsense")
    assert_no_session(site)
    assert describe(site) == f"{COOKIE}, which no secret of the application decrypts"


def test_a_copy_of_a_session_that_was_signed_out_counts_as_none(site: Site) -> None:
    sign_in(site, id=1)
    with pytest.raises(AssertionError, match="there is a session\nthe client holds a session of"):
        assert_no_session(site)
    copy = site.twin()
    site.sign_out()
    assert_no_session(copy)
    said = failure(copy)
    assert said.startswith("the session was revoked\nthe client holds a session of user 1, which")


def test_limits_of_a_session_are_known() -> None:
    site = application("http://backend.invalid", session__idle="60", session__absolute="3600")
    sign_in(site, used=30, signed_in=1800)
    assert_session(site, phase="fresh")
    sign_in(site, used=61)
    assert failure(site).startswith(
        "the session is idle\nthe client holds a session of user 1, which"
    )
    assert_no_session(site)
    assert site.get("/account", status=303).location.endswith("reason=SessionIdle")
    sign_in(site, signed_in=3601)
    assert failure(site).startswith("the session has ended")
    assert site.get("/account", status=303).location.endswith("reason=RefreshTokenExpired")
