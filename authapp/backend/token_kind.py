"""Tells access tokens from the other tokens that an issuer signs with the same key.

An issuer signs refresh tokens, ID tokens and logout tokens too, often for the same audience. None
of them may be accepted in place of an access token (RFC 8725 sections 2.8 and 3.12).
"""

import re
from collections.abc import Mapping
from typing import Any

from authapp.backend.http_exchange import in_one_line

_ACCESS = {"access", "accesstoken", "atjwt", "bearer", "sliding"}
"""The names of the kind "access token", without case and punctuation (:func:`_word`): ``at+jwt``
(RFC 9068), ``Bearer`` (Keycloak), ``access`` (Cognito, SimpleJWT, django-allauth,
Flask-JWT-Extended) and ``sliding`` (SimpleJWT, django-ninja-jwt)."""

_KIND = {"tokentype", "tokenuse", "typ"}
"""The claims that name the kind of a token. They may be written ``token_type`` or ``tokenType``."""

_PERHAPS_KIND = {"kind", "purpose", "type", "use"}
"""The claims that name the kind of a token, or something else, such as the kind of an account."""

_OTHER_KINDS = re.compile("activ|confirm|id(token)?$|invit|logout|offline|refresh|reset|verif")
"""What other tokens call themselves in :data:`_PERHAPS_KIND`, as :func:`_word` returns it."""

_OF_ID_TOKENS = {"nonce", "athash", "chash", "shash"}
"""The claims of ID tokens (OpenID Connect Core section 3.3.2.11). An access token of an older
Keycloak has ``nonce`` too. It is accepted, because its ``typ`` is ``Bearer``."""

_SAYS_ACCESS = {"scope", "scp"}
"""The claims that access tokens have, and ID tokens do not (RFC 9068 section 2.2.3)."""

_NEVER = {
    "events": "a security event such as a sign-out has this claim (RFC 8417)",
    "cnf": "only the owner of a key may use the token (RFC 8705, RFC 9449)",
}


def why_not_access(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str | None:
    """Return why a token is not accepted as an access token. None: the token is accepted.

    If a token says that it is an access token, this is believed, because the issuer has signed it.
    A token that does not say its kind must have no claim of ID tokens. A token that only the owner
    of a key may use (``cnf``) is never accepted.

    :param header: the header of the token (RFC 7515 section 4).
    :param claims: the claims of the token.
    """
    given = [("typ of the header", "typ", header.get("typ"))]
    given += [(name, _letters(name), value) for name, value in claims.items()]
    given = [each for each in given if each[2] is not None]
    for name, plain, value in given:
        if plain in _NEVER:
            return f"it has {in_one_line(name)}: {_NEVER[plain]}"
        word = _word(value)
        is_other = plain in _KIND and word not in _ACCESS | {"jwt"} and not word.endswith("atjwt")
        if is_other or (plain in _PERHAPS_KIND and _OTHER_KINDS.match(word)):
            return f"its {in_one_line(name)} is {_shown(value)}"
    if any(_says_access(plain, value) for _, plain, value in given):
        return None
    for name, plain, value in given:
        if plain in _OF_ID_TOKENS and value:
            return f"it has {in_one_line(name)}, and does not say that it is an access token"
    return None


def _says_access(plain: str, value: object) -> bool:
    """Return True if a claim says that the token is an access token.

    Other claims do not count, because a user may have chosen their values.
    """
    if plain in _SAYS_ACCESS:
        return bool(value)
    return plain in _KIND and _word(value) in _ACCESS


def _shown(value: object) -> str:
    """Return the name of a kind for the log. The issuer has signed it, so it is no secret."""
    return repr(re.sub("[^ -~]", " ", str(value))[:40])


def _word(value: object) -> str:
    """Return the name of a kind of token without case, punctuation and prefix.

    Media types have the prefix ``application/`` (RFC 7515 section 4.1.9), and the names of RFC 8693
    section 3 have a prefix that ends with a colon.
    """
    return _letters(re.split("[/:]", value)[-1]) if isinstance(value, str) else ""


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.casefold())
