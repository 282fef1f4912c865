"""Session tokens are encrypted and decrypted as contract section 2 says: threats C5 to C7."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe

from authapp.session.encryption import FORMATS, CannotOpen, derive
from session.sealing import BOTH, NAME, NEW, OLD, sealed, sealer
from session.test_session import make

PEERS = Path(__file__).parent / "peers.json"


@BOTH
def test_a_sealed_session_can_be_opened(name: str) -> None:
    session = make()
    token = sealer(name).seal(session)
    assert token.count(".") == 4
    opened = sealer(name).open(token)
    assert opened.tokens == session.tokens
    assert opened.sid == session.sid


@pytest.mark.parametrize("name", FORMATS)
@given(text=st.text(max_size=40))
def test_joserfc_decrypts_our_tokens(name: str, text: str) -> None:
    session = make(claims={"theme": text})
    form = FORMATS[name]
    key = form.key(NEW, NAME)
    opened = jwe.decrypt_compact(
        sealer(name).seal(session), key, algorithms=["dir", form.encryption]
    )
    claims, expected = json.loads(opened.plaintext), session.to_claims()
    assert claims.pop("jti") != expected.pop("jti")
    assert claims == json.loads(json.dumps(expected))
    assert opened.headers() == form.header(key)


def test_jwe_headers_match_those_of_auth_js() -> None:
    header = sealer().seal(make()).partition(".")[0]
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"dir","enc":"A256GCM"}'
    header = sealer("authjs-5").seal(make()).partition(".")[0]
    decoded = json.loads(base64.urlsafe_b64decode(header + "=="))
    assert list(decoded) == ["alg", "enc", "kid"]
    assert (decoded["alg"], decoded["enc"]) == ("dir", "A256CBC-HS512")


def test_keys_are_derived_as_the_contract_says() -> None:
    assert FORMATS["next-auth-4"].key(b"secret", "x").raw_value == derive(
        b"secret", "NextAuth.js Generated Encryption Key", 32
    )
    assert FORMATS["authjs-5"].key(b"secret", "x").raw_value == derive(
        b"secret", "Auth.js Generated Encryption Key (x)", 64, b"x"
    )


@BOTH
def test_c6_every_secret_decrypts_and_the_first_encrypts(name: str) -> None:
    old = sealer(name, OLD).seal(make())
    both = sealer(name, NEW, OLD)
    assert both.open(old).sid == "sid"
    assert sealer(name, NEW).open(both.seal(make())).sid == "sid"


@BOTH
def test_c5_a_removed_secret_decrypts_nothing(name: str) -> None:
    with pytest.raises(CannotOpen):
        sealer(name, NEW).open(sealer(name, OLD).seal(make()))


def test_c7_tokens_of_another_format_or_cookie_name_are_rejected() -> None:
    for name, other in (("next-auth-4", "authjs-5"), ("authjs-5", "next-auth-4")):
        with pytest.raises(CannotOpen):
            sealer(name).open(sealer(other).seal(make()))
    with pytest.raises(CannotOpen):
        sealer("authjs-5").open(sealer("authjs-5", cookie="another").seal(make()))


def test_a_surrogate_pair_in_json_is_accepted() -> None:
    text = json.dumps({**make().to_claims(), "name": "🔑"})
    assert "\\ud83d" in text
    assert sealer().open(sealed(text.encode())).identity.name == "🔑"


def test_an_opened_token_is_cached() -> None:
    opener = sealer()
    token = opener.seal(make())
    assert opener.open(token) is opener.open(token)


def test_a_missing_session_id_is_derived_from_the_refresh_token() -> None:
    claims = make().to_claims()
    del claims["data"]["sid"]
    one = sealer().open(sealed(claims))
    assert one.sid == sealer().open(sealed(claims)).sid
    # While secrets are changed, processes may have the secrets in different orders.
    for secrets in ((OLD, NEW), (NEW, OLD)):
        assert one.sid == sealer("next-auth-4", *secrets).open(sealed(claims)).sid
    claims["data"]["tokens"]["refresh"] = "another"
    assert one.sid != sealer().open(sealed(claims)).sid


@pytest.mark.parametrize("peer", json.loads(PEERS.read_text()), ids=lambda peer: peer["cookie"])
def test_tokens_of_the_real_packages_can_be_opened(peer: dict[str, str]) -> None:
    """authapp decrypts tokens that next-auth and @auth/core have made.
    tests/nextjs/test_decryption.py decrypts the same tokens with these packages."""
    opener = sealer(peer["format"], peer["secret"].encode(), cookie=peer["cookie"])
    session = opener.open(peer["token"])
    assert session.identity.id == 1
    assert session.identity.roles == ("admin",)
    assert session.tokens.refresh == "refresh"
    assert session.validity.valid_until == 4790000900
    assert session.to_claims()["picture"] == "kept"
    header = opener.seal(make()).partition(".")[0]
    assert peer["token"].startswith(header + ".")
