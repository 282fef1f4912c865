"""Requests with valid and invalid session cookies, sent to the site: threats C1 to C15."""

import itertools
import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
import time_machine
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from webob import Request

from authapp.session.session import TokenPair
from servers import Served
from site_under_test import COOKIE, SECRET, Site, add_view, application, application_with_view
from web.example_application import OwnBackend, own_backend_site


def ask(site: Site, cookie: str, path: str = "/session") -> Any:
    """Send a request with exactly this ``Cookie`` header. Return the response."""
    return Request.blank(path, environ={"HTTP_COOKIE": cookie}).get_response(site.app)


def user_id(answer: Any) -> Any:
    assert answer.status_int == 200
    return answer.json_body["user"] and answer.json_body["user"]["id"]


def cleared(answer: Any) -> set[str]:
    """Return the names of the session cookies that a response clears."""
    return {
        each.partition("=")[0]
        for each in answer.headers.getall("Set-Cookie")
        if "Max-Age=0" in each and "csrf" not in each
    }


@pytest.fixture
def alice(site: Site) -> str:
    site.sign_in("alice")
    return site.token()


@pytest.fixture
def bob(site: Site) -> str:
    other = Site(wsgi=site.app)
    other.sign_in("bob")
    return other.token()


@pytest.mark.parametrize(
    "value",
    ["", "\0", "é\xff", "x" * 1_000_000, '"quoted"', "a=b=c", "eyJ.eyJ.x", "....", "a..b.c.d", " "],
)
def test_c1_invalid_cookie_is_anonymous_and_is_cleared(site: Site, value: str) -> None:
    answer = ask(site, f"{COOKIE}={value}")
    assert user_id(answer) is None
    assert answer.json_body["error"] == "SessionInvalid"
    assert cleared(answer) == {COOKIE}
    assert ask(site, f"{COOKIE}={value}", "/").status_int == 200
    assert ask(site, f"{COOKIE}={value}", "/account").status_int == 303


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)
@given(text=st.text(st.characters(max_codepoint=255), max_size=200))
def test_c1_arbitrary_cookie_header_is_anonymous(site: Site, text: str) -> None:
    for header in (text, f"{COOKIE}={text}", f"{COOKIE}.0={text}; {text}"):
        assert user_id(ask(site, header)) is None


@pytest.mark.parametrize("bad", [r'x="\200"', r'x="a;b\377"', 'x="é"', r'authapp.session="\377"'])
def test_c1_undecodable_cookie_does_not_hide_other_cookies(
    site: Site, alice: str, bad: str
) -> None:
    assert user_id(ask(site, f"{bad}; {COOKIE}={alice}")) == 1
    form = ask(site, f"{bad}; authapp.csrf=0123; kept=1", "/login")
    assert 'value="0123"' in form.text
    assert ask(site, r'x="\"quoted\""; ' + f"{COOKIE}={alice}", "/").status_int == 200


def test_c1_cookies_of_other_names_are_ignored(site: Site) -> None:
    answer = ask(site, "other=1")
    assert answer.json_body["error"] is None
    assert cleared(answer) == set()


@pytest.mark.parametrize("index", [0, 40, 90, 500, -1])
def test_c2_tampered_cookie_is_anonymous_and_is_cleared(site: Site, alice: str, index: int) -> None:
    flipped = "A" if alice[index] != "A" else "Q"
    tampered = alice[:index] + flipped + alice[index:][1:]
    answer = ask(site, f"{COOKIE}={tampered}")
    assert user_id(answer) is None
    assert cleared(answer) == {COOKIE}


def test_c5_c6_cookie_is_accepted_only_while_its_secret_is_listed(
    site: Site, backend: Served, alice: str
) -> None:
    new = "a new secret, of more than 32 bytes"
    assert user_id(ask(Site(backend.url, secret=new), f"{COOKIE}={alice}")) is None
    rotated = Site(backend.url, secret=f"{new}\n{SECRET}")
    assert user_id(ask(rotated, f"{COOKIE}={alice}")) == 1


