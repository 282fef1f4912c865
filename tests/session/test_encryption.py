"""Encrypting and decrypting session tokens: contract section 2, threats C1 to C9."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe

from authapp.session import base64url
from authapp.session.encryption import FORMATS, MAX_TOKEN_LENGTH, CannotOpen, Sealer, derive
from session.test_session import make

NEW, OLD = b"a new secret of at least 32 bytes ...", b"an old secret of at least 32 bytes .."
NAME = "authapp.session"
PEERS = Path(__file__).parent / "peers.json"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
BOTH = pytest.mark.parametrize("name", FORMATS)


def sealer(name: str = "next-auth-4", *secrets: bytes, cookie: str = NAME) -> Sealer:
    return Sealer(secrets or (NEW,), name, cookie)


def sealed(claims: object, name: str = "next-auth-4", header: Any = None, **more: Any) -> str:
    """Encrypt any claims, with any header, with the right key. Return the token of the session
    cookie."""
    form = FORMATS[name]
    key = form.key(NEW, NAME)
    registry = jwe.JWERegistry(algorithms=["dir", "A256GCM", "A256CBC-HS512", "A128GCM", "DEF"])
    text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jwe.encrypt_compact(header or form.header(key), text, key, registry=registry)


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


@pytest.mark.parametrize("padded", [b"", b"{}" + b"\0" * 14, b"{}" + b"\x11" * 14])
def test_wrong_padding_is_rejected_even_with_our_own_key(padded: bytes) -> None:
    form = FORMATS["authjs-5"]
    key = form.key(NEW, NAME)
    header, _ = form.with_key(key)
    aes = Cipher(AES(key.raw_value[32:]), CBC(b"i" * 16)).encryptor()
    ciphertext = aes.update(padded) + aes.finalize()
    signed = header.encode() + b"i" * 16 + ciphertext + (8 * len(header)).to_bytes(8, "big")
    tag = hmac.digest(key.raw_value[:32], signed, "sha512")[:32]
    rest = ".".join(map(base64url.encode, (b"i" * 16, ciphertext, tag)))
    with pytest.raises(CannotOpen, match="no secret decrypts"):
        sealer("authjs-5").open(f"{header}..{rest}")


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
def test_bytes_cannot_be_moved_between_ciphertext_and_tag(name: str) -> None:
    """authapp rejects a token if three of its bytes were moved from the ciphertext to the tag or
    back, although the two segments together still have the same bytes."""
    header, _, iv, ciphertext, tag = sealer(name).seal(make()).split(".")
    raw = base64.urlsafe_b64decode(ciphertext + "=" * (-len(ciphertext) % 4))
    raw += base64.urlsafe_b64decode(tag + "==")
    for cut in (len(raw) - 13, len(raw) - 19):
        moved = (base64.urlsafe_b64encode(each).rstrip(b"=") for each in (raw[:cut], raw[cut:]))
        token = ".".join((header, "", iv, *(each.decode() for each in moved)))
        with pytest.raises(CannotOpen):
            sealer(name).open(token)


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


@BOTH
@given(data=st.data())
def test_c2_a_token_with_one_flipped_bit_is_rejected(name: str, data: st.DataObject) -> None:
    token = sealer(name).seal(make())
    position = data.draw(st.integers(0, len(token) - 1))
    bit = data.draw(st.integers(0, 6))
    flipped = token[:position] + chr(ord(token[position]) ^ 1 << bit) + token[position + 1 :]
    with pytest.raises(CannotOpen):
        sealer(name).open(flipped)


@BOTH
@given(data=st.data())
def test_c3_truncated_extended_or_reencoded_tokens_are_rejected(
    name: str, data: st.DataObject
) -> None:
    token = sealer(name).seal(make())
    segments = token.split(".")
    which = data.draw(st.sampled_from([0, 2, 3, 4]))
    change = data.draw(
        st.sampled_from(
            [
                lambda s: s[:-1],
                lambda s: s + "A",
                lambda s: s + "=",
                lambda s: s + "\n",
                lambda s: " " + s,
                lambda s: s.translate(str.maketrans("-_", "+/")) + "+",
                lambda s: s[:-1] + chr(ord(s[-1]) + 1),
                lambda s: "",
            ]
        )
    )
    segments[which] = change(segments[which])
    with pytest.raises(CannotOpen):
        sealer(name).open(".".join(segments))


def test_c3_a_token_with_an_encrypted_key_is_rejected() -> None:
    """Threat C3. Tokens have no encrypted key (algorithm ``dir``). So a token is rejected if its
    segment for such a key is not empty."""
    header, _, *rest = sealer().seal(make()).split(".")
    assert opens(".".join([header, "", *rest]))
    assert not opens(".".join([header, "AAAA", *rest]))


def test_c3_the_spare_bits_of_the_last_character_cannot_be_changed() -> None:
    """Threat C3. Many base64url decoders ignore the last bits of the last character. authapp
    rejects a token in which these bits were changed."""
    token = sealer().seal(make())
    spellings = [token[:-1] + last for last in ALPHABET]
    assert token in spellings
    assert [each for each in spellings if opens(each)] == [token]


@given(raw=st.binary(min_size=1))
def test_c3_bytes_have_exactly_one_encoding(raw: bytes) -> None:
    """Threat C3. authapp accepts only one base64url text for the same bytes, even if Python's
    decoder accepts several."""
    text = base64url.encode(raw)
    standard = base64.b64encode(raw).decode()
    assert text == standard.translate(str.maketrans("+/", "-_", "="))
    spellings = {text[:-1] + last for last in ALPHABET} | {standard, f"{text}=", f"{text}\n"}
    assert {each for each in spellings | {text} if decoded_or_none(each) == raw} == {text}


@given(
    raw=st.binary(max_size=40),
    odd=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("=+/ \n.*é")), max_size=4),
    cut=st.integers(0, 3),
)
def test_c3_text_with_odd_characters_is_canonical_or_rejected(
    raw: bytes, odd: list[tuple[int, str]], cut: int
) -> None:
    text = base64url.encode(raw)
    for position, character in odd:
        text = text[:position] + character + text[position:]
    text = text[: len(text) - cut]
    found = decoded_or_none(text)
    assert found is None or base64url.encode(found) == text


def decoded_or_none(text: str) -> bytes | None:
    try:
        return base64url.decode(text)
    except ValueError:
        return None


def opens(token: str) -> bool:
    try:
        sealer().open(token)
    except CannotOpen:
        return False
    return True


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RSA-OAEP", "enc": "A256GCM"},
        {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2s": "AA", "p2c": 10**9},
        {"alg": "ECDH-ES", "enc": "A256GCM", "epk": {}},
        {"alg": "dir", "enc": "A128GCM"},
        {"alg": "dir", "enc": []},
        {"alg": "dir", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "dir", "enc": "A256GCM", "crit": [[]]},
        {"alg": "dir", "enc": "A256GCM", "kid": "another"},
        {"alg": "dir", "enc": "A256GCM", "jwk": {"kty": "oct", "k": "AA"}},
        {"enc": "A256GCM", "alg": "dir"},
    ],
)
@BOTH
def test_c4_a_forged_header_is_rejected(name: str, header: Any) -> None:
    token = sealer(name).seal(make())
    text = json.dumps(header, separators=(",", ":")).encode()
    forged = base64.urlsafe_b64encode(text).rstrip(b"=").decode() + token[token.index(".") :]
    with pytest.raises(CannotOpen):
        sealer(name).open(forged)


def test_c4_compression_is_rejected_even_with_our_own_key() -> None:
    with pytest.raises(CannotOpen):
        sealer().open(
            sealed(make().to_claims(), header={"alg": "dir", "enc": "A256GCM", "zip": "DEF"})
        )


@pytest.mark.parametrize(
    "header",
    [
        {"enc": "A256GCM", "alg": "dir"},
        {"alg": "dir", "enc": "A256GCM", "typ": "JWT"},
        {"alg": "dir", "enc": "A256GCM", "kid": "another"},
    ],
)
def test_c4_another_header_is_rejected_even_with_our_own_key(header: Any) -> None:
    """Threat C4. authapp compares the header of a token with the expected bytes, and never parses
    the header."""
    assert opens(sealed(make().to_claims()))
    assert not opens(sealed(make().to_claims(), header=header))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{}",
        b'{"data": []}',
        b'{"data": {"tokens": []}}',
        b'{"data": {"tokens": {"refresh": "\\ud800"}}}',
        b"\xff",
        b"[" * 10_000,  # the token is short enough to be decrypted
        b"1" * 10_000,
    ],
)
def test_c9_an_encrypted_text_that_is_no_session_is_rejected(text: bytes) -> None:
    with pytest.raises(CannotOpen):
        sealer().open(sealed(text))


@pytest.mark.parametrize("member", ["NaN", "Infinity", '"\\ud800"', '"\\uDFFF"'])
def test_c9_invalid_json_is_rejected(member: str) -> None:
    text = json.dumps(make().to_claims())[:-1] + f', "more": {member}}}'
    with pytest.raises(CannotOpen):
        sealer().open(sealed(text.encode()))


def test_a_surrogate_pair_in_json_is_accepted() -> None:
    text = json.dumps({**make().to_claims(), "name": "🔑"})
    assert "\\ud83d" in text
    assert sealer().open(sealed(text.encode())).identity.name == "🔑"


@given(st.text(max_size=300))
def test_c1_any_text_is_rejected(text: str) -> None:
    with pytest.raises(CannotOpen):
        sealer().open(text)


def test_c1_too_long_texts_are_rejected() -> None:
    with pytest.raises(CannotOpen):
        sealer().open("A" * 1_000_000)
    token = sealer().seal(make())
    with pytest.raises(CannotOpen):
        sealer().open(token + "A" * MAX_TOKEN_LENGTH)


def test_c1_a_too_long_token_is_rejected_even_with_our_own_key() -> None:
    """Threats C1, C14. A token that is too long is rejected without decrypting it."""
    claims = make().to_claims()
    assert opens(sealed(claims))
    assert not opens(sealed({**claims, "padding": "x" * MAX_TOKEN_LENGTH}))


def test_o6_rejected_tokens_are_not_cached() -> None:
    opener = sealer()
    for number in range(100):
        with pytest.raises(CannotOpen):
            opener.open(f"e30..{number}.AA.AA")
    assert opener.open.cache_info().currsize == 0


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
    """authapp decrypts tokens that next-auth and @auth/core have made. tests/nextjs/test_nextjs.py
    decrypts the same tokens with these packages."""
    opener = sealer(peer["format"], peer["secret"].encode(), cookie=peer["cookie"])
    session = opener.open(peer["token"])
    assert session.identity.id == 1
    assert session.identity.roles == ("admin",)
    assert session.tokens.refresh == "refresh"
    assert session.validity.valid_until == 4790000900
    assert session.to_claims()["picture"] == "kept"
    header = opener.seal(make()).partition(".")[0]
    assert peer["token"].startswith(header + ".")
