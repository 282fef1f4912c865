"""authapp reads the user and the roles from the claims of a token, or from user data beside it."""

from typing import Any

import pytest

from authapp.backend.expressions import expression
from authapp.backend.token_reader import Verify
from authapp.session.session import TokenPair, Validity
from backend.tokens import NAMES, NOW, SECRET, read, reader, refused, token


def test_claims_become_identity_and_validity() -> None:
    identity, validity = read(
        token(email="a@example.com", name="Alice", roles=["admin", 1, ""], scope="read write")
    )
    assert identity.id == "1"
    assert identity.email == "a@example.com"
    assert identity.name == "Alice"
    assert identity.roles == ("admin",)
    assert identity.scopes == ("read", "write")
    assert identity.claims["exp"] == NOW + 300
    assert validity == Validity(NOW + 300, NOW + 1000)


def test_claim_names_are_configurable() -> None:
    sources = {
        "id": "uid",
        "email": "contact.mail",
        "name": 'nick || "https://example.com/name"',
        "roles": "realm_access.roles",
        "scopes": "scp",
    }
    names = {name: expression(source) for name, source in sources.items()}
    access = token(
        uid=7,
        contact={"mail": "m"},
        **{"https://example.com/name": "al"},
        realm_access={"roles": ["r"]},
        scp={"x": 1},
    )
    identity, _ = reader(**names).read(TokenPair(access, "r"), NOW)
    assert (identity.id, identity.email, identity.name) == (7, "m", "al")
    assert (identity.roles, identity.scopes) == (("r",), ())


@pytest.mark.parametrize("sub", [..., None, "", True, 1.5, [], {}])
def test_a_token_without_a_usable_user_id_is_refused(sub: Any) -> None:
    assert "no user in sub || user_id || id" in refused(token(sub=sub))


def test_user_id_replaces_a_missing_sub() -> None:
    assert read(token(sub=..., user_id=3))[0].id == 3


def test_a_string_is_one_role_and_scopes_are_split_at_spaces() -> None:
    identity, _ = read(token(roles="Support admin", scope="read write"))
    assert identity.roles == ("Support admin",)
    assert identity.scopes == ("read", "write")
    assert read(token(roles={"admin": True}))[0].roles == ()


def test_role_expressions_read_nested_and_combined_claims() -> None:
    for source, claims in (
        ("authorities[].authority", {"authorities": [{"authority": "ROLE_ADMIN"}]}),
        ("split(roles, ',')", {"roles": "ROLE_ADMIN, "}),
        ('"https://example.com/roles"', {"https://example.com/roles": ["ROLE_ADMIN"]}),
        (
            'resource_access."my.app".roles',
            {"resource_access": {"my.app": {"roles": ["ROLE_ADMIN"]}}},
        ),
        ("[a, b][]", {"a": ["ROLE_ADMIN"], "b": []}),
    ):
        names = {**vars(NAMES), "roles": expression(source)}
        identity, _ = reader(**names).read(TokenPair(token(**claims), "r"), NOW)
        assert identity.roles == ("ROLE_ADMIN",), source


def test_user_data_in_the_response_describes_an_opaque_access_token() -> None:
    pair = TokenPair("opaque", "r", 60, None, {"id": 7, "email": "a@example.com", "roles": ["x"]})
    identity, validity = reader().read(pair, NOW)
    assert (identity.id, identity.email, identity.roles) == (7, "a@example.com", ("x",))
    assert validity == Validity(NOW + 60, NOW + 1000)
    # A claim of the token overrides the user data in the response.
    pair = TokenPair(token(email="b@example.com"), "r", 60, None, {"email": "a@example.com"})
    assert reader().read(pair, NOW)[0].email == "b@example.com"


def test_an_opaque_access_token_without_user_data_is_refused() -> None:
    assert "neither authapp.backend.answer.user nor" in refused("opaque", expires_in=60)
    assert "authapp.backend.verify cannot verify it" in refused(
        "opaque", Verify(secret=SECRET), expires_in=60
    )
