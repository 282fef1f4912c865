"""What the user sees, and what the log says, if a setting does not fit the backend."""

from typing import Any

import pytest
from webob import Response as Answer

from servers import LOGIN, Served
from site_under_test import Site

PAGE = "Sign-in is not available right now because of a fault at this site."


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"backend__verify": f"secret:{'k' * 32}"}, "InvalidAlgorithmError: its alg is 'EdDSA'"),
        (
            {"backend__verify": f"secret:{'k' * 32}"},
            "see authapp.backend.verify, which is secret:…",
        ),
        (
            {"backend__verify": "{jwks}", "backend__issuer": "https://other.example"},
            "its iss is None, and authapp.backend.issuer is https://other.example",
        ),
        (
            {"backend__verify": "{jwks}", "backend__audience": "me"},
            "its aud is None, and authapp.backend.audience is me",
        ),
        ({"backend__login": "POST /nowhere\nname = {username}"}, "see authapp.backend.login"),
        ({"backend__answer__access": "body.token"}, "see authapp.backend.answer.*"),
        (
            {"claims__id": "employee.number"},
            "no user in employee.number, which authapp.claims.id names; there are",
        ),
    ],
)
def test_setting_that_does_not_fit(
    backend: Served, caplog: pytest.LogCaptureFixture, keys: dict[str, str], said: str
) -> None:
    jwks = f"jwks:{backend.url}/.well-known/jwks.json"
    site = Site(backend.url, **{key: text.replace("{jwks}", jwks) for key, text in keys.items()})
    answer = site.sign_in(status=503)
    assert PAGE in answer
    assert "try again in a moment" not in answer.text.lower()
    (line,) = [each for each in caplog.messages if each.startswith("UnexpectedAnswer: sign-in")]
    assert said in line
    assert "k" * 32 not in caplog.text


KEYS = "/.well-known/jwks.json"
OTHERS = {"kty": "OKP", "crv": "Ed25519", "kid": "theirs", "x": "A" * 43}


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (Answer(json_body={"keys": [OTHERS]}), "UnexpectedAnswer"),
        (Answer(status=404), "BackendUnavailable"),
    ],
    ids=["of another issuer", "not there"],
)
def test_a_key_set_that_does_not_fit_is_logged_with_its_setting(
    backend: Served, caplog: pytest.LogCaptureFixture, keys: Answer, code: str
) -> None:
    backend.instead[KEYS] = keys
    answer = Site(backend.url, backend__verify=f"jwks:{backend.url}{KEYS}").sign_in(status=503)
    assert (PAGE in answer) is (code == "UnexpectedAnswer")
    (line,) = [each for each in caplog.messages if ": sign-in: " in each]
    assert line.startswith(f"{code}: sign-in: the key set has no key for a token;")
    assert "see authapp.backend.verify" in line


@pytest.mark.parametrize("seconds", [-3 * 3600, 3 * 3600])
def test_clock_of_the_backend_is_hours_off(
    backend: Served, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    import time

    import jwt

    def token(life: int) -> str:
        began = int(time.time()) + seconds
        return jwt.encode({"user_id": 1, "iat": began, "exp": began + life}, "k" * 32)

    backend.instead[LOGIN] = Answer(json_body={"access": token(300), "refresh": token(9000)})
    assert PAGE in Site(backend.url).sign_in(status=503)
    assert "compare the clocks here and at the backend" in caplog.text


def test_down_is_no_fault_of_configuration(backend: Served) -> None:
    backend.instead[LOGIN] = Answer(status=503)
    answer = Site(backend.url).sign_in(status=503)
    assert PAGE not in answer
    assert "not responding right now" in answer


REFUSED: dict[str, Any] = {"code": "no_active_account", "detail": "Buy <b>more</b>\r\nalice-word"}


@pytest.mark.parametrize(("shown", "there"), [("true", True), ("false", False)])
def test_the_backends_own_words_are_shown_if_the_settings_say_so(
    backend: Served, shown: str, there: bool
) -> None:
    backend.instead[LOGIN] = Answer(status=401, json_body=REFUSED)
    site = Site(backend.url, login__show_reason=shown)
    answer = site.sign_in("alice", "secret password", status=401)
    assert ("<q>Buy &lt;b&gt;more&lt;/b&gt; alice-word</q>" in answer) is there
    assert "do not match" in answer


def test_words_that_repeat_the_password_are_not_shown(backend: Served) -> None:
    backend.instead[LOGIN] = Answer(status=401, json_body=REFUSED)
    answer = Site(backend.url, login__show_reason="true").sign_in("alice", "alice-word", status=401)
    assert "alice-word" not in answer
