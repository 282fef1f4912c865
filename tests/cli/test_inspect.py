"""``authapp inspect`` reads a cookie from standard input and describes the session in it."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result

from authapp.cli.commands import MOST, authapp
from authapp.session.encryption import Sealer, fingerprint
from authapp.session.session import Identity, Session, TokenPair, Validity

OLD, NEW, OTHER = (f"a secret for tests that is long enough, {each}" for each in "123")
NAME = "authapp.session"
ACCESS = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIiwiZXhwIjo5OTl9.c2lnbmF0dXJl"
REFRESH = "an-opaque-refresh-token"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, **more: str) -> Path:
    settings = {"development": "true", "secret": f"\n  {NEW}\n  {OLD}", "backend.url": "http://x"}
    lines = [f"authapp.{name} = {text}" for name, text in {**settings, **more}.items()]
    path = folder / "site.ini"
    path.write_text("\n".join(["[app:main]", "use = egg:authapp", *lines]))
    return path


def session(left: int = 900, **more: Any) -> Session:
    now = int(time.time())
    validity = Validity(now + left, now + 9000)
    pair = TokenPair(ACCESS, REFRESH)
    made = Session.start(Identity(1, "alice@example.com", "alice"), pair, validity, now)
    return replace(made, **more)


def token(value: Session, secret: str = NEW, form: str = "next-auth-4", name: str = NAME) -> str:
    return Sealer([secret.encode()], form, name).seal(value)


def inspect(ini: Path, text: str | bytes, *options: str) -> Result:
    return CliRunner().invoke(authapp, ["inspect", *options, str(ini)], input=text)


def found(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_claims_the_phase_and_the_secret_are_shown_and_tokens_as_digests(ini: Path) -> None:
    made = session()
    result = inspect(ini, token(made, OLD), "--json")
    shown = found(result)
    assert shown["phase"] == "fresh"
    assert 800 < shown["valid_for"] <= 900
    assert shown["secret"] == {"line": 2, "fingerprint": fingerprint(OLD.encode())}
    assert shown["session"] == made.digest
    assert shown["claims"]["sub"] == "1"
    assert shown["claims"]["data"]["user"]["email"] == "alice@example.com"
    assert shown["claims"]["data"]["tokens"]["access"].startswith("sha256:")
    assert shown["access_token"] == {"sub": "1", "exp": 999}
    for secret in (ACCESS, REFRESH, made.sid, OLD, NEW):
        assert secret not in result.output


def test_the_kind_of_a_token_is_shown_and_a_token_in_a_claim_is_not(ini: Path) -> None:
    access = jwt.encode({"token_type": "access", "id_token": REFRESH}, NEW)
    result = inspect(ini, token(session(tokens=TokenPair(access, REFRESH))), "--json")
    assert found(result)["access_token"]["token_type"] == "access"
    assert found(result)["access_token"]["id_token"].startswith("sha256:")


def test_tokens_are_shown_on_request(ini: Path) -> None:
    shown = found(inspect(ini, token(session()), "--json", "--tokens"))
    assert shown["claims"]["data"]["tokens"] == {"access": ACCESS, "refresh": REFRESH}


def test_a_person_reads_when_the_tokens_end(ini: Path) -> None:
    result = inspect(ini, token(session(-7300)))
    assert result.exit_code == 0
    assert "phase     expired" in result.output
    assert "2 hours ago" in result.output
    assert "in 2 hours" in result.output
    assert "\x1b" not in result.output
    assert REFRESH not in result.output


def long_session() -> Session:
    return session(claims={"data": {"notes": ["x" * 4000], "id_token": "a.b.c"}})


@pytest.mark.parametrize(
    "form",
    [
        "Cookie: a=b; {0}; {1}; c=d",
        "{0}; {1}",
        "{0}\n{1}\n",
        "Set-Cookie: {0}; Path=/\nSet-Cookie: {1}; Path=/",
        "'{0}; {1}'",
    ],
)
def test_chunks_and_whole_headers_are_read(ini: Path, form: str) -> None:
    whole = token(long_session())
    chunks = f"{NAME}.0={whole[:3900]}", f"{NAME}.1={whole[3900:]}"
    assert 3900 < len(whole) < 7800
    result = inspect(ini, form.format(chunks[0], chunks[1]), "--json")
    data = found(result)["claims"]["data"]
    assert data["notes"] == ["x" * 4000]
    assert data["id_token"].startswith("sha256:")


def test_bare_values_of_chunks_are_read_one_after_the_other(ini: Path) -> None:
    whole = token(long_session())
    assert found(inspect(ini, f"{whole[:3900]}\n{whole[3900:]}\n", "--json"))["ok"]


def problem(result: Result) -> str:
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("as_json", [False, True])
def test_a_cookie_of_another_secret_is_not_opened(ini: Path, as_json: bool) -> None:
    text = problem(inspect(ini, token(session(), OTHER), *["--json"] * as_json))
    assert "no secret decrypts it" in text
    assert fingerprint(NEW.encode()) in text
    if as_json:
        assert json.loads(text)["ok"] is False


def test_the_format_that_decrypts_a_cookie_is_named(ini: Path) -> None:
    text = problem(inspect(ini, token(session(), form="authjs-5")))
    assert "authapp.session.format = authjs-5 decrypts it" in text
    text = problem(inspect(ini, token(session(), OTHER, "authjs-5")))
    assert "encrypted with A256CBC-HS512; next-auth-4 has A256GCM" in text


def test_in_authjs_5_the_name_of_the_cookie_counts(tmp_path: Path) -> None:
    ini = write(tmp_path, **{"session.format": "authjs-5"})
    text = problem(inspect(ini, token(session(), form="authjs-5", name="other")))
    assert "the cookie's name counts too" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing on standard input"),
        ("abc", "not an encrypted session: it needs 5 parts, not 1; a chunk"),
        ("a.b.c.d.e", "not an encrypted session: its first part"),
        ("eyJlbmMiOiJcdTAwMDAifQ..a.b.c", "encrypted with something else"),
        ("W10..a.b.c", "not an encrypted session"),
        ("Cookie: a=1; b=2", "there is no cookie authapp.session, which authapp.session.cookie"),
        ("x" * (MOST + 1), f"more than {MOST} characters"),
        (b"\xff\xfe", "Standard input is not text."),
    ],
)
def test_what_is_no_session_is_named(ini: Path, text: str | bytes, said: str) -> None:
    assert said in problem(inspect(ini, text))


def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    ini = write(tmp_path, secret="short")
    assert "authapp.secret: it has fewer than 32 bytes" in problem(inspect(ini, "x"))
    assert "No such file" in problem(inspect(tmp_path / "none.ini", "x"))