def test_c6_changing_the_secret_signs_nobody_out(site: Site, backend: Served) -> None:
    """Threat C6. If the operator adds the new secret and later removes the old one, nobody is
    signed out (docs/operations.md, "Changing the secret")."""
    new = "a new secret, of more than 32 bytes"
    site.sign_in()
    form = site.get("/account", headers={"Accept": "text/html"}).forms["renew"]
    both = Site(backend.url, secret=f"{new}\n{SECRET}")
    both.cookiejar = site.cookiejar
    # A page from before the change still works. The new secret encrypts the next cookie.
    answer = both.post("/account", dict(form.submit_fields()), status=303)
    assert answer.location == "/account"
    alone = Site(backend.url, secret=new)
    alone.cookiejar = both.cookiejar
    assert "alice@example.com" in alone.get("/account", headers={"Accept": "text/html"})
    assert user_id(ask(site, f"{COOKIE}={both.token()}")) is None, (
        "the old secret does not decrypt the new cookie"
    )


def test_c6_rolling_restart_with_a_new_secret_signs_nobody_out(backend: Served) -> None:
    """Threat C6. Changing the secret takes three steps (docs/operations.md). Nobody is signed out,
    although during each step some processes have the old settings and some the new settings."""
    new = "a new secret, of more than 32 bytes"
    steps = [SECRET, f"{SECRET}\n{new}", f"{new}\n{SECRET}"]
    for one, other in itertools.pairwise([*steps, new]):
        for sealing, opening in ((one, other), (other, one)):
            site = Site(backend.url, secret=sealing)
            site.sign_in()
            csrf = site.csrf()
            next_one = Site(backend.url, secret=opening)
            next_one.cookiejar = site.cookiejar
            next_one.post("/logout", {"csrf_token": csrf}, status=303)


