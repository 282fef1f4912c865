"""Sign-out at the site, at the provider, and by a message of the provider (back-channel)."""

import html
import re
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from webob import Request
from webob import Response as Answer

from authapp.oidc.token_checks import LEEWAY, MAX_AGE_OF_LOGOUT
from oidc.conftest import Browser, browser, later
from servers import Served
from servers.oidc import CLIENT_ID, KEY, LOGOUT_EVENT, OTHER_KEY, Provider, signed


def is_in(site: Browser) -> bool:
    return site.get("/session").json["user"] is not None


def end(site: Browser, provider: Provider, status: int = 200, **changes: Any) -> None:
    token = signed(provider.logout_token(**changes), typ="logout+jwt")
    site.other().post("/logout/backchannel", {"logout_token": token}, status=status)


def test_a_sign_out_ends_the_session_here_and_goes_on_to_the_provider(
    site: Browser, served: Served, provider: Provider
) -> None:
    site.enter()
    copy = site.twin()
    page = site.sign_out()
    assert (page.status_int, page.headers["Cache-Control"]) == (200, "private, no-store")
    (url,) = re.findall(r'http-equiv="refresh" content="0;url=([^"]*)"', page.text)
    parts = urlsplit(html.unescape(url))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{served.url}/end"
    assert parse_qs(parts.query) == {
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": ["http://localhost/login?reason=SignedOut"],
    }
    assert not is_in(site)
    assert not is_in(copy)
    assert provider.live == {}
    assert "You are signed out." in site.get("/login?reason=SignedOut", status=200)


def test_the_policy_of_pages_does_not_name_the_provider(site: Browser, served: Served) -> None:
    site.enter()
    assert served.url not in site.get("/account").headers["Content-Security-Policy"]
    assert served.url not in site.sign_out().headers["Content-Security-Policy"]


@pytest.mark.parametrize("how", ["local", "no endpoint", "down"])
def test_a_sign_out_stays_here_where_the_provider_is_not_told(
    served: Served, provider: Provider, how: str
) -> None:
    if how == "no endpoint":
        provider.metadata = {"end_session_endpoint": None, "revocation_endpoint": None}
    site = browser(served, oidc__logout="local" if how == "local" else "rp")
    site.enter()
    if how == "down":
        site = another_process(site, served)
        served.instead["/.well-known/openid-configuration"] = Answer(status=503)
    response = site.sign_out()
    assert response.location == "/login?reason=SignedOut"
    assert not is_in(site)


def another_process(site: Browser, served: Served) -> Browser:
    other = browser(served)
    for cookie in site.cookiejar:
        other.cookiejar.set_cookie(cookie)
    return other


def test_a_provider_that_does_not_revoke_does_not_stop_a_sign_out(
    site: Browser, served: Served
) -> None:
    site.enter()
    served.instead["/revoke"] = Answer(status=400, json_body={"error": "unsupported_token_type"})
    site.sign_out()
    assert not is_in(site)


def test_a_session_of_a_password_is_not_sent_to_the_provider(
    served: Served, backend: Served
) -> None:
    site = browser(served, backend__url=backend.url)
    site.sign_in("bob")
    assert site.sign_out().location == "/login?reason=SignedOut"


def test_the_provider_ends_the_sessions_of_a_sid(site: Browser, provider: Provider) -> None:
    site.enter()
    first, provider.sid = provider.sid, "another-sid"
    phone = site.other()
    phone.enter()
    end(site, provider, sid=first)
    assert not is_in(site)
    assert is_in(phone)
    end(site, provider, sub="u-alice")
    assert not is_in(phone)


def test_the_provider_ends_all_sessions_of_a_sub(site: Browser, provider: Provider) -> None:
    browsers = [site, site.other(), site.other()]
    for number, each in enumerate(browsers):
        provider.sid = f"sid-{number}"
        each.enter()
    provider.user = "bob"
    other = site.other()
    other.enter()
    end(site, provider, sid=None, sub="u-alice")
    assert [is_in(each) for each in [*browsers, other]] == [False, False, False, True]


def test_a_user_signs_in_again_after_the_provider_has_ended_all(
    site: Browser, provider: Provider
) -> None:
    site.enter()
    end(site, provider, sid=None, sub="u-alice")
    provider.sid = "a-new-one"
    site.enter(status=303)
    assert is_in(site)


def test_sessions_without_a_sid_end_with_a_token_that_names_both(
    site: Browser, provider: Provider
) -> None:
    provider.id_claims = {"sid": None}
    site.enter()
    end(site, provider, sub="u-alice")
    assert not is_in(site)


@pytest.mark.parametrize(
    ("named", "has_sid"),
    [
        ({}, True),
        ({"sub": "u-alice"}, True),
        ({"sub": "u-alice"}, False),
        ({"sub": "u-alice", "sid": None}, True),
        ({"sub": "u-alice", "sid": None}, False),
    ],
)
def test_a_sign_in_under_way_does_not_survive_the_end(
    site: Browser, provider: Provider, named: dict[str, Any], has_sid: bool
) -> None:
    """If the provider signs a user out while a sign-in is under way, the sign-in fails. The logout
    token may name the user, the session or both. A sign-in that begins later succeeds."""
    if not has_sid:
        provider.id_claims = {"sid": None}
    callback = site.begin()
    end(site, provider, **named)
    site.get(callback, status=400)
    assert not is_in(site)
    provider.sid = "a-new-one"
    site.enter(status=303)
    assert is_in(site)


