"""Reads the user from claims, with the expressions of the settings ``claims.*``."""

from dataclasses import dataclass
from typing import Any

from authapp.backend.expressions import Expression
from authapp.backend.http_exchange import in_one_line
from authapp.backend.protocol import UnexpectedAnswer
from authapp.session.claims import is_user_id, roles, text, texts
from authapp.session.session import Claims, Identity


@dataclass(frozen=True)
class ClaimExpressions:
    """The expressions that find the parts of an identity in claims."""

    id: Expression
    email: Expression
    name: Expression
    roles: Expression
    scopes: Expression


def read_identity(names: ClaimExpressions, claims: Claims, user: Claims) -> Identity:
    """Return the user that claims describe.

    :param claims: the claims of the tokens. Empty if no token is a JWT.
    :param user: further claims from the backend. The claims of the tokens have priority.
    :raises UnexpectedAnswer: if the claims have no user id.
    """
    known: dict[str, Any] = {**user, **claims}
    user_id = names.id(known)
    if not is_user_id(user_id):
        raise UnexpectedAnswer(
            f"no user in {names.id.source}, which authapp.claims.id names; there are"
            f" {in_one_line(', '.join(sorted(map(str, known)))) or 'no claims'}"
        )
    return Identity(
        user_id,
        text(names.email(known)),
        text(names.name(known)),
        roles(names.roles(known)),
        texts(names.scopes(known)),
        claims,
    )
