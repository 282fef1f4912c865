"""Suggests settings that would describe a response of a backend. The functions here are pure.

A suggestion is a line for the ini file, or a comment that begins with ``#``. The user has to judge
each suggestion, because only the backend's authors know what a response means.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from authapp.backend.description import Description
from authapp.backend.expressions import NEVER, Condition, Response
from authapp.backend.token_reader import ASYMMETRIC, Verify
from authapp.backend.token_values import MAX_TOKEN
from authapp.session.claims import is_user_id

_ACCESS = ("accesstoken", "access", "jwt", "token", "authtoken", "idtoken", "bearer", "key")
_REFRESH = ("refreshtoken", "refresh", "jwtrefresh", "refreshjwt")
_EXPIRES = ("expiresin", "accessexpiresin", "accesstokenexpiresin", "expires", "ttl", "maxage")
_IDS = ("id", "userid", "uid", "pk", "uuid", "sub", "username", "preferredusername", "email")
_ROLES = ("roles", "groups", "role", "permissions", "authorities")
_CODES = ("code", "error", "error_code", "errorCode", "type")

_TOKEN = re.compile(rf"(Bearer )?[!-~]{{16,{MAX_TOKEN}}}")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,60}", re.ASCII)
_DEEPEST = 5


def for_refusal(verb: str, setting: str, content: Response, described: Condition) -> list[str]:
    """Return lines that describe a response with which the backend refuses a request.

    :param verb: ``login``, ``refresh`` or ``logout``.
    :param setting: the condition, such as ``login.refused``.
    :param described: the present value of the setting. The suggestion extends this value.
    """
    status = content["status"]
    if status in (404, 405):
        return [f"# authapp.backend.{verb}: the method or the path in its first line is wrong"]
    found = f"status == `{status}`"
    code = next(
        (
            f"body.{path} == '{value}'"
            for path, value in _texts(content["body"])
            if path.rpartition(".")[2] in _CODES and _CODE.fullmatch(value)
        ),
        None,
    )
    found = " && ".join(filter(None, (found, code)))
    if described.expression is not None:
        now = " ".join(described.expression.source.split())
        return [f"authapp.backend.{setting} = {now} || {found}"]
    if code is None:
        statuses = sorted({*described.statuses, status})
        return [f"authapp.backend.{setting} = {' '.join(map(str, statuses))}"]
    before = "".join(f"status == `{each}` || " for each in sorted(described.statuses))
    return [f"authapp.backend.{setting} = {before}{found}"]


def for_tokens(content: Response) -> list[str]:
    """Return lines that say where the tokens are in a response."""
    tokens = [(path, value) for path, value in _texts(_parts(content)) if _TOKEN.fullmatch(value)]
    access = _best(tokens, _ACCESS)
    if access is None:
        return []
    lines = [f"authapp.backend.answer.access = {access}"]
    refresh = _best([each for each in tokens if each[0] != access], _REFRESH)
    if refresh is None:
        return [*lines, "# if there are no refresh tokens:", "authapp.backend.refresh = none"]
    return [*lines, f"authapp.backend.answer.refresh = {refresh}"]


def for_lifetime(content: Response) -> list[str]:
    """Return lines that say how long an access token is valid."""
    numbers = [
        (path, value)
        for path, value in _leaves(_parts(content))
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    path = _best(numbers, _EXPIRES)
    if path is None:
        return ["authapp.backend.access_lifetime = 300"]
    return [f"authapp.backend.answer.expires_in = {path}"]


def for_user(content: Response, claims: Mapping[str, Any], description: Description) -> list[str]:
    """Return lines that say who the user is.

    :param claims: the claims of the access token. They are empty if the token is not a JWT.
    """
    ids = [(path, value) for path, value in _leaves(claims) if is_user_id(value)]
    if claims and (path := _best(ids, _IDS)):
        return [f"authapp.claims.id = {path}"]
    named = [
        (path.rpartition(".")[0], path)
        for path, value in _leaves(_parts(content))
        if is_user_id(value) and _plain(path) in _IDS and path.count(".") > 0
    ]
    for place, path in named:
        line, name = f"authapp.backend.answer.user = {place}", path.rpartition(".")[2]
        known = name in ("sub", "id", "user_id")
        return [line] if known else [line, f"authapp.claims.id = {name}"]
    if description.userinfo is None:
        return [
            "# with the backend's path for the user's own data:",
            "authapp.backend.userinfo =",
            "    GET /me",
            "    Authorization: Bearer {access}",
        ]
    return ["# authapp.claims.id: the name of the user's id in the answer above"]


def for_roles(claims: Mapping[str, Any], user: Mapping[str, Any]) -> list[str]:
    """Return lines that say where the roles are, if something looks like roles."""
    known = [
        (path, value)
        for path, value in _leaves({**user, **claims}, lists=True)
        if isinstance(value, list | str) and value
    ]
    path = _best(known, _ROLES)
    return [f"authapp.claims.roles = {path}"] if path else []


def for_verification(
    header: Mapping[str, Any], claims: Mapping[str, Any], verify: Verify
) -> list[str]:
    """Return lines with which the access token could be verified.

    :param header: the header of the token. The header is not verified, so the lines are only
        proposals.
    """
    lines = []
    algorithm = header.get("alg")
    if algorithm in ASYMMETRIC and verify.secret:
        lines += [f"# the token has {algorithm}:", "authapp.backend.verify = jwks:URL"]
    if str(algorithm).startswith("HS") and not verify.secret:
        lines += ["# the token has a signature of HMAC:", "authapp.backend.verify = secret:…"]
    for name, expected in (("iss", verify.issuer), ("aud", verify.audience)):
        value = claims.get(name)
        values = value if isinstance(value, list) else [value]
        if expected and expected not in values:
            setting = "issuer" if name == "iss" else "audience"
            shown = next((each for each in values if isinstance(each, str) and each), None)
            lines.append(
                f"authapp.backend.{setting} = {shown}"
                if shown and shown.isprintable() and len(shown) < 200
                else f"# authapp.backend.{setting}: leave it out, the token has no {name}"
            )
    return lines


def for_logout(content: Response, described: Condition | None) -> list[str]:
    """Return lines that describe the response to a sign-out."""
    return for_refusal("logout", "logout.done", content, described or NEVER)


def _parts(content: Response) -> dict[str, Any]:
    return {name: content[name] for name in ("body", "cookies", "headers")}


def _texts(value: object) -> Iterator[tuple[str, str]]:
    return ((path, leaf) for path, leaf in _leaves(value) if isinstance(leaf, str))


def _leaves(
    value: object, path: str = "", depth: int = 0, *, lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """Return pairs of a JMESPath and its value, for each value that is not an object."""
    if isinstance(value, Mapping):
        if depth > _DEEPEST:
            return
        for name, each in value.items():
            text = str(name)
            quoted = text if _PLAIN_NAME.fullmatch(text) else f'"{text}"'
            if text.isprintable() and not set(text) & set('"\\') and len(text) < 80:
                yield from _leaves(
                    each, f"{path}.{quoted}" if path else quoted, depth + 1, lists=lists
                )
    elif not isinstance(value, list) or lists:
        yield path, value


def _plain(path: str) -> str:
    """Return the last part of a JMESPath in lower case, with letters only."""
    return re.sub("[^a-z]", "", path.rpartition(".")[2].lower())


def _best(found: list[tuple[str, Any]], names: tuple[str, ...]) -> str | None:
    """Return the path whose last part is earliest in ``names``. None if no last part is in it."""
    ranked = [(names.index(_plain(path)), path) for path, _ in found if _plain(path) in names]
    return min(ranked)[1] if ranked else None
