"""A session is an immutable value."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authapp.session.claims import NotASession
from authapp.session.session import (
    Identity,
    Phase,
    Session,
    TokenPair,
    Validity,
    jwt_claims,
)

NOW = 1_790_000_000


def make(valid_until: int = NOW + 900, refresh_until: int = NOW + 604_800, **more: Any) -> Session:
    return Session(
        Identity(1, "alice@example.com", "alice", ("admin",), ("read",)),
        TokenPair("access", "refresh"),
        Validity(valid_until, refresh_until),
        "sid",
        NOW,
        NOW + 0.5,
        **more,
    )


@pytest.mark.parametrize(
    ("after", "phase"),
    [
        (0, Phase.FRESH),
        (599.9, Phase.FRESH),
        (600, Phase.DUE),
        (899.9, Phase.DUE),
        (900, Phase.EXPIRED),
        (604_799, Phase.EXPIRED),
        (604_800, Phase.ENDED),
    ],
)
def test_the_phase_depends_on_the_time(after: float, phase: Phase) -> None:
    assert make().phase(NOW + after, 300) is phase


def test_the_buffer_is_at_most_a_third_of_the_tokens_lifetime() -> None:
    assert make(NOW + 30).phase(NOW + 19, 300) is Phase.FRESH
    assert make(NOW + 30).phase(NOW + 20, 300) is Phase.DUE


@given(
    life=st.integers(1, 10_000),
    window=st.integers(1, 100_000),
    buffer=st.integers(0, 10_000),
    after=st.floats(-10, 200_000),
)
def test_phases_follow_each_other_in_order(
    life: int, window: int, buffer: int, after: float
) -> None:
    session = make(NOW + life, NOW + window)
    order = list(Phase)
    earlier, later = (session.phase(NOW + t, buffer) for t in (after, after + 1))
    assert order.index(earlier) <= order.index(later)
    assert (session.phase(NOW + after, buffer) is Phase.ENDED) == (window <= after)
    if 0 <= after < min(life / 2, window):
        assert session.phase(NOW + after, buffer) is Phase.FRESH


def test_the_claims_are_as_the_contract_says() -> None:
    claims = make().to_claims()
    assert claims.pop("jti") != make().to_claims()["jti"]
    assert claims == {
        "sub": "1",
        "name": "alice",
        "email": "alice@example.com",
        "data": {
            "tokens": {"access": "access", "refresh": "refresh"},
            "user": {
                "id": 1,
                "email": "alice@example.com",
                "roles": ["admin"],
                "scopes": ["read"],
            },
            "validity": {"valid_until": NOW + 900, "refresh_until": NOW + 604_800},
            "sid": "sid",
            "auth_time": NOW + 0.5,
        },
        "iat": NOW,
        "exp": NOW + 604_800,
    }


def test_unknown_members_survive_a_renewal() -> None:
    claims = make().to_claims()
    claims |= {"picture": "p", "error": "Failed"}
    claims["data"]["more"] = [1]
    for part in ("tokens", "user", "validity"):
        claims["data"][part]["more"] = part
    opened = Session.from_claims(json.loads(json.dumps(claims)))
    assert opened.to_claims()["error"] == "Failed"
    renewed = opened.renewed(
        Identity(1, roles=("editor",)), TokenPair("a2", "r2", 60, 60), Validity(NOW, NOW), NOW + 1
    )
    assert renewed.tokens == TokenPair("a2", "r2")
    assert renewed.identity == Identity(1, "alice@example.com", "alice", ("editor",))
    again = renewed.to_claims()
    assert again["picture"] == "p"
    assert again["data"]["more"] == [1]
    for part in ("tokens", "user", "validity"):
        assert again["data"][part]["more"] == part
    assert "error" not in again
    assert again["data"]["sid"] == "sid"
    assert again["iat"] == NOW + 1


def test_claims_of_a_nextjs_application_are_read() -> None:
    opened = Session.from_claims(
        {
            "sub": "7",
            "name": "Alice",
            "data": {
                "tokens": {"access": "a", "refresh": "r"},
                "user": {"email": "a@example.com"},
                "validity": {"valid_until": NOW, "refresh_until": NOW + 9},
            },
            "iat": NOW,
            "exp": NOW + 5,
        },
    )
    assert opened.identity == Identity("7", "a@example.com", "Alice")
    assert opened.validity.refresh_until == NOW + 5, "exp is earlier than refresh_until"
    assert opened.sid == "y3Q1xibSTxsAO3X183_s7Q", "the id is derived from the refresh token"
    assert opened.authenticated_at == NOW


def test_a_new_session_has_its_own_id() -> None:
    one, two = (
        Session.start(Identity(1), TokenPair("a", "r", 9, 9), Validity(NOW, NOW), NOW + 0.7)
        for _ in range(2)
    )
    assert one.sid != two.sid
    assert one.tokens == TokenPair("a", "r")
    assert (one.issued_at, one.authenticated_at) == (NOW, NOW + 0.7)


def claims_with(path: str, value: Any) -> dict[str, Any]:
    claims = make().to_claims()
    *parents, name = path.split(".")
    place = claims
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return claims


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", ...),
        ("data", []),
        ("data.tokens", None),
        ("data.tokens.access", ""),
        ("data.tokens.refresh", 1),
        ("data.user.id", True),
        ("data.user.id", 1.5),
        ("data.user.id", ""),
        ("data.validity.valid_until", ...),
        ("data.validity.valid_until", 1.5),
        ("data.validity.valid_until", -1),
        ("data.validity.valid_until", 10**400),
        ("data.validity.refresh_until", True),
        ("data.validity.refresh_until", "1790000000"),
        ("exp", ...),
        ("exp", 10**12),
        ("iat", ...),
        ("iat", None),
    ],
)
def test_c9_claims_that_are_no_session_are_rejected(path: str, value: Any) -> None:
    with pytest.raises(NotASession):
        Session.from_claims(claims_with(path, value))


@pytest.mark.parametrize(
    ("path", "value", "seen", "means"),
    [
        ("data.user", "x", "id", "1"),  # the id is the value of sub
        ("data.user.id", None, "id", "1"),
        ("data.user.email", 1, "email", "alice@example.com"),
        ("name", {"first": "Alice"}, "name", None),
        ("data.user.roles", "site admin", "roles", ("site admin",)),
        ("data.user.roles", "", "roles", ()),
        ("data.user.roles", [{"id": 1, "name": "admin"}], "roles", ()),
        ("data.user.roles", {"admin": True}, "roles", ()),
        ("data.user.roles", 1, "roles", ()),
        ("data.user.scopes", ["read", None, ""], "scopes", ("read",)),
    ],
)
def test_unusable_identity_values_do_not_end_the_session(
    path: str, value: Any, seen: str, means: Any
) -> None:
    opened = Session.from_claims(claims_with(path, value))
    assert getattr(opened.identity, seen) == means
    again = opened.renewed(opened.identity, opened.tokens, opened.validity, NOW).to_claims()
    assert Session.from_claims(again).identity == opened.identity


def test_a_renewal_removes_an_error_of_any_type() -> None:
    opened = Session.from_claims(claims_with("error", {"code": 1}))
    assert opened.to_claims()["error"] == {"code": 1}
    assert (
        "error"
        not in opened.renewed(opened.identity, opened.tokens, opened.validity, NOW).to_claims()
    )


@pytest.mark.parametrize("sid", [..., None, "", 1, ["x"]])
def test_a_session_without_a_valid_id_always_gets_the_same_id(sid: Any) -> None:
    claims = claims_with("data.sid", sid)
    assert Session.from_claims(claims).sid == Session.from_claims(claims).sid != "sid"


@pytest.mark.parametrize(
    "began", [..., None, "now", True, -1, 10**400, float("inf"), float("nan"), [1]]
)
def test_without_a_valid_auth_time_the_time_of_issue_is_used(began: Any) -> None:
    assert Session.from_claims(claims_with("data.auth_time", began)).authenticated_at == NOW


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    "sub", "name", "email", "data", "data.tokens", "data.tokens.access", "data.user",
    "data.user.id", "data.user.roles", "data.validity", "data.validity.valid_until", "data.sid",
    "data.auth_time", "iat", "exp", "error",
]  # fmt: skip


@given(path=st.sampled_from(PATHS), value=JSON, now=st.floats(0, 1e12))
def test_c9_any_value_in_the_claims_is_accepted_or_rejected(
    path: str, value: Any, now: float
) -> None:
    try:
        session = Session.from_claims(claims_with(path, value))
    except NotASession:
        return
    session.phase(now, 300)
    assert Session.from_claims(session.to_claims()).identity == session.identity


@given(JSON)
def test_c9_json_that_is_no_object_is_rejected(value: Any) -> None:
    assume(not isinstance(value, dict))
    with pytest.raises(NotASession):
        Session.from_claims(value)


@pytest.mark.parametrize(
    "token",
    ["", "opaque", "a.b", "a.!!!.c", "a.W10.c", "a.bnVsbA.c", "ä.ä.ä", "a." + "W" * 99_999 + ".c"],
)
def test_a_token_that_is_no_jwt_has_no_claims(token: str) -> None:
    assert jwt_claims(token) == {}


def test_repr_contains_no_secrets() -> None:
    text = repr(make())
    for secret in ("'access'", "'refresh'"):
        assert secret not in text


def test_the_largest_part_of_a_session_is_named() -> None:
    assert make().largest_part().startswith("everything else has 3")
    tokens = TokenPair("a", "r" * 999)
    big = Session.start(Identity(1), tokens, Validity(NOW, NOW), NOW)
    assert big.largest_part() == "the refresh token has 999 bytes"
    opaque = Session.start(Identity(1), TokenPair("a" * 999, "r"), Validity(NOW, NOW), NOW)
    assert opaque.largest_part() == "the access token has 999 bytes"