def test_a_sign_in_under_way_survives_the_end_of_another_sid(
    site: Browser, provider: Provider
) -> None:
    callback = site.begin()
    end(site, provider, sid="another-sid")
    site.get(callback, status=303)
    assert is_in(site)


def test_an_end_during_the_last_step_wins(
    site: Browser, served: Served, provider: Provider
) -> None:
    """The logout token arrives after the provider has issued the tokens."""
    callback = site.begin()

    def ended(request: Request) -> None:
        end(site, provider, sid=None, sub="u-alice")

    served.instead["/token"] = ended
    site.get(callback, status=400)
    assert not is_in(site)


def test_the_end_wins_against_a_renewal_under_way(
    site: Browser, served: Served, provider: Provider
) -> None:
    site.enter()
    copy = site.twin()
    asked, go = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        asked.set()
        assert go.wait(5)

    served.instead["/token"] = slow
    with later(901):
        renewing = threading.Thread(target=lambda: site.get("/session"))
        renewing.start()
        assert asked.wait(5)
        end(site, provider)
        go.set()
        renewing.join()
        assert not is_in(site)
        assert not is_in(copy)
    assert provider.live == {}, "the new token is revoked at the provider"


def test_a_due_session_ends_too(site: Browser, provider: Provider) -> None:
    site.enter()
    end(site, provider)
    with later(700):
        assert not is_in(site)


WRONG: dict[str, dict[str, Any]] = {
    "iss": {"iss": "https://evil.example"},
    "aud": {"aud": "another"},
    "events": {"events": None},
    "another event": {"events": {"http://evil.example": {}}},
    "an event that is a text": {"events": {LOGOUT_EVENT: "x"}},
    "nonce": {"nonce": "n"},
    "no jti": {"jti": None},
    "neither sid nor sub": {"sid": None},
    "sid is a number": {"sid": 5},
    "expired": {"exp": 1},
    "no iat": {"iat": None},
    "old": {"iat": 1},
    "from the future": {"iat": 4 * 10**9},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_logout_token_ends_nothing(site: Browser, provider: Provider, name: str) -> None:
    site.enter()
    end(site, provider, 400, **WRONG[name])
    assert is_in(site)


def test_a_forged_logout_token_ends_nothing(site: Browser, provider: Provider) -> None:
    import jwt

    site.enter()
    claims = provider.logout_token()
    for token in (
        signed(claims, OTHER_KEY),
        signed(claims, "the secret of somebody, which is long enough", "HS256"),
        jwt.encode(claims, None, "none"),  # type: ignore[arg-type]
        signed(claims, KEY, typ="at+jwt"),
        "",
        "x" * 60_000,
    ):
        site.post("/logout/backchannel", {"logout_token": token}, status=400)
    assert is_in(site)


def test_a_logout_token_works_once(site: Browser, provider: Provider) -> None:
    token = signed(provider.logout_token(sub="u-alice", sid=None))
    site.post("/logout/backchannel", {"logout_token": token}, status=200)
    site.enter()
    with later(70):
        site.post("/logout/backchannel", {"logout_token": token}, status=400)
        assert is_in(site)
    remembered = [left for key, _, left in site.services.store.living() if "logout" in key.purpose]
    assert remembered[0] > MAX_AGE_OF_LOGOUT + LEEWAY, "for longer than the token is valid"


def test_two_tokens_a_query_and_get_are_refused(site: Browser, provider: Provider) -> None:
    site.enter()
    one, two = signed(provider.logout_token()), signed(provider.logout_token())
    path = "/logout/backchannel"
    site.post(path, [("logout_token", one), ("logout_token", two)], status=400)
    site.post(f"{path}?logout_token={one}", {}, status=400)
    site.post(f"{path}?logout_token={one}", {"logout_token": one}, status=400)
    site.get(f"{path}?logout_token={one}", status=405)
    site.post(path, {"logout_token": "x" * 1_000_000}, status=413)
    assert is_in(site)


def test_the_provider_ends_sessions_while_its_key_set_cannot_be_read(
    site: Browser, served: Served, provider: Provider
) -> None:
    site.enter()
    served.instead["/jwks"] = Answer(status=503)
    end(site, provider)
    assert not is_in(site)


def test_the_list_of_sessions_does_not_show_one_that_the_provider_has_ended(
    site: Browser, provider: Provider
) -> None:
    site.enter()
    ended, provider.sid = provider.sid, "another-sid"
    phone = site.other()
    phone.enter()
    for each in (site, phone):
        each.get("/account")
    assert len(phone.get("/sessions").json["sessions"]) == 2
    end(site, provider, sid=ended)
    assert len(phone.get("/sessions").json["sessions"]) == 1


def test_a_logout_token_need_not_say_when_it_expires(site: Browser, provider: Provider) -> None:
    site.enter()
    end(site, provider, exp=None)
    assert not is_in(site)