def test_c8_only_complete_chunks_of_one_session_are_accepted(
    site: Site, alice: str, bob: str
) -> None:
    half = len(alice) // 2
    one, two = alice[:half], alice[half:]
    other = bob[len(bob) // 2 :]
    assert user_id(ask(site, f"{COOKIE}.0={one}; {COOKIE}.1={two}")) == 1
    assert user_id(ask(site, f"{COOKIE}.1={two}; {COOKIE}.0={one}; {COOKIE}.2=stale")) == 1
    for header in (
        f"{COOKIE}.0={one}",
        f"{COOKIE}.1={two}",
        f"{COOKIE}.0={two}; {COOKIE}.1={one}",
        f"{COOKIE}.0={one}; {COOKIE}.1={other}",
        f"{COOKIE}.0={one}; {COOKIE}.01={two}",
        "; ".join(f"{COOKIE}.{n}={alice[n * 10 : n * 10 + 10]}" for n in range(60)),
    ):
        answer = ask(site, header)
        assert user_id(answer) is None
        assert cleared(answer), "a cookie that does not decrypt is cleared"


def test_c13_duplicate_cookies_are_accepted_only_for_one_user(
    site: Site, alice: str, bob: str
) -> None:
    for header in (
        f"{COOKIE}=x; {COOKIE}={alice}",
        f"{COOKIE}={alice}; {COOKIE}=x",
        f"{COOKIE}={alice}; {COOKIE}={alice}",
        f"{COOKIE}={alice}; {COOKIE}.0=x; {COOKIE}.1=y",
    ):
        assert user_id(ask(site, header)) == 1
    assert user_id(ask(site, f"{COOKIE}={bob}; {COOKIE}={alice}")) is None, (
        "one of the two cookies may be planted"
    )
    assert user_id(ask(site, f"{COOKIE}={alice}; {COOKIE}.0={bob}")) is None


def test_c13_signed_out_session_does_not_hide_an_active_session(site: Site) -> None:
    """Threat C13. A browser has two session cookies, with different paths or domains. If the
    session in the newer cookie was signed out, authapp uses the session in the other cookie."""
    site.sign_in("alice")
    good = site.token()
    with time_machine.travel(time.time() + 10):
        other = Site(wsgi=site.app)
        other.sign_in("alice")
        ended = other.token()
        for header in (f"{COOKIE}={ended}; {COOKIE}={good}", f"{COOKIE}={good}; {COOKIE}={ended}"):
            assert user_id(ask(site, header)) == 1
        other.sign_out()
        for header in (f"{COOKIE}={ended}; {COOKIE}={good}", f"{COOKIE}={good}; {COOKIE}={ended}"):
            assert user_id(ask(site, header)) == 1
        assert user_id(ask(site, f"{COOKIE}={ended}; {COOKIE}={ended}")) is None


def test_c13_ended_session_does_not_hide_an_active_session(site: Site) -> None:
    """Threat C13. A browser has two session cookies. If the session that began later has ended
    already, authapp uses the session in the other cookie."""
    site.sign_in("alice")
    stands, now = site.opened(), int(time.time())
    short = replace(stands.validity, valid_until=now + 10, refresh_until=now + 20)
    newer = replace(stands, sid="another", issued_at=now + 5, validity=short, claims={})
    both = f"{COOKIE}={site.services.sealer.seal(newer)}; {COOKIE}={site.token()}"
    with time_machine.travel(now + 30):
        assert user_id(ask(site, both)) == 1
        csrf = ask(site, both).json_body["csrf_token"]
        site.post("/logout", {"csrf_token": csrf}, headers={"Cookie": both}, status=303)
        assert user_id(ask(site, both)) is None


def test_c13_sign_out_ends_all_sessions_in_the_cookie_header(site: Site, backend: Served) -> None:
    site.sign_in("alice")
    other = Site(wsgi=site.app)
    other.sign_in("alice")
    both = f"{COOKIE}={site.token()}; {COOKIE}={other.token()}"
    csrf = ask(site, both).json_body["csrf_token"]
    site.post("/logout", {"csrf_token": csrf}, headers={"Cookie": both}, status=303)
    assert user_id(ask(site, both)) is None
    assert user_id(ask(site, f"{COOKIE}={other.token()}")) is None


def test_c13_newer_of_two_sessions_is_used(site: Site) -> None:
    site.sign_in("alice")
    newer = Site(wsgi=site.app)
    with time_machine.travel(time.time() + 10):
        newer.sign_in("alice")
    for one, other in ((site, newer), (newer, site)):
        answer = ask(site, f"{COOKIE}={one.token()}; {COOKIE}={other.token()}")
        assert answer.json_body["validity"]["valid_until"] == newer.opened().validity.valid_until


def test_other_cookies_of_a_response_are_sent_once_beside_a_renewed_one(backend: Served) -> None:
    def view(request: Any) -> str:
        for name in ("a", "b", "c", COOKIE):
            request.response.set_cookie(name, "1")
        return "done"

    site = application_with_view(backend.url, view)
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in("alice")
        clock.shift(700)
        answer = site.get("/view")
    names = [each.partition("=")[0] for each in answer.headers.getall("Set-Cookie")]
    assert sorted(names) == ["a", COOKIE, "b", "c"]
    assert answer.headers.getall("Set-Cookie")[-1].startswith(f"{COOKIE}=ey")


def test_c8_long_cookie_header_is_read_but_not_cached(site: Site, alice: str) -> None:
    """Threat C8. authapp reads a long ``Cookie`` header, but caches only short ones. The cache
    limits only the number of headers, so long headers would need too much memory."""
    for number in range(3):
        assert user_id(ask(site, f"other={str(number) * 9000}; {COOKIE}={alice}")) == 1
    assert site.services.cookie_reader.cached.cache_info().currsize == 0
    for _ in range(3):
        assert user_id(ask(site, f"{COOKIE}={alice}; other=1")) == 1
    assert site.services.cookie_reader.cached.cache_info().currsize == 1


def test_c1_application_can_read_and_set_request_cookies(backend: Served) -> None:
    """Threat C1. A view on an excluded path can read and set ``request.cookies``, and so can a
    subrequest."""

    def view(request: Any) -> Any:
        inner = request.copy()
        inner.path_info = "/inner"
        if request.path == "/inner":
            request.cookies = {"b": "2"}
            return dict(request.cookies)
        return [dict(request.cookies), request.invoke_subrequest(inner).json]

    def more(config: Any) -> None:
        add_view(config, view)
        config.add_route("inner", "/inner")
        config.add_view(view, route_name="inner", renderer="json")

    site = application(backend.url, more, refresh__exclude="/view")
    answer = ask(site, r'x="\377"; a=1; ' + "(" * 60_000, "/view")
    assert answer.json_body == [{"a": "1"}, {"b": "2"}]


@pytest.mark.parametrize("header", ["{}, b=c", '{}"', "{} b", "{}\\", "a=1,2; {}; b"])
def test_c1_text_after_a_cookie_value_is_not_part_of_the_value(
    site: Site, alice: str, header: str
) -> None:
    """Threat C1. Text after the value of the session cookie does not hide the session. Some servers
    join two header lines with a comma, and some clients send malformed headers."""
    assert user_id(ask(site, header.format(f"{COOKIE}={alice}"))) == 1
    assert user_id(ask(site, header.format(f"{COOKIE} = {alice}"))) == 1


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
