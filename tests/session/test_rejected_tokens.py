"""Tokens that are changed, forged, too long or not a session are rejected: C1 to C4, C9 and O6."""

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from authapp.session import base64url
from authapp.session.encryption import FORMATS, MAX_TOKEN_LENGTH, CannotOpen
from session.sealing import ALPHABET, BOTH, NAME, NEW, opens, sealed, sealer
from session.test_session import make


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
