"""Pyramid and Next.js decrypt each other's tokens, and Next.js knows who is signed in."""

import json
import time

import pytest

from authapp.session.cookies import SessionCookie
from authapp.session.encryption import Sealer
from authapp.session.session import Session
from nextjs.shared_cookie import EXPIRED, FORMATS, NAMES, NEW, OLD, WEEK, Both, later
from nextjs_side import NextSide, in_base64
from session.test_encryption import PEERS


def session_of(extra: int = 0) -> Session:
    now = int(time.time())
    return Session.from_claims(
        {
            "sub": "1",
            "iat": now,
            "exp": now + WEEK,
            "picture": "kept",
            "data": {
                "tokens": {"access": "access", "refresh": "refresh"},
                "user": {"id": 1},
                "validity": {"valid_until": now + 900, "refresh_until": now + WEEK},
                "sid": "sid",
                "more": "é" + "x" * extra,
            },
        }
    )


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("extra", [0, 6000], ids=["single", "chunked"])
def test_nextjs_decrypts_a_token_of_pyramid(packages: NextSide, secure: bool, extra: int) -> None:
    name = NAMES[packages.version, secure]
    sealer = Sealer([NEW.encode(), OLD.encode()], FORMATS[packages.version], name)
    session = session_of(extra)
    token = sealer.seal(session)
    salt = {"salt": name} if packages.version == 5 else {}
    claims = packages.ask("decode", token=token, secret=NEW, **salt)
    assert {**claims, "jti": ""} == {**session.to_claims(), "jti": ""}
    written = SessionCookie(name, secure).write(token, WEEK)
    assert len(written) == (3 if extra else 1)
    cookie = "; ".join(["theme=dark", *(each.partition(";")[0] for each in reversed(written))])
    # No cookie name is given, so the packages use their default names.
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=NEW) == claims
    assert packages.ask("getToken", cookie=cookie, secureCookie=not secure, secret=NEW) is None
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=OLD) is None


@pytest.mark.parametrize("secure", [False, True])
def test_pyramid_decrypts_a_token_of_nextjs(packages: NextSide, secure: bool) -> None:
    name = NAMES[packages.version, secure]
    sealer = Sealer([NEW.encode(), OLD.encode()], FORMATS[packages.version], name)
    claims = {**session_of().to_claims(), "a claim of theirs": {"deep": [1, None, "é"]}}
    salt = {"salt": name} if packages.version == 5 else {}
    for secret in (NEW, OLD):
        token = packages.ask("encode", token=claims, secret=secret, maxAge=WEEK, **salt)
        opened = sealer.open(token)
        assert opened.sid == "sid"
        again = packages.ask("decode", token=sealer.seal(opened), secret=NEW, **salt)
        assert again["a claim of theirs"] == {"deep": [1, None, "é"]}
        assert again["data"] == claims["data"]


def test_nextjs_accepts_several_secrets(packages: NextSide) -> None:
    """Next.js decrypts a cookie with any of several secrets. @auth/core has code for this.
    next-auth 4 needs the code of docs/nextjs.md."""
    name = NAMES[packages.version, False]
    secrets = {"secret": [NEW, OLD]} if packages.version == 5 else {}
    for secret in (NEW, OLD, "another secret, which neither side knows"):
        token = Sealer([secret.encode()], FORMATS[packages.version], name).seal(session_of())
        claims = packages.ask("getToken", cookie=f"{name}={token}", **secrets)
        assert (claims is not None) == (secret in (NEW, OLD))


def test_nextjs_reads_the_session_without_writing_a_cookie(both: Both) -> None:
    if both.side.version == 4:
        both.pyramid.sign_in()
        cookie = both.header()
        assert both.side.ask("sessionOf", cookie=cookie)["data"]["user"]["id"] == 1
        assert both.side.ask("sessionOf", cookie="") is None
        with later(EXPIRED):
            assert both.side.ask("sessionOf", cookie=cookie) is None
        assert both.header() == cookie


@pytest.mark.parametrize(
    ("pyramid", "way"),
    [
        ("", "/login?next=%2Fa%3Fb%3Dc"),
        (
            "https://app.example.com/",
            "https://app.example.com/login?next=http%3A%2F%2Flocalhost%2Fa%3Fb%3Dc",
        ),
    ],
    ids=["one host", "two hosts"],
)
def test_the_way_in_leads_to_pyramid_and_back(packages: NextSide, pyramid: str, way: str) -> None:
    assert packages.ask("wayIn", path="/a?b=c", environ={"PYRAMID_URL": pyramid}) == way
    packages.ask("wayIn", path="/", environ={"PYRAMID_URL": ""})


def test_nobody_and_to_be_renewed_are_two_states(both: Both) -> None:
    if both.side.version == 4:
        both.pyramid.sign_in()
        cookie = both.header()
        state = lambda: both.side.ask("stateOf", cookie=cookie)["state"]  # noqa: E731
        assert state() == "signed-in"
        with later(EXPIRED):
            assert state() == "to-renew"
        with later(WEEK + 1):
            assert state() == "nobody"
        assert both.side.ask("stateOf", cookie="") == {"state": "nobody"}


def test_secrets_survive_the_environment(packages: NextSide) -> None:
    secrets = ["with a $HOME # and ${more}", "ünï 'quoted' \"twice\"", "  at the ends \n"]
    read = packages.ask("secrets", environ={"SESSION_SECRETS": in_base64(*secrets)})
    packages.ask("secrets", environ={"SESSION_SECRETS": in_base64(NEW, OLD)})
    assert read == [each.strip() for each in secrets]


def test_the_real_packages_decrypt_the_tokens_of_unit_tests(packages: NextSide) -> None:
    for each in json.loads(PEERS.read_text()):
        if each["format"] == FORMATS[packages.version]:
            salt = {"salt": each["cookie"]} if packages.version == 5 else {}
            claims = packages.ask("decode", token=each["token"], secret=each["secret"], **salt)
            assert claims["picture"] == "kept"
