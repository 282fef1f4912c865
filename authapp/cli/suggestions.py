"""Suggests settings that would describe a response of a backend. The functions here are pure.

A suggestion is a line for the ini file, or a comment that begins with ``#``. The user has to judge
each suggestion, because only the backend's authors know what a response means.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from authapp.backend.description import Answers, Description
from authapp.backend.expressions import Condition, Expression, Response, condition
from authapp.backend.token_reader import ASYMMETRIC, Verify
from authapp.backend.token_values import MAX_TOKEN
from authapp.session.claims import is_user_id

_ACCESS = ("accesstoken", "access", "jwt", "token", "authtoken", "idtoken", "bearer", "key")
_REFRESH = ("refreshtoken", "refresh", "jwtrefresh", "refreshjwt")
_EXPIRES = ("expiresin", "accessexpiresin", "accesstokenexpiresin", "expires", "ttl", "maxage")
_IDS = ("id", "userid", "uid", "pk", "uuid", "sub", "username", "preferredusername", "email")
_ROLES = ("roles", "groups", "role", "permissions", "authorities")
_CODES = ("code", "error", "error_code", "errorCode", "errcode", "errno", "type")

_TOKEN = re.compile(rf"(Bearer )?[!-~]{{16,{MAX_TOKEN}}}")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,60}", re.ASCII)
_DEEPEST = 5


def for_refusal(
    verb: str,
    setting: str,
    content: Response,
    described: Condition,
    good: Sequence[Response] = (),
) -> list[str]:
    """Return lines that describe a response with which the backend refuses a request.

    The proposed condition is false for each response in ``good``. A status of 2xx alone is never
    proposed, because it is the status of a success too.

    :param verb: ``login``, ``challenge`` or ``refresh``.
    :param setting: the condition, such as ``login.refused``.
    :param described: the present value of the setting. The suggestion extends this value.
    :param good: the responses so far with which the backend accepted a request.
    """
    status = content["status"]
    if status in (404, 405):
        return _for_path(verb)
    found = [f"body.{path} == {literal}" for path, literal in _codes(content["body"])]
    if not 200 <= status < 300:
        found = [*(f"status == `{status}` && {each}" for each in found), f"status == `{status}`"]
    elif not good:
        found = []  # the code may be that of a success
    new = next((each for each in found if not any(map(condition(each), good))), None)
    if new is None:
        return [
            f"# authapp.backend.{setting}: if this response is a refusal, write a condition about"
            " its body, because a success may have the same status"
        ]
    return _extended(setting, content, described, new)


def for_logout(content: Response, described: Condition) -> list[str]:
    """Return lines that describe the response to a sign-out that has succeeded.

    :param described: the present value of ``logout.done``. The suggestion extends this value.
    """
    if content["status"] in (404, 405):
        return _for_path("logout")
    codes = [f" && body.{path} == {literal}" for path, literal in _codes(content["body"])]
    new = f"status == `{content['status']}`{next(iter(codes), '')}"
    return _extended("logout.done", content, described, new)


def _for_path(verb: str) -> list[str]:
    return [f"# authapp.backend.{verb}: the method or the path in its first line is wrong"]


def _extended(setting: str, content: Response, described: Condition, new: str) -> list[str]:
    """Return a line that adds a new condition to the present value of a setting."""
    status = content["status"]
    if described.expression is not None:
        return [f"authapp.backend.{setting} = {_either(described.expression, new)}"]
    if new == f"status == `{status}`":
        statuses = sorted({*described.statuses, status})
        return [f"authapp.backend.{setting} = {' '.join(map(str, statuses))}"]
    before = "".join(f"status == `{each}` || " for each in sorted(described.statuses))
    return [f"authapp.backend.{setting} = {before}{new}"]


def _either(now: Expression | None, new: str) -> str:
    """Return JMESPath that tries the present expression of a setting, then the new expression."""
    if now is None:
        return new
    text = " ".join(now.source.split())
    piped = "|" in text.replace("||", "")  # a pipe has a lower precedence than ||
    return f"({text}) || {new}" if piped else f"{text} || {new}"


def _codes(body: object) -> Iterator[tuple[str, str]]:
    """Return pairs of a JMESPath and a literal, for each value that may say why a request failed.

    A number such as 429 or 500 is left out, because it says nothing about a password or a token.
    """
    for path, value in _leaves(body):
        if path.rpartition(".")[2] in _CODES:
            if isinstance(value, str) and _CODE.fullmatch(value):
                yield path, f"'{value}'"
            elif type(value) is int and value != 429 and not 500 <= value < 600:
                yield path, f"`{value}`"


def for_tokens(content: Response) -> list[str]:
    """Return lines that say where the tokens are in the response to a sign-in."""
    access, refresh = _tokens(content)
    if access is None:
        return []
    lines = [f"authapp.backend.answer.access = {access}"]
    if refresh is None:
        return [*lines, "# if there are no refresh tokens:", "authapp.backend.refresh = none"]
    return [*lines, f"authapp.backend.answer.refresh = {refresh}"]


def for_renewed_tokens(content: Response, answers: Answers) -> list[str]:
    """Return lines that say where the tokens are in the response to a renewal.

    :param answers: where the tokens are in the response to a sign-in. With the new lines, authapp
        still looks in these places first.
    """
    access, refresh = _tokens(content)
    places = (("access", answers.access, access), ("refresh", answers.refresh, refresh))
    return [
        f"authapp.backend.answer.{name} = {_either(now, place)}"
        for name, now, place in places
        if access and place and not (now and now(content))
    ]


def for_request(verb: str) -> list[str]:
    """Return a comment for the ini file which says that the request of a verb is wrong."""
    return [f"# authapp.backend.{verb}: its method, path, headers or fields are wrong"]


def _tokens(content: Response) -> tuple[str | None, str | None]:
    """Return the paths of the access token and of the refresh token. None: there is none."""
    tokens = [(path, value) for path, value in _texts(_parts(content)) if _TOKEN.fullmatch(value)]
    access = _best(tokens, _ACCESS)
    return access, _best([each for each in tokens if each[0] != access], _REFRESH)


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


def _parts(content: Response) -> dict[str, Any]:
    return {name: content[name] for name in ("body", "cookies", "headers")}


def _texts(value: object) -> Iterator[tuple[str, str]]:
    return ((path, leaf) for path, leaf in _leaves(value) if isinstance(leaf, str))


def _leaves(
    value: object, path: str = "", depth: int = 0, *, lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """Return pairs of a JMESPath and its value, for each value inside a JSON object.

    Objects themselves are left out.

    :param lists: if True, a list counts as a value too.
    """
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
