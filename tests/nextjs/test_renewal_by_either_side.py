"""Pyramid and Next.js each renew the session that they share, and may spend a token twice."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from webob import Response as Answer

from nextjs.shared_cookie import (
    DUE,
    EXPIRED,
    WEEK,
    Both,
    claims_of_another_callback,
    later,
    tokens_of,
)
from servers import LOGIN, REFRESH, Served


@pytest.mark.parametrize("extra", [0, 3000], ids=["single", "chunked"])
def test_each_side_accepts_a_renewal_by_the_other(both: Both, extra: int) -> None:
    both.next_sign_in()
    claims = both.claims()
    both.seal({**claims, "more": "x" * extra})
    if extra:
        both.next_session()  # Next.js writes the session in chunks
        assert list(both.cookies()) == [f"{both.name}.0", f"{both.name}.1"]
    spent = [claims["data"]["tokens"]["refresh"]]
    for number, visit in enumerate((both.next_session, both.account, both.next_session), 1):
        with later(number * EXPIRED):
            visit()
            assert both.session()["user"]["id"] == 1
            assert "error" not in both.next_session()
            assert both.backend.calls[REFRESH] == number
            claims = both.claims()
            spent.append(claims["data"]["tokens"]["refresh"])
            assert claims["more"] == "x" * extra
            assert len(both.cookies()) == (2 if extra else 1)
    assert len(set(spent)) == 4
    assert claims["data"]["sid"] == both.claims()["data"]["sid"]


def with_opaque_tokens(backend: Served, rotates: bool) -> list[str]:
    """Make the backend issue opaque refresh tokens.

    :returns: a list. Each refresh token that the backend receives is added to it.
    """
    got: list[str] = []

    def sign_in(request: Any) -> Answer:
        del backend.instead[LOGIN]
        tokens = tokens_of(backend)
        backend.instead[LOGIN] = sign_in
        return Answer(json_body={**tokens, "refresh": "opaque-0"})

    def refresh(request: Any) -> Answer:
        got.append(request.json_body["refresh"])
        del backend.instead[LOGIN]
        access = tokens_of(backend)["access"]
        backend.instead[LOGIN] = sign_in
        more = {"refresh": f"opaque-{len(got)}"} if rotates else {}
        return Answer(json_body={"access": access, **more})

    backend.instead |= {LOGIN: sign_in, REFRESH: refresh}
    return got


@pytest.mark.parametrize("rotates", [True, False])
def test_opaque_refresh_tokens_are_renewed_by_both_sides(both: Both, rotates: bool) -> None:
    got = with_opaque_tokens(both.backend, rotates)
    both.next_sign_in()
    first = both.claims()["data"]["validity"]
    assert first["refresh_until"] == pytest.approx(time.time() + WEEK, abs=10)
    with later(EXPIRED):
        assert "error" not in both.next_session()
        kept = both.claims()["data"]["validity"]["refresh_until"] == first["refresh_until"]
        assert kept is not rotates
    with later(2 * EXPIRED):
        assert both.session()["user"]["id"] == 1
    with later(3 * EXPIRED):
        assert "error" not in both.next_session()
    assert got == ["opaque-0"] + (["opaque-1", "opaque-2"] if rotates else ["opaque-0"] * 2)


def test_a_renewal_keeps_what_the_new_token_does_not_say(both: Both) -> None:
    claims = claims_of_another_callback(both.backend)
    parts = claims["data"]["tokens"]["access"].split(".")
    bare = {"user_id": 1, "exp": int(time.time()) + 2 * EXPIRED + 0.5}
    told = urlsafe_b64encode(json.dumps(bare).encode()).decode().rstrip("=")
    access = ".".join((parts[0], told, parts[2]))
    both.backend.instead[REFRESH] = Answer(json_body={"access": access, "refresh": "new"})
    both.seal({**claims, "data": {**claims["data"], "user": {"id": 1, "roles": ["kept"]}}})
    with later(EXPIRED):
        assert both.next_session()["user"]["roles"] == ["kept"]
        assert both.claims()["data"]["validity"]["valid_until"] == int(bare["exp"])


@pytest.mark.parametrize("answer", [Answer(status=200, body=b"<html>"), Answer(status=429)])
def test_a_renewal_without_tokens_keeps_the_session(both: Both, answer: Answer) -> None:
    both.next_sign_in()
    before = both.claims()["data"]
    both.backend.instead[REFRESH] = answer
    with later(EXPIRED):
        assert both.next_session()["error"] == "BackendUnavailable"
        assert both.claims()["data"] == before
        both.backend.instead.clear()
        assert "error" not in both.next_session()


def test_both_sides_keep_the_session_while_the_backend_is_down(both: Both) -> None:
    both.next_sign_in()
    both.backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED):
        assert both.next_session()["error"] == "BackendUnavailable"
        both.account(status=503)
        assert both.cookies()
        del both.backend.instead[REFRESH]
        assert "error" not in both.next_session()
        assert "alice@example.com" in both.account(status=200)


# Which side renews: the table of docs/nextjs.md.


def test_a_late_nextjs_response_is_harmless_if_only_pyramid_renews(
    both_with: Callable[..., Both],
) -> None:
    both = both_with(renews="1")
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        assert both.next_session()["error"] == "AccessTokenExpired"
        assert both.backend.calls[REFRESH] == 0
        assert both.session()["user"]["id"] == 1
        assert "error" not in both.next_session()
        new = both.claims()["data"]["tokens"]
        # This request was sent before the renewal, but its response arrives later.
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.claims()["data"]["tokens"] != new
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new
        assert both.backend.calls[REFRESH] == 1


@pytest.mark.parametrize("seconds", [DUE, (DUE + EXPIRED) // 2, EXPIRED - 60])
@pytest.mark.parametrize("pause", [1, 70, 600])
def test_old_cookie_that_nextjs_writes_again_does_not_end_the_session(
    both_with: Callable[..., Both], seconds: int, pause: int
) -> None:
    """Pyramid renews a due session. If a late response of Next.js then overwrites the new cookie
    with the old one, the session does not end."""
    both = both_with(renews="1")
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(seconds):
        both.account(status=200)
        new = both.claims()["data"]["tokens"]
        assert "error" not in both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert both.claims()["data"]["tokens"] != new
    with later(EXPIRED + pause):
        assert both.next_session()["error"] == "AccessTokenExpired"
        both.account(status=200)
        assert both.claims()["data"]["tokens"]["refresh"] != held
        assert "error" not in both.next_session()


def refuse_spent_tokens(backend: Served) -> None:
    """Make the backend refuse spent tokens as SimpleJWT does, without revoking newer tokens."""
    spent: set[str] = set()

    def answer(request: Any) -> Answer | None:
        token = request.json_body["refresh"]
        if token in spent:
            return Answer(status=401, json_body={"code": "token_not_valid"})
        spent.add(token)
        return None

    backend.instead[REFRESH] = answer


def test_pyramid_corrects_the_cookie_if_nextjs_spends_a_token_second(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.account(status=200)
        new = both.claims()["data"]["tokens"]
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new, "Pyramid has restored the new tokens"
        assert "error" not in both.next_session()


def test_the_user_is_signed_out_if_pyramid_spends_a_token_second(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        assert "error" not in both.next_session()
        new = both.header()
        answer = both.account(headers={"Cookie": held}, status=303)
        assert "reason=RefreshTokenRejected" in answer.location
        assert both.cookies() == {}
        assert both.session(new)["user"]["id"] == 1, (
            "the new session is valid if its response arrives last"
        )


def test_the_user_is_signed_out_if_nextjs_spends_a_token_twice(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        assert "reason=RefreshTokenRejected" in both.account(status=303).location


def test_reuse_ends_the_session_if_the_backend_ends_the_token_family(both: Both) -> None:
    """If a refresh token is spent twice, a backend may revoke all tokens of the session (RFC 9700
    section 4.14.2), as the embedded issuer does. Then the session ends."""
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        new = both.header()
        both.account(headers={"Cookie": held}, status=303)
        assert both.session(new)["user"]["id"] == 1
    with later(2 * EXPIRED):
        assert both.session(new)["error"] == "RefreshTokenRejected"
